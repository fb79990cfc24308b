"""The ledger as one tidy frame: a row per planned trial, whether it has run or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import pandas as pd

from suite.config import dotted, shared
from suite.errors import UserError
from suite.ledger import Ledger, State, Work, in_words
from suite.report.energy import KINDS, joules
from suite.report.label import row_labels
from suite.report.paths import Shorten

IDENTITY = [
    "id",
    "label",
    "title",
    "as_published",
    "state",
    "network",
    "data",
    "method",
    "bits",
    "seed",
    "configuration",
    "row",
]
ACCURACY = ["baseline_top1", "baseline_top5", "start_top1", "kept", "top1", "top5", "error", "delta"]
PACKED = [
    "weights",
    "live",
    "nonzero",
    "full_bits",
    "file_bits",
    "ratio",
    "index_bits",
    "codebook_bits",
    "position_bits",
    "code_bits",
    "side_bits",
    "other_bits",
    "bits_per_weight",
    "fixed_bits_per_weight",
    "fixed_ratio",
    "ratio_deep_compression",
    "ratio_choi",
    "entropy_bits",
]
SIZE = [*PACKED, "values"]
COST = ["wall_seconds", "cpu_seconds", "gpu_seconds"]
ENERGY = [f"{kind}_joules" for kind in KINDS]
HISTORY = ["attempts", "dirty", "commit", "warning"]
COLUMNS = [*IDENTITY, *ACCURACY, *SIZE, "coders", *COST, *ENERGY, *HISTORY]

UNREADABLE = "unreadable"  # the state of a trial whose folder cannot be read: it counts as missing
# what reading such a folder raises
DAMAGED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError, UserError)


class PlannedTrial(Protocol):
    """What the report must know of a trial that a sweep asks for."""

    @property
    def id(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def title(self) -> str:
        """The method's name in print, such as "SLQ"."""
        ...

    @property
    def as_published(self) -> bool:
        """Whether the method is set as in its paper, so that its published figure may stand beside the trial."""
        ...

    def config(self) -> dict[str, Any]:
        """All settings: `network`, `data`, `seed`, `method` (with its `name`) and whatever else there is."""
        ...

    def canonical(self) -> dict[str, Any]:
        """Those that decide the outcome, and so may not differ from what its folder says."""
        ...


def tidy(ledger: Ledger, planned: Sequence[PlannedTrial]) -> pd.DataFrame:
    """One row per planned trial, in the order of the plan. `suite.load` documents the columns."""
    rows = [_row(ledger.trial(trial.id), trial) for trial in planned]
    settings = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *settings], dtype=object)
    frame["row"] = frame["configuration"].map(_labels(frame))
    numbers = dict.fromkeys([*ACCURACY, *SIZE, *COST, *ENERGY], "float64")
    return frame.astype({**numbers, "bits": "Int64", "seed": "Int64", "attempts": "Int64"})


def _row(work: Work, trial: PlannedTrial) -> dict[str, Any]:
    settings = dotted(trial.config())
    identity = {
        "id": trial.id,
        "label": trial.label,
        "title": trial.title,
        "as_published": trial.as_published,
        "configuration": json.dumps(shared(settings), sort_keys=True),
        "method": settings.pop("method.name"),
        "bits": settings.pop("method.bits", None),
    }
    return {**identity, **settings, **_seen(work, trial.canonical())}


def _labels(frame: pd.DataFrame) -> dict[str, str]:
    """What tells each configuration from the others of its network and data: one table's."""
    labels: dict[str, str] = {}
    for _, block in frame.drop_duplicates("configuration").groupby(["network", "data"], sort=False):
        configurations = [str(configuration) for configuration in block["configuration"]]
        texts = row_labels(list(block["title"]), [json.loads(configuration) for configuration in configurations])
        labels |= dict(zip(configurations, texts, strict=True))
    return labels


def _seen(work: Work, planned: dict[str, Any]) -> dict[str, Any]:
    """What the folder says of the trial with these settings; one that cannot be read says why."""
    try:
        work.check(planned)
        state = work.state()  # before the result, which may appear in between
        result = work.result() if state is State.DONE else None
        figures = _figures(work, result) if result is not None else {}
        return {"state": str(state), "attempts": len(work.attempts()), "warning": "", **figures}
    except DAMAGED as error:
        return {"state": UNREADABLE, "warning": complaint(work, error)}


def complaint(work: Work, error: Exception) -> str:
    """Without absolute paths, which differ between machines and would show up as a change of the tables."""
    return f"{work.id} counts as missing: {Shorten(work.path)(in_words(error))}"


def _figures(work: Work, result: dict[str, Any]) -> dict[str, Any]:
    if result["trial"] != work.id:
        raise UserError(f"result.json is that of {result['trial']}; delete it, and the trial runs again")
    _refuse_old(work, result)
    return {**_accuracies(result), **_sizes(result), **_costs(result), **_energy(work), **_origin(work, result)}


def _refuse_old(work: Work, result: dict[str, Any]) -> None:
    """Raises `UserError` if a result lacks what is written today, naming how to make it again."""
    needed = {"start": ["top1", "kept"], "size": [*PACKED, "coders"]}
    lacking = [f"{part}.{name}" for part, names in needed.items() for name in names if name not in result.get(part, {})]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise UserError(
            f"result.json of another version lacks {', '.join(lacking[:3])}{more}; remove the folder trials/{work.id} and make it "
            f"again: slq run jobs/{work.path.parents[1].name}.yaml"
        )


def _accuracies(result: dict[str, Any]) -> dict[str, Any]:
    baseline, quantized = result["baseline"], result["quantized"]
    return {
        "baseline_top1": 100 * float(baseline["top1"]),
        "baseline_top5": 100 * float(baseline["top5"]),
        "start_top1": 100 * float(result["start"]["top1"]),
        "kept": 100 * float(result["start"]["kept"]),
        "top1": 100 * float(quantized["top1"]),
        "top5": 100 * float(quantized["top5"]),
        "error": 100 * (1 - float(quantized["top1"])),
        "delta": 100 * (float(quantized["top1"]) - float(baseline["top1"])),
    }


def _sizes(result: dict[str, Any]) -> dict[str, Any]:
    size = result["size"]
    return {
        **{
            name: None if size[name] is None else float(size[name]) for name in PACKED
        },  # None: a network has none of it
        "coders": json.dumps({name: int(bits) for name, bits in size["coders"].items()}),
        "values": max((int(layer["values"]) for layer in result["layers"]), default=None),
    }


def _costs(result: dict[str, Any]) -> dict[str, Any]:
    return {name: float(result["cost"][name]) for name in COST}


def _energy(work: Work) -> dict[str, Any]:
    return dict(zip(ENERGY, (joules(work, kind) for kind in KINDS), strict=True))


def _origin(work: Work, result: dict[str, Any]) -> dict[str, Any]:
    """The code behind a result, of all attempts that took part in it."""
    numbers = result["sources"]["attempts"]
    provenances = [attempt.provenance() for attempt in work.attempts() if attempt.number in numbers]
    commits = dict.fromkeys(str(p["commit"]) for p in provenances if p.get("commit"))
    return {"dirty": any(p.get("dirty", False) for p in provenances), "commit": " ".join(commits)}
