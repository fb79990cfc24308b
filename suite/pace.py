"""How fast a trial is going, from the newest of its own events."""

from __future__ import annotations

import time
from collections.abc import Sequence

from suite.ledger import Attempt, Event

TAIL = 2**13  # bytes: some fifty points


def recent(attempt: Attempt) -> list[Event]:
    """The newest events of an attempt, oldest first; at least one if it has any."""
    events = attempt.recent(TAIL)
    newest = None if events else attempt.newest()  # a long one
    return [newest] if newest else events


def seconds_left(events: Sequence[Event], now: float | None = None) -> float | None:
    """Until the last step of training, at the pace of these events; None before there are two points."""
    points = [event for event in events if event["event"] == "train"]
    if len(points) < 2 or points[-1]["step"] <= points[0]["step"]:
        return None
    first, last = points[0], points[-1]
    pace = (last["t"] - first["t"]) / (last["step"] - first["step"])
    since = (time.time() if now is None else now) - last["t"]
    return max(0.0, float((last["steps"] - last["step"]) * pace - since))
