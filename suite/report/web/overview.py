"""All trials in one table."""

from __future__ import annotations

from collections.abc import Collection

from suite.report.web.sheet import Sheet, link
from suite.report.web.told import FIGURES, Told


def overview(trials: Collection[Told]) -> Sheet:
    """A line per planned trial, in the order of the plan, that leads to all that is known of it."""
    lines = [[link(f"#trial-{each.id}", each.label), each.state, *each.figures.values()] for each in trials]
    return Sheet("All trials", ["Trial", "State", *FIGURES], lines, frozenset({"Trial", "State"}))
