"""How figures look: one colour and one marker per method, the same in all figures of all sweeps.

The colours are those of Okabe and Ito (2008) without the yellow, which is too pale on paper, and with a grey. There are more
methods than colours, and some of these are alike to the colour-blind or in print without colour (tests/test_colours.py simulates
both), so methods have markers of their own, but for one pair, light blue and black.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

BLACK, GREY, ORANGE, SKY = "#000000", "#7f7f7f", "#e69f00", "#56b4e9"
GREEN, BLUE, VERMILION, PURPLE = "#009e73", "#0072b2", "#d55e00", "#cc79a7"
PALE = "#d9d9d9"  # what stands behind

WIDTH = 7.2  # inches: a page of A4 or Letter between its margins
PAPER = "#ffffff"


@dataclass(frozen=True)
class Look:
    """Of a method."""

    colour: str
    marker: str


LOOKS = {
    "full": Look(BLACK, "_"),
    "kmeans": Look(GREY, "o"),
    "hessian": Look(SKY, "^"),
    "ecsq": Look(GREEN, "X"),
    "universal": Look(VERMILION, "v"),
    "soft-to-hard": Look(PURPLE, "p"),
    "som": Look(ORANGE, "*"),
    "slq": Look(BLUE, "s"),
    "mlq": Look(VERMILION, "D"),
    "mixed": Look(SKY, "P"),
    "inq": Look(GREEN, "<"),
    "twn": Look(ORANGE, ">"),
    "ttq": Look(PURPLE, "d"),
    "deep-compression": Look(BLACK, "P"),
}
UNKNOWN = Look(GREY, "h")


def look_of(method: str) -> Look:
    """A method's look; methods that have none of their own share one."""
    return LOOKS.get(method, UNKNOWN)


_SETTINGS: Any = {  # the type that matplotlib gives such names differs between its versions
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "figure.titlesize": 8.5,
    "lines.linewidth": 1.0,
    "hatch.linewidth": 0.5,
    "axes.unicode_minus": True,
    "svg.hashsalt": "slq",  # else identifiers differ from run to run
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's own defaults and the settings above, whatever a matplotlibrc says; for drawing and for saving."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def sheet(title: str, height: float, width: float = WIDTH) -> Figure:
    """An empty figure, inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure
