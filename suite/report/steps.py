"""What trials recorded while they ran, as one tidy frame: a row per point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from suite.history import recorded
from suite.ledger import Attempt, Event, Ledger, Work
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
            rows += _rows(work)
            warnings += left_out(work)
        except DAMAGED as error:
            warnings.append(complaint(work, error))
    frame = pd.DataFrame(rows, columns=STEP_COLUMNS)
    types = dict.fromkeys(FIGURES, "float64") | dict.fromkeys(WHOLE, "Int64") | {"time": "datetime64[ns, UTC]"}
    return frame.astype(types), warnings


def left_out(work: Work) -> list[str]:
    """What to tell of the trial's courses if lines of its events are damaged; nothing if none is."""
    lines = {attempt.number: attempt.damaged_lines() for attempt in work.attempts()}
    files = ", ".join(f"attempts/{number}/events.jsonl" for number, count in lines.items() if count)
    return [f"{work.id} is shown without {sum(lines.values())} damaged lines of {files}; restore them"] if files else []


def _rows(work: Work) -> list[dict[str, Any]]:
    events = chain.from_iterable(map(_numbered, work.attempts()))
    return [_row(work, event) for event in recorded(events)]


def _numbered(attempt: Attempt) -> Iterator[Event]:
    return ({**event, "attempt": attempt.number} for event in attempt.events())


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
