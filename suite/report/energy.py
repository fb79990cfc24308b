"""Energy of trials, as far as the counters of their attempts could be read."""

from __future__ import annotations

from pathlib import Path

from suite.energy import Used, used
from suite.ledger import Attempt, Work

KINDS = ("gpu", "cpu")


def computed(attempt: Attempt) -> bool:
    """Whether it came so far as to compute; before, nothing is counted."""
    return (attempt.path / "provenance.json").exists()


def readable(attempt: Path) -> Used | None:
    """What is known of an attempt; a damaged record is none, and does not make its trial unreadable."""
    try:
        return used(attempt)
    except (ValueError, OSError):
        return None


def joules(work: Work, kind: str) -> float | None:
    """Over all attempts, those that were killed up to their last checkpoints; None if one of them could not be read."""
    found = [readable(attempt.path) for attempt in work.attempts() if computed(attempt)]
    sums = [sum(each.of(kind).values()) if each and each.of(kind) else None for each in found]
    known = [value for value in sums if value is not None]
    return sum(known) if known and len(known) == len(sums) else None
