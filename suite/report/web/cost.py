"""What a sweep cost: by method, the starting points that were made for it, and what led to no result so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from suite.config import Trial
from suite.ledger import Ledger, State, Work
from suite.report.frame import COST, DAMAGED
from suite.report.number import NOTHING, number
from suite.report.web.sheet import Sheet

HOUR = 3600.0
NAMES = ["What", "Done", "Wall hours", "CPU hours", "GPU hours"]

Hours = list[float]


def costs(trials: Sequence[Trial], ledger: Ledger, frame: pd.DataFrame) -> Sheet:
    """Hours over all attempts behind the results, and of those without one from first to last event."""
    done = frame[frame["state"] == State.DONE]
    lines = [(str(title), len(group), _sums(group)) for title, group in done.groupby("title", sort=False)]
    starts = [cost for cost in map(_cost_of, starts_of(trials, ledger)) if cost is not None]
    if starts:
        lines.append(("baselines and pruned starting points", len(starts), _add(starts)))
    total = _add([hours for _, _, hours in lines])
    sheet = [*lines, ("total of what has a result", sum(count for _, count, _ in lines), total)] if lines else []
    texts = [[what, str(count), *(number(value, "{:.3f}") for value in hours)] for what, count, hours in sheet]
    if lost := sum(_open_hours(ledger.trial(trial.id)) for trial in trials):
        texts.append(["attempts at trials without a result so far", NOTHING, number(lost, "{:.3f}"), NOTHING, NOTHING])
    return Sheet("Cost", NAMES, texts)


def _sums(group: pd.DataFrame) -> Hours:
    return [float(group[name].sum()) / HOUR for name in COST]


def _add(costs: Sequence[Hours]) -> Hours:
    return [sum(values) for values in zip(*costs, strict=True)]


def starts_of(trials: Sequence[Trial], ledger: Ledger) -> Iterator[Work]:
    """Each starting point once; other sweeps of the ledger may share them."""
    return (ledger.baseline(name) for name in dict.fromkeys(name for trial in trials for name in trial.start_ids))


def _cost_of(work: Work) -> Hours | None:
    try:
        result = work.result()
        return [float(result["cost"][name]) / HOUR for name in COST] if result else None
    except DAMAGED:
        return None


def _open_hours(work: Work) -> float:
    """Of a trial without result, from the first to the last event of each attempt."""
    try:
        if work.state() is State.DONE:
            return 0.0
        attempts = [events for attempt in work.attempts() if (events := attempt.events())]
        return sum(float(events[-1]["t"] - events[0]["t"]) for events in attempts) / HOUR
    except DAMAGED:
        return 0.0
