"""The weights of each layer before quantization, and the values they take after it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from suite.pack.store import WEIGHT, load_state
from suite.report.figures.drawn import Absent, Drawn
from suite.report.figures.scene import Scene, configurations, full_name, heading, read_each, selection
from suite.report.figures.style import BLACK, GREY, LOOKS, PALE, sheet
from suite.report.table import Row

KIND, TITLE = "histograms", "weights before and after quantization"
LAYERS, PAGE, MOST = 5, 7, 14  # columns; rows on a page, and in all
BINS = 60
CENTRES = 64  # more values than these are drawn as a histogram
FLOOR = 0.02  # % of the weights, where the axis starts
HEIGHT = 0.95  # inches of a row
LINE, TITLE_LINE = 20, 20  # letters beside a row, above a panel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """Of one layer, pruned ones left out."""

    layer: str
    count: int  # pruned ones included
    edges: Array  # (BINS + 1,) rising; empty if all are pruned
    heights: Array  # (BINS,) % of the weights before that are between two edges
    values: Array  # (V,) distinct ones afterwards, rising
    shares: Array  # (V,) % of the weights


@dataclass(frozen=True)
class _Network:
    seed: int
    layers: list[Weights]
    total: int  # layers that are quantized


def draw(scene: Scene) -> Iterator[Drawn | Absent]:
    rows, choice = selection(scene.quantized, MOST)
    found, warnings = read_each(rows, lambda row: _network(scene, row))
    if not found:
        reason = "no quantized network is done yet" if not rows else "no quantized network can be read"
        yield Absent(scene.name(KIND), scene.title(TITLE), reason, warnings)
        return
    for page in scene.paged(KIND, TITLE, found, PAGE, warnings):
        figure = sheet(page.title, height=1.1 + HEIGHT * len(page.items))
        columns = max(len(network.layers) for _, network in page.items)
        grid = figure.subplots(len(page.items), columns, sharey=True, squeeze=False)
        for line, (row, network) in zip(grid, page.items, strict=True):
            _line(line, row, network)
        for axes in grid[-1]:
            axes.set_xlabel("weight")
        figure.supylabel("share of weights (%)", fontsize=7)
        figure.legend(handles=_handles(), loc="outside lower center", ncols=2)
        yield Drawn(page.name, page.title, _caption(page.items, choice), _alt(page.items), figure, page.warnings)


def _network(scene: Scene, row: Row) -> _Network | None:
    """Of the trial of median accuracy; None if no layer is quantized."""
    work = scene.median(row)
    result = work.result() or {}
    names = [str(layer["name"]) for layer in result["layers"]]
    if not names:
        return None
    before = load_state(scene.ledger.baseline(result["start"]["id"]).model)
    after = load_state(work.model)
    chosen = [names[i] for i in spread_out(len(names), LAYERS)]
    pairs = ((name, before[name + WEIGHT], after[name + WEIGHT]) for name in chosen)
    layers = [weights_of(name, old.double().numpy().ravel(), new.double().numpy().ravel()) for name, old, new in pairs]
    return _Network(scene.seed(work), layers, len(names))


def spread_out(count: int, most: int) -> list[int]:
    """At most so many of `count` things in a line, evenly, with the first and the last."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def weights_of(layer: str, before: Array, after: Array) -> Weights:
    """What is drawn of them. A weight that is exactly zero before is a pruned one, and is left out."""
    live = before != 0
    if not live.any():
        return Weights(layer, len(before), *np.empty((4, 0)))
    share = 100 / int(live.sum())
    values, counts = np.unique(after[live], return_counts=True)
    edges = np.linspace(*_range(before[live], values), BINS + 1)
    return Weights(
        layer,
        len(before),
        edges,
        share * np.histogram(before[live], edges)[0],
        values,
        share * counts.astype(np.float64),
    )


def _line(line: Sequence[Axes], row: Row, network: _Network) -> None:
    colour = LOOKS[row.method].colour
    for axes, weights in zip(line, network.layers, strict=False):
        _panel(axes, weights, colour)
    for axes in line[len(network.layers) :]:
        axes.set_visible(False)
    line[0].set_ylabel(heading(row, f"seed {network.seed}", LINE), rotation=0, ha="right", va="center", fontsize=6.5)


def _panel(axes: Axes, weights: Weights, colour: str) -> None:
    if not len(weights.edges):
        axes.set_title(f"{weights.layer}: all pruned")
        return
    axes.stairs(weights.heights, weights.edges, fill=True, fc=PALE, ec=GREY, lw=0.3)
    if len(weights.values) <= CENTRES:
        axes.vlines(weights.values, FLOOR, weights.shares, color=colour, lw=0.9)
        axes.plot(weights.values, weights.shares, "o", color=colour, ms=2.2)
    else:
        axes.hist(weights.values, weights.edges.tolist(), weights=weights.shares, color=colour, lw=0.9, histtype="step")
    axes.set_yscale("log")
    axes.set_ylim(FLOOR, 150)
    axes.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.minorticks_off()
    axes.set_title(textwrap.fill(f"{weights.layer} ({_thousands(weights.count)})", TITLE_LINE), pad=2)


def _handles() -> list[Artist]:
    return [
        Patch(fc=PALE, ec=GREY, lw=0.3, label="before"),
        Line2D([], [], color=BLACK, lw=0.9, marker="o", ms=2.2, label="after (in the method's colour)"),
    ]


def _range(before: Array, after: Array) -> tuple[float, float]:
    low = float(min(before.min(), after.min()))
    high = float(max(before.max(), after.max()))
    return (low, high) if low < high else (low - 1, high + 1)


def _thousands(count: int) -> str:
    return f"{count:,}".replace(",", "\u202f")


def _caption(page: Sequence[tuple[Row, _Network]], choice: str) -> str:
    some = (
        " Of networks with more layers, some between the first and the last."
        if any(n.total > LAYERS for _, n in page)
        else ""
    )
    return (
        f"Histograms of each layer's weights in the network that the method began from (grey, {BINS} bins; how many weights "
        "in brackets), and its centres after quantization with the share of the weights that take each (coloured; a "
        f"histogram where there are more than {CENTRES} values). Pruned weights are left out. Each line is one trial, that "
        f"of median accuracy among the n of its configuration.{choice}{some}"
    )


def _alt(page: Sequence[tuple[Row, _Network]]) -> str:
    counts = [(len(weights.values), full_name(row)) for row, network in page for weights in network.layers]
    least, most = min(counts), max(counts)
    return (
        f"Histograms of weights with their centres for {configurations(page)}: a layer takes from {least[0]} values "
        f"({least[1]}) to {most[0]} ({most[1]})."
    )
