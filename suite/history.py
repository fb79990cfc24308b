"""What a trial recorded on its way, each point once, whatever became of its attempts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from suite.ledger import Event

POINTS = frozenset({"train", "snap", "eval", "final"})  # events that measure the network at a training step


def recorded(events: Iterable[Event]) -> Iterator[Event]:
    """The points among the events of all attempts, oldest first.

    A resumed attempt begins at the last checkpoint and repeats what was recorded since: the first record of a point counts.
    """
    seen: set[tuple[str, int | None, int]] = set()
    for event in events:
        point = event["event"], event.get("stage"), event.get("step", 0)
        if event["event"] in POINTS and point not in seen:
            seen.add(point)
            yield event
