"""What trials recorded while they ran, as one tidy frame: a row per point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from suite.history import recorded
from suite.ledger import Event, Ledger, Work
from suite.report.frame import DAMAGED, PlannedTrial, complaint

PERCENT = ["accuracy", "top1", "top5", "frozen"]  # fractions in the ledger
FIGURES = ["loss", *PERCENT, "lr"]
WHOLE = ["attempt", "stage", "step"]
STEP_COLUMNS = ["id", "attempt", "time", "event", "stage", "step", *FIGURES]


def steps(ledger: Ledger, planned: Sequence[PlannedTrial]) -> tuple[pd.DataFrame, list[str]]:
    """The frame that `suite.load_steps` documents, and which trials are not in it, or in part, since events cannot be read."""
    rows: list[dict[str, Any]] = []
    warnings: list[str] = []
    for work in (ledger.trial(trial.id) for trial in planned):
        try:
            read = {attempt.number: attempt.read_events() for attempt in work.attempts()}
            numbered = ({**event, "attempt": number} for number, (events, _) in read.items() for event in events)
            rows += [_row(work, event) for event in recorded(numbered)]
            warnings += _left_out(work, {number: damaged for number, (_, damaged) in read.items()})
        except DAMAGED as error:
            warnings.append(complaint(work, error))
    frame = pd.DataFrame(rows, columns=STEP_COLUMNS)
    types = dict.fromkeys(FIGURES, "float64") | dict.fromkeys(WHOLE, "Int64") | {"time": "datetime64[ns, UTC]"}
    return frame.astype(types), warnings


def left_out(work: Work) -> list[str]:
    """What to tell of the trial's courses if lines of its events are damaged; nothing if none is."""
    return _left_out(work, {attempt.number: attempt.damaged_lines() for attempt in work.attempts()})


def damaged_lines(count: int, files: str) -> str:
    """In the words of all who leave such lines out."""
    return f"{count} damaged line{'s' * (count > 1)} of {files}"


def _left_out(work: Work, lines: Mapping[int, int]) -> list[str]:
    files = ", ".join(f"attempts/{number}/events.jsonl" for number, count in lines.items() if count)
    told = f"{work.id} is shown without {damaged_lines(sum(lines.values()), files)}"
    return [told] if files else []


def _row(work: Work, event: Event) -> dict[str, Any]:
    figures = {name: float(event[name]) for name in FIGURES if event.get(name) is not None}
    return {
        "id": work.id,
        "time": pd.Timestamp(event["t"], unit="s", tz="UTC").as_unit("ns"),
        "event": event["event"],
        **{name: np.int64(int(event[name])) for name in WHOLE if event.get(name) is not None},
        **figures,
        **{name: 100 * figures[name] for name in PERCENT if name in figures},
    }
