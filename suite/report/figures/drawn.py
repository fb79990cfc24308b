"""What a figure is to those who write or embed it, and what stands in its place if it cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawn:
    """A figure in matplotlib's object form; nothing global knows of it."""

    name: str  # of its files, without suffix; unique in a sweep
    title: str
    caption: str  # what is drawn, how often it was measured, what the bars are
    alt: str  # one sentence for who cannot see it: what is seen, with the numbers
    figure: Figure
    warnings: tuple[str, ...] = ()  # what could not be read and is left out


@dataclass(frozen=True)
class Absent:
    """A figure that cannot be drawn from what the ledger has."""

    name: str
    title: str
    reason: str
    warnings: tuple[str, ...] = ()
