"""The weights of each layer before quantization, and the values they take after it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from suite.pack.store import WEIGHT
from suite.report.figures.drawn import Absent, Drawn
from suite.report.figures.scene import Content, Scene, configurations, full_name, heading, read_each, selection
from suite.report.figures.stored import Stored
from suite.report.figures.style import BLACK, GREY, PALE, look_of, sheet
from suite.report.table import Row

KIND, TITLE = "histograms", "weights before and after quantization"
LAYERS, PAGE, MOST = 5, 7, 14  # columns; rows on a page, and in all
BINS = 60
BLOCK = 2**22  # weights looked at together
CENTRES = 64  # more values than these are drawn as a histogram
FLOOR = 0.02  # % of the weights, where the axis starts
HEIGHT = 0.95  # inches of a row
LINE, TITLE_LINE = 20, 20  # letters beside a row, above a panel

Array = NDArray[np.float64]
Numbers = NDArray[Any]  # of any precision


@dataclass(frozen=True)
class Weights:
    """Of one layer, pruned ones left out."""

    layer: str
    count: int  # pruned ones included
    edges: Array  # (BINS + 1,) rising; empty if all are pruned
    heights: Array  # (BINS,) % of the weights before that are between two edges
    values: Array  # (V,) distinct ones afterwards, rising
    shares: Array  # (V,) % of the weights

    @property
    def has_centres(self) -> bool:
        """Else its values are so many that they are drawn as a histogram, `between`."""
        return len(self.values) <= CENTRES

    @property
    def between(self) -> Array:
        """(BINS,) % of the weights afterwards that are between two edges."""
        return np.histogram(self.values, self.edges, weights=self.shares)[0]


@dataclass(frozen=True)
class Network:
    """Of one trial."""

    seed: int
    layers: list[Weights]
    total: int  # layers that are quantized


def read(scene: Scene) -> Content[Network] | Absent:
    rows, choice = selection(scene.quantized, MOST)
    found, warnings = read_each(rows, lambda row: _network(scene, row))
    if not found:
        reason = "no quantized network is done yet" if not rows else "no quantized network can be read"
        return Absent(scene.name(KIND), scene.title(TITLE), reason, warnings)
    return Content(scene.name(KIND), scene.title(TITLE), found, choice, warnings)


def draw(content: Content[Network]) -> Iterator[Drawn]:
    for page in content.pages(PAGE):
        figure = sheet(page.title, height=1.1 + HEIGHT * len(page.items))
        columns = max(len(network.layers) for _, network in page.items)
        grid = figure.subplots(len(page.items), columns, sharey=True, squeeze=False)
        for line, (row, network) in zip(grid, page.items, strict=True):
            _line(line, row, network)
        for axes in grid[-1]:
            axes.set_xlabel("weight")
        figure.supylabel("share of weights (%)", fontsize=7)
        figure.legend(handles=_handles(), loc="outside lower center", ncols=2)
        yield Drawn(page.name, page.title, caption(page), alt(page), figure, page.warnings)


def _network(scene: Scene, row: Row) -> Network | None:
    """Of the trial of median accuracy; None if no layer is quantized."""
    work = scene.median(row)
    result = work.result() or {}
    names = [str(layer["name"]) for layer in result["layers"]]
    if not names:
        return None
    before, after = Stored(scene.ledger.baseline(result["start"]["id"]).model), Stored(work.model)
    chosen = [names[i] for i in spread_out(len(names), LAYERS)]
    layers = [weights_of(name, before.numbers(name + WEIGHT), after.numbers(name + WEIGHT)) for name in chosen]
    return Network(scene.seed(work), layers, len(names))


def spread_out(count: int, most: int) -> list[int]:
    """At most so many of `count` things in a line, evenly, with the first and the last."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def weights_of(layer: str, before: Numbers, after: Numbers) -> Weights:
    """What is drawn of them. A weight that is exactly zero before is a pruned one, and is left out.

    Raises ValueError if one of the others is NaN or infinite.
    """
    values, counts = _counted([np.unique(new, return_counts=True) for _, new in _live(before, after)])
    if not len(values):
        return Weights(layer, len(before), *np.empty((4, 0)))
    share = 100 / int(counts.sum())
    low = np.min([values[0], *(old.min() for old, _ in _live(before, after))])
    high = np.max([values[-1], *(old.max() for old, _ in _live(before, after))])
    if not np.isfinite([low, high]).all():
        raise ValueError(f"not all weights of {layer} are finite numbers")
    edges = np.linspace(*_range(low, high), BINS + 1)
    heights: Array = np.sum([np.histogram(old, edges)[0] for old, _ in _live(before, after)], axis=0, dtype=np.float64)
    return Weights(layer, len(before), edges, share * heights, values, share * counts.astype(np.float64))


def _live(before: Numbers, after: Numbers) -> Iterator[tuple[Array, Array]]:
    """Weights that are not pruned, before and after, a block at a time: a layer may have a hundred million."""
    for first in range(0, len(before), BLOCK):
        old, new = (each[first : first + BLOCK].astype(np.float64) for each in (before, after))
        live = old != 0
        if live.any():
            yield old[live], new[live]


def _counted(blocks: Sequence[tuple[Array, NDArray[np.int64]]]) -> tuple[Array, NDArray[np.int64]]:
    """Distinct values of all blocks, rising, and how often each is there."""
    if not blocks:
        return np.empty(0), np.empty(0, dtype=np.int64)
    values, places = np.unique(np.concatenate([each for each, _ in blocks]), return_inverse=True)
    counts = np.zeros(len(values), dtype=np.int64)
    np.add.at(counts, places, np.concatenate([each for _, each in blocks]))
    return values, counts


def _line(line: Sequence[Axes], row: Row, network: Network) -> None:
    colour = look_of(row.method).colour
    for axes, weights in zip(line, network.layers, strict=False):
        _panel(axes, weights, colour)
    for axes in line[len(network.layers) :]:
        axes.set_visible(False)
    line[0].set_ylabel(heading(row, f"seed {network.seed}", LINE), rotation=0, ha="right", va="center", fontsize=6.5)


def _panel(axes: Axes, weights: Weights, colour: str) -> None:
    if not len(weights.edges):
        axes.set_title(named(weights))
        return
    axes.stairs(weights.heights, weights.edges, fill=True, fc=PALE, ec=GREY, lw=0.3)
    if weights.has_centres:
        axes.vlines(weights.values, FLOOR, weights.shares, color=colour, lw=0.9)
        axes.plot(weights.values, weights.shares, "o", color=colour, ms=2.2)
    else:
        axes.stairs(weights.between, weights.edges, color=colour, lw=0.9)
    axes.set_yscale("log")
    axes.set_ylim(FLOOR, 150)
    axes.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.minorticks_off()
    axes.set_title(textwrap.fill(named(weights), TITLE_LINE), pad=2)


def _handles() -> list[Artist]:
    return [
        Patch(fc=PALE, ec=GREY, lw=0.3, label="before"),
        Line2D([], [], color=BLACK, lw=0.9, marker="o", ms=2.2, label="after (in the method's colour)"),
    ]


def _range(low: float, high: float) -> tuple[float, float]:
    return (low, high) if low < high else (low - 1, high + 1)


def named(weights: Weights) -> str:
    """A layer, and how many weights it has."""
    count = f"{weights.count:,}".replace(",", "\u202f")
    return f"{weights.layer} ({count})" if len(weights.edges) else f"{weights.layer}: all pruned"


def caption(content: Content[Network]) -> str:
    """With how n trials became one."""
    some = (
        " Of networks with more layers, some between the first and the last."
        if any(n.total > LAYERS for _, n in content.items)
        else ""
    )
    return (
        f"Histograms of each layer's weights in the network that the method began from (grey, {BINS} bins; how many weights "
        "in brackets), and its centres after quantization with the share of the weights that take each (coloured; a "
        f"histogram where there are more than {CENTRES} values). Pruned weights are left out. Each line is one trial, that "
        f"of median accuracy among the n of its configuration.{content.choice}{some}"
    )


def alt(content: Content[Network]) -> str:
    """What is seen."""
    counts = [(len(weights.values), full_name(row)) for row, network in content.items for weights in network.layers]
    least, most = min(counts), max(counts)
    return (
        f"Histograms of weights with their centres for {configurations(content.items)}: a layer takes from {least[0]} values "
        f"({least[1]}) to {most[0]} ({most[1]})."
    )
