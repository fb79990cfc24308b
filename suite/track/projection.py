"""What one trial looks like in MLflow, computed from the trial's files alone. Reads only, and knows nothing of MLflow's client.

The same files always give the same projection, and new files only add points to it: that is what makes `sync` repeatable.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from typing import Any

from suite import claim
from suite.errors import UserError
from suite.files import read_json
from suite.history import recorded
from suite.ledger import BASELINES, Attempt, Event, State, Work
from suite.track.names import Named

LAYOUT = 3  # of runs; raising it brings the runs that an older version wrote up to date
LONGEST_PARAM = 6_000  # characters, MLflow's limit

TRIAL = "slq.trial"  # tag: the trial's id, by which its run is found
ORPHAN = "slq.orphan"  # tag: "true" for a trial that the sweep does not plan any more
SEEN = "slq.seen"  # tag: how far the trial's files had grown when they were last projected completely
COMPLETE = "slq.complete"  # tag: SHA-256 of layout and result that were projected completely; written last

# Event -> its fields that become series. A snap has keys of its own, because the evaluation before it happens at the same
# step. The final evaluation ends the curve of the others; where one of them has its step already, RESULT has its values.
SERIES = {
    "train": {"loss": "train.loss", "accuracy": "train.accuracy", "lr": "train.lr"},
    "snap": {"loss": "snap.loss", "top1": "snap.top1", "top5": "snap.top5", "frozen": "frozen", "stage": "stage"},
    "eval": {"loss": "test.loss", "top1": "test.top1", "top5": "test.top5"},
    "final": {"loss": "test.loss", "top1": "test.top1", "top5": "test.top5"},
}

# Metric of a finished trial -> where it stands in result.json.
RESULT = {
    "top1": "quantized.top1",
    "top5": "quantized.top5",
    "loss": "quantized.loss",
    "baseline_top1": "baseline.top1",
    "kept": "start.kept",
    "bits_per_weight": "size.bits_per_weight",
    "ratio": "size.ratio",
    "wall_seconds": "cost.wall_seconds",
    "cpu_seconds": "cost.cpu_seconds",
    "gpu_seconds": "cost.gpu_seconds",
}

# Metric of a finished trial, in GB -> where its bytes stand in result.json.
GIGABYTES = {
    "peak_memory_gb": "cost.peak_memory_bytes",
    "peak_gpu_memory_gb": "cost.peak_gpu_memory_bytes",
}

# System metric, named as MLflow's own ones are -> the field of a sample (see `suite.system`) and its unit.
SYSTEM = {
    "system/cpu_utilization_percentage": ("cpu_percent", 1),
    "system/system_memory_usage_megabytes": ("memory_bytes", 1e6),
    "system/gpu_0_utilization_percentage": ("gpu_percent", 1),
    "system/gpu_0_memory_usage_megabytes": ("gpu_memory_bytes", 1e6),
    "system/gpu_0_power_usage_watts": ("gpu_watts", 1),
}

# Tag to group and filter by -> where it stands in the configuration.
GROUPS = {
    "method": "method.name",
    "bits": "method.bits",
    "partition": "method.partition",
    "network": "network",
    "data": "data",
    "seed": "seed",
}

STATUS = {State.RUNNING: "RUNNING", State.DONE: "FINISHED", State.FAILED: "FAILED", State.LOST: "KILLED"}


@dataclass(frozen=True)
class Point:
    """One value of a metric; `time` in milliseconds since 1970."""

    key: str
    value: float
    step: int
    time: int


@dataclass(frozen=True)
class Input:
    """Something that a trial began from; its digest changes if its content does."""

    name: str
    digest: str
    context: str  # "training" for the data, "baseline" for the full-precision network, "start" for its pruned form
    source: dict[str, str]


@dataclass(frozen=True)
class Projection:
    """A run as it should be. Times in milliseconds since 1970; `end` is None while the trial runs.

    `model` is the packed network of a finished trial that has one.
    """

    name: str
    status: str
    start: int
    end: int | None
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]
    inputs: list[Input]
    artifacts: list[Path]
    model: Path | None


def project(work: Work, state: State, planned: Named | None) -> Projection:
    """The run of a trial that has at least one attempt; `planned` is None for a trial that is not planned any more."""
    attempts = work.attempts()
    if not attempts:
        raise UserError(
            f"{work.path} has a result but no attempts; restore them, or remove the folder and run the trial again"
        )
    work.check(planned.trial.canonical() if planned else None)
    events = [attempt.events() for attempt in attempts]
    start = _milliseconds(events[0][0]["t"]) if events[0] else _claimed(attempts[0])
    end = None if state is State.RUNNING else _ended(attempts[-1], events[-1], state)
    result = work.result() if state is State.DONE else None
    config = _config(work, planned)
    tags = _tags(work, state, config, planned, len(attempts))
    return Projection(
        name=run_name(work, planned),
        status=STATUS[state],
        start=start,
        end=end,
        params=flatten(config),
        tags=tags | _origin(result or {}),
        points=[
            *_series(chain(*events)),
            *_system_points(attempts, events),
            *(_result_points(work, result, end or 0) if result else []),
        ],
        inputs=list(_inputs(config, result or {})),
        artifacts=_artifacts(work) if result else [],
        model=_packed(work) if result else None,
    )


def run_name(work: Work, planned: Named | None) -> str:
    return planned.run if planned else work.id


def marks(work: Work, state: State) -> dict[str, str]:
    """Tags that say how far a trial has come; equal marks mean that there is nothing new to project. Cheap."""
    if state is State.DONE:
        content = f"{LAYOUT}\n".encode() + (work.path / "result.json").read_bytes()
        return {SEEN: str(state), COMPLETE: sha256(content).hexdigest()}
    attempts = work.attempts()
    files = [attempt.path / name for attempt in attempts for name in ("events.jsonl", "system.jsonl")]
    size = sum(file.stat().st_size for file in files if file.exists())
    return {SEEN: f"{state}, {len(attempts)} attempts, {size} bytes, layout {LAYOUT}"}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names; texts as they are, everything else as JSON, cut to what MLflow takes."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            flat[f"{prefix}{key}"] = text[:LONGEST_PARAM]
    return flat


def _config(work: Work, planned: Named | None) -> dict[str, Any]:
    """What was really run, if it is on disk already, so that leaving the plan changes no parameter."""
    config = work.config() or (planned.trial.config() if planned else {})
    return {key: value for key, value in config.items() if key != "schema"}


def _tags(work: Work, state: State, config: Mapping[str, Any], planned: Named | None, attempts: int) -> dict[str, str]:
    """Only tags that stay once they are there: MLflow would keep one that disappears, a rebuild would not have it."""
    provenances = [facts for attempt in work.attempts() if (facts := attempt.provenance())]
    commit, dirty = provenances[-1].get("commit") if provenances else None, any(p.get("dirty") for p in provenances)
    found = {tag: _dig(config, path) for tag, path in GROUPS.items()}
    found |= {"sweep": work.path.parents[1].name, "configuration": planned.configuration if planned else work.id}
    found |= {"pruned": config.get("prune") is not None}
    found |= {"state": str(state), "attempts": attempts, TRIAL: work.id, ORPHAN: planned is None}
    found |= {
        "commit": commit and commit[:10],
        "mlflow.source.git.commit": commit,
        "dirty": dirty if provenances else None,
    }
    return {tag: v if isinstance(v, str) else json.dumps(v) for tag, v in found.items() if v is not None}


def _origin(result: Mapping[str, Any]) -> dict[str, str]:
    """Tags that say what a finished trial began from; a result made again gets a run of its own."""
    found = {"baseline": "baseline.id", "start": "start.id", "data_sha256": "sources.data_sha256"}
    return {tag: str(value) for tag, path in found.items() if (value := _dig(result, path)) is not None}


def _inputs(config: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[Input]:
    """What a finished trial began from."""
    origin = _origin(result)
    if (fingerprint := origin.get("data_sha256")) is not None:
        yield Input(str(config.get("data")), fingerprint[:10], "training", {"sha256": fingerprint})
    networks = {origin[context]: context for context in ("start", "baseline") if context in origin}
    for identity, context in networks.items():  # without pruning, trials start at the baseline itself
        yield Input(identity, identity.rpartition("-")[2], context, {"path": f"{BASELINES}/{identity}"})


def _series(events: Iterable[Event]) -> Iterator[Point]:
    """Points of all attempts on the trial's one step axis. Where several events have a series at a step, the first one counts."""
    seen: set[tuple[str, int]] = set()
    for event in recorded(events):
        for field, key in SERIES[event["event"]].items():
            value, step = event.get(field), int(event.get("step", 0))
            if value is not None and (key, step) not in seen:
                seen.add((key, step))
                yield Point(key, float(value), step, _milliseconds(event["t"]))


def _system_points(attempts: Sequence[Attempt], events: Sequence[Sequence[Event]]) -> Iterator[Point]:
    """Steps are the numbers of the samples over all attempts, as in MLflow.

    What an owner recorded after it had lost the trial to the next attempt is left out: it would change the later numbers.
    """
    from suite.system import samples  # imports torch

    numbers, begins = count(), [each[0]["t"] if each else math.inf for each in events]
    for index, attempt in enumerate(attempts):
        until = min(begins[index + 1 :], default=math.inf)
        for sample in samples(attempt.path):
            if sample["t"] <= until:
                yield from _sample_points(sample, next(numbers))


def _sample_points(sample: Mapping[str, float], step: int) -> Iterator[Point]:
    for key, (field, unit) in SYSTEM.items():
        if field in sample:
            yield Point(key, sample[field] / unit, step, _milliseconds(sample["t"]))


def _result_points(work: Work, result: Mapping[str, Any], time: int) -> Iterator[Point]:
    from suite.report.energy import KINDS, joules  # imports torch and pandas

    values = {key: _dig(result, path) for key, path in RESULT.items()}
    if values["top1"] is not None:
        values["error"] = 1 - values["top1"]
    if values["top1"] is not None and values["baseline_top1"] is not None:
        values["delta_top1"] = values["top1"] - values["baseline_top1"]
    values |= {key: peak / 1e9 for key, path in GIGABYTES.items() if (peak := _dig(result, path))}  # 0 without a GPU
    values |= {f"{kind}_joules": joules(work, kind) for kind in KINDS}
    return (Point(key, float(value), 0, time) for key, value in values.items() if value is not None)


def _artifacts(work: Work) -> list[Path]:
    files = [work.path / "config.json", work.path / "result.json", _newest_provenance(work)]
    return [file for file in files if file and file.exists()]


def _packed(work: Work) -> Path | None:
    """The packed network; None for full precision, whose file holds plain numbers, and where it was deleted."""
    from suite.pack.store import is_packed_file  # imports torch

    return work.model if work.model.exists() and is_packed_file(work.model) else None


def _newest_provenance(work: Work) -> Path | None:
    files = (attempt.path / "provenance.json" for attempt in reversed(work.attempts()))
    return next((file for file in files if file.exists()), None)


def _ended(last: Attempt, events: list[Event], state: State) -> int:
    """Time of the last event. A result is written before its attempt's "end" event: a sync in between must not differ."""
    times = [event["t"] for event in events if state is not State.DONE or event["event"] != "end"]
    return _milliseconds(times[-1]) if times else _claimed(last)


def _claimed(attempt: Attempt) -> int:
    """When an attempt without any event was claimed; nobody lived to renew that claim."""
    content = read_json(attempt.path / claim.FILE)
    return _milliseconds(content["expires"] - claim.EXPIRY if content else 0)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _dig(nested: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    value: Any = nested
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
