"""All figures of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from suite.errors import UserError
from suite.ledger import Ledger
from suite.report.figures import breakdown, course, frozen, histograms, sensitivity, tradeoff
from suite.report.figures.drawn import Absent, Drawn
from suite.report.figures.kind import Kind
from suite.report.figures.scene import Scene
from suite.report.frame import PlannedTrial, tidy
from suite.report.reference import References
from suite.report.table import Tables, tables_of

TRADEOFF = Kind(tradeoff.read, tradeoff.draw)
BREAKDOWN = Kind(breakdown.read, breakdown.draw)
COURSE = Kind(course.read, course.draw)
HISTOGRAMS = Kind(histograms.read, histograms.draw)
FROZEN = Kind(frozen.read, frozen.draw)
SENSITIVITY = Kind(sensitivity.read, sensitivity.draw)
KINDS: tuple[Kind[Any], ...] = (TRADEOFF, BREAKDOWN, COURSE, HISTOGRAMS, FROZEN, SENSITIVITY)


@dataclass(frozen=True)
class Gallery:
    """All figures of a sweep, or why they are not; each is drawn when its turn comes."""

    ledger: Ledger
    tables: Tables
    frame: pd.DataFrame  # `tidy`, by trial id

    @property
    def warnings(self) -> tuple[str, ...]:
        """About trials whose folders cannot be read: they count as missing."""
        return self.tables.warnings

    def __iter__(self) -> Iterator[Drawn | Absent]:
        """Network by network. A figure's own warnings name what it lacks."""
        for block in self.tables.blocks:
            scene = Scene(self.ledger, block, self.frame)
            for kind in KINDS:
                yield from kind.drawn(kind.read(scene))


def outcomes(ledger: Ledger, planned: Sequence[PlannedTrial]) -> Gallery:
    """The figures of a sweep as its ledger stands now.

    Raises `UserError` if nothing is planned.
    """
    if not planned:
        raise UserError(f"sweep {ledger.sweep} plans no trials, so it has no figures")
    frame = tidy(ledger, planned)
    return Gallery(ledger, tables_of(ledger.sweep, frame, References(())), frame.set_index("id"))
