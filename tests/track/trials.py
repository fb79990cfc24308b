"""Ledgers of made-up trials in every state, and what MLflow knows of them after a sync."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite import claim
from suite.files import write_json
from suite.ledger import Ledger, OpenAttempt
from suite.pack.header import MAGIC
from suite.track import PlannedTrial, default_uri, store

STEPS = 12


@dataclass(frozen=True)
class Planned:
    id: str
    label: str
    settings: dict[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        return self.settings

    def canonical(self) -> dict[str, Any]:
        return {name: value for name, value in self.settings.items() if name != "runtime"}


def planned(name: str, seed: int = 0) -> Planned:
    method = {"name": "slq", "bits": 5, "partition": "loss", "stages": [5, 4, 2]}
    return Planned(
        name, f"lenet5 SLQ 5b loss s{seed}", {"network": "lenet5", "data": "digits", "seed": seed, "method": method}
    )


def begin(ledger: Ledger, trial: PlannedTrial, dirty: bool = False) -> OpenAttempt:
    attempt = ledger.trial(trial.id).try_claim(trial.config())
    assert attempt is not None
    write_json(attempt.path / "provenance.json", {"commit": "c0ffee" * 6, "dirty": dirty})
    return attempt


def train(attempt: OpenAttempt, first: int, last: int) -> None:
    """Steps `first` to `last` of a trial of three stages of four steps; the values depend on the step alone."""
    for step in range(first, last + 1):
        stage = (step - 1) // 4 + 1
        attempt.emit("train", stage=stage, stages=4, step=step, steps=STEPS, loss=1 / step, accuracy=step / 20, lr=0.1)
        if step % 4 == 0:
            attempt.emit("eval", stage=stage, stages=4, step=step, loss=2 / step, top1=step / 20, top5=1.0)
            attempt.emit(
                "snap",
                stage=stage + 1,
                stages=4,
                clusters=2,
                frozen=stage / 4,
                loss=3 / step,
                top1=step / 30,
                top5=1.0,
                step=step,
            )


def sample(attempt: OpenAttempt, *percents: float) -> None:
    """Samples as of a machine with a GPU, with so many percent of one processor."""
    with (attempt.path / "system.jsonl").open("a") as lines:
        for percent in percents:
            process = {"t": round(time.time(), 3), "cpu_percent": percent, "memory_bytes": 10_000_000 * percent}
            gpu = {"gpu_percent": 97, "gpu_memory_bytes": 2e9, "gpu_watts": 300.5}
            lines.write(json.dumps(process | gpu) + "\n")


def finish(attempt: OpenAttempt, top1: float = 0.95) -> None:
    """With a pruned start, and a file that only looks like a packed network."""
    attempt.emit("final", step=STEPS, loss=0.5, top1=top1, top5=1.0)
    attempt.work.model.write_bytes(MAGIC + b"nothing")
    attempt.finish(
        {
            "baseline": {"id": "lenet5-digits-s0-ba5e", "top1": 0.97, "top5": 1.0, "loss": 0.1},
            "start": {"id": "lenet5-digits-s0-pruned-57a7", "kept": 0.2, "top1": 0.96, "top5": 1.0, "loss": 0.1},
            "quantized": {"top1": top1, "top5": 1.0, "loss": 0.5},
            "size": {"bits_per_weight": 5.04, "ratio": 6.2},
            "cost": {
                "wall_seconds": 12.1,
                "cpu_seconds": 12.0,
                "gpu_seconds": 0.0,
                "peak_memory_bytes": 512_000_000,
                "peak_gpu_memory_bytes": 0,
            },
            "sources": {"data_sha256": "da7a" * 16, "attempts": [1]},
        }
    )


def kill(attempt: OpenAttempt) -> None:
    """Leave the attempt's files as a dead owner would, without waiting for the expiry."""
    claim.release(attempt.path)


def run(ledger: Ledger, trial: PlannedTrial) -> None:
    """From start to end in one attempt."""
    attempt = begin(ledger, trial)
    with attempt.running():
        train(attempt, 1, STEPS)
        finish(attempt)


def run_resumed(ledger: Ledger, trial: PlannedTrial) -> None:
    """Killed at step 7, resumed from step 4."""
    attempt = begin(ledger, trial, dirty=True)
    attempt.emit("start", attempt=1)
    train(attempt, 1, 7)
    sample(attempt, 90, 110)
    kill(attempt)
    attempt = begin(ledger, trial)
    with attempt.running():
        train(attempt, 5, STEPS)
        sample(attempt, 100)
        finish(attempt)


def run_failing(ledger: Ledger, trial: PlannedTrial) -> None:
    attempt = begin(ledger, trial)
    with suppress(ValueError), attempt.running():
        train(attempt, 1, 2)
        raise ValueError("loss is not finite")


def run_interrupted(ledger: Ledger, trial: PlannedTrial) -> None:
    attempt = begin(ledger, trial)
    with suppress(KeyboardInterrupt), attempt.running():
        train(attempt, 1, 2)
        raise KeyboardInterrupt


def run_killed(ledger: Ledger, trial: PlannedTrial) -> None:
    attempt = begin(ledger, trial)
    train(attempt, 1, 2)
    kill(attempt)


def run_on(ledger: Ledger, trial: PlannedTrial) -> None:
    """Still running."""
    attempt = begin(ledger, trial)
    attempt.emit("start", attempt=1)
    train(attempt, 1, 2)


def run_mute(ledger: Ledger, trial: PlannedTrial) -> None:
    """Killed before it could say anything."""
    kill(begin(ledger, trial))


def everything(ledger: Ledger) -> list[Planned]:
    """A ledger with a trial of each kind; the last one is not planned any more."""
    kinds = [run, run_resumed, run_failing, run_killed, run_on, run_mute]
    trials = [planned(f"trial-{kind.__name__}", seed) for seed, kind in enumerate(kinds)]
    for kind, trial in zip(kinds, trials, strict=True):
        kind(ledger, trial)
    return [*trials[:-1], planned("trial-not-begun")]


def fresh(root: Path, initialised: Path) -> Ledger:
    root.mkdir()
    shutil.copy(initialised, root / "mlflow.db")
    return Ledger(root, "table1")


def client_of(ledger: Ledger) -> Any:
    return store.connect(default_uri(ledger.root))


def runs_of(ledger: Ledger, client: Any = None) -> list[Any]:
    """All runs of the sweep, in the root's own database or in another one."""
    client = client or client_of(ledger)
    experiment = client.get_experiment_by_name(ledger.sweep)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def run_of(ledger: Ledger, trial: PlannedTrial) -> Any:
    (found,) = [run for run in runs_of(ledger) if run.data.tags["slq.trial"] == trial.id]
    return found


def series(ledger: Ledger, run: Any, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client_of(ledger).get_metric_history(run.info.run_id, key)]


def dump(ledger: Ledger, client: Any = None) -> list[dict[str, Any]]:
    """Everything that MLflow knows of the sweep, but for the ids of its runs and models."""
    client = client or client_of(ledger)
    return sorted((dump_run(client, run) for run in runs_of(ledger, client)), key=lambda d: str(d["tags"]))


def dump_run(client: Any, run: Any) -> dict[str, Any]:
    identity = run.info.run_id
    folder = folder_of(run.info.artifact_uri)
    return {
        "info": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": {
            key: sorted((m.step, m.value, m.timestamp) for m in client.get_metric_history(identity, key))
            for key in run.data.metrics
        },
        "artifacts": {a.path: (folder / a.path).read_text() for a in client.list_artifacts(identity)},
        "inputs": sorted((i.dataset.name, i.dataset.digest, i.dataset.source, i.tags[0].value) for i in inputs_of(run)),
        "models": [_dump_model(model) for model in models_of(client, run)],
        "linked models": len(run.outputs.model_outputs),
    }


def inputs_of(run: Any) -> list[Any]:
    return list(run.inputs.dataset_inputs)


def models_of(client: Any, run: Any) -> list[Any]:
    return list(
        client.search_logged_models([run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'")
    )


def folder_of(location: str) -> Path:
    return Path(urllib.request.url2pathname(location.removeprefix("file://")))


def _dump_model(model: Any) -> tuple[str, str, dict[str, int]]:
    folder = folder_of(model.artifact_location)
    files = {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    return model.name, str(model.status), files


class Client:
    """Passes calls on to the real client and keeps their names; breaks right after the `fatal`-th one."""

    def __init__(self, client: Any, fatal: int | None = None) -> None:
        self._client = client
        self._fatal = fatal
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            answer = getattr(self._client, name)(*args, **options)
            self.calls.append(name)
            if len(self.calls) == self._fatal:
                raise ConnectionError(f"lost after {name}")
            return answer

        return call


def reset_database(ledger: Ledger, initialised: Path) -> None:
    remove_database(ledger)
    shutil.copy(initialised, ledger.root / "mlflow.db")


def remove_database(ledger: Ledger) -> None:
    for file in ledger.root.glob("mlflow.db*"):
        file.unlink()
    shutil.rmtree(ledger.root / "mlartifacts", ignore_errors=True)
