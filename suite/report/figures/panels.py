"""Small heat maps beside each other: what those of frozen weights and of sensitivities share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from suite.report.figures.scene import level
from suite.report.figures.style import BLACK, PAPER, sheet

ACROSS, PAGE, MOST = 3, 12, 24  # panels in a line, on a sheet, in all
LETTERS = 36  # of a line above a panel
LINES, COLUMNS = 24, 18  # of a panel: up to so many, a cell has room for a number
LABELS = {"x": 10, "y": 24}  # of an axis; of more, only some are written


@dataclass(frozen=True)
class Panel:
    """One heat map."""

    text: str  # above it
    lines: int
    draw: Callable[[Axes], AxesImage]


def heat_maps(title: str, label: str, panels: Sequence[Panel]) -> Figure:
    """All on one sheet, with one bar of colours, which `label` names."""
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure = sheet(title, height=0.8 + (0.9 + 0.13 * max(panel.lines for panel in panels)) * down)
    places: list[Axes] = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    used = places[: len(panels)]
    images = [panel.draw(axes) for axes, panel in zip(used, panels, strict=True)]
    for axes, text in zip(used, level([panel.text for panel in panels]), strict=True):
        axes.set_title(text)
    figure.colorbar(images[0], ax=used, label=label, shrink=0.8, aspect=30, pad=0.01)
    return figure


def matrix(lines: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """(lines, columns). Raises ValueError if lines differ in length, and for what is no number."""
    numbers = np.array(lines, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("not all of its numbers are finite")
    return numbers


def ticks(axes: Axes, down: Sequence[str], across: Sequence[str]) -> None:
    """Labels of the lines and the columns of a heat map, without frame and grid."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for axis, names, most in ((axes.yaxis, down, LABELS["y"]), (axes.xaxis, across, LABELS["x"])):
        step = -(-len(names) // most)
        axis.set_ticks(list(range(0, len(names), step)), list(names)[::step])


def cells_text(axes: Axes, texts: Sequence[Sequence[str]], is_light: NDArray[np.bool_]) -> None:
    """A text in each cell, if there is room; dark where the cell `is_light`."""
    if len(texts) > LINES or max(map(len, texts)) > COLUMNS:
        return
    for line, row in enumerate(texts):
        for column, text in enumerate(row):
            colour = BLACK if is_light[line, column] else PAPER
            axes.text(column, line, text, ha="center", va="center", fontsize=5.5, color=colour)
