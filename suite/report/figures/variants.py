"""How the variants of one method, such as SLQ by loss and by magnitude, are told apart where they are points of one figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from suite.report.figures.style import PAPER, look_of
from suite.report.table import Row

FILLS = ("full", "none", "left", "bottom", "right", "top")  # matplotlib's: which part of the marker has the colour
SIZES = (5.5, 8.0, 3.8)  # points; the second and third time round
LARGER = {"*": 1.4, "d": 1.25, "p": 1.1}  # markers that look smaller than others of their size


@dataclass(frozen=True)
class Mark:
    """A point's: its method's colour and marker, and its variant's fill and size."""

    colour: str
    marker: str
    fill: str
    size: float

    @property
    def style(self) -> dict[str, Any]:
        """Matplotlib's settings of a line that is only this marker."""
        is_full = self.fill == "full"
        return {
            "ls": "",
            "marker": self.marker,
            "color": self.colour,
            "fillstyle": self.fill,
            "markerfacecoloralt": PAPER,
            "mec": PAPER if is_full else self.colour,
            "mew": 0.4 if is_full else 0.9,
            "ms": self.size,
        }


def variants(rows: Sequence[Row]) -> dict[str, int]:
    """Label of a row -> which variant of its method it is, in the order of the rows; widths of one variant share it."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.label not in found[row.method]:
            found[row.method].append(row.label)
    return {label: number for labels in found.values() for number, label in enumerate(labels)}


def marks(rows: Sequence[Row]) -> dict[str, Mark]:
    """Label of a row -> its mark. Up to 18 variants of a method differ."""
    methods = {row.label: row.method for row in rows}
    return {label: _mark(methods[label], number) for label, number in variants(rows).items()}


def _mark(method: str, number: int) -> Mark:
    again, fill = divmod(number, len(FILLS))
    look = look_of(method)
    return Mark(look.colour, look.marker, FILLS[fill], LARGER.get(look.marker, 1.0) * SIZES[again % len(SIZES)])
