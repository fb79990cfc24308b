"""Accuracy against size, a point per configuration, with the Pareto front of all methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.report.figures.errorbar import Bar, bar, cut_off
from suite.report.figures.pareto import pareto_front
from suite.report.figures.scene import full_name, trials_each
from suite.report.figures.style import look_of
from suite.report.number import number
from suite.report.spread import Spread
from suite.report.table import FULL_PRECISION, Block, Row
from suite.report.web.accuracies import STEEP, below, view
from suite.report.web.plot import Plot, Trace, View, anchor, axis, layout
from suite.report.web.variants import symbols

Cost = Callable[[Row], float | None]
SIZES: dict[str, tuple[str, str, Cost]] = {  # of a figure -> words, the axis, what is drawn
    "bits": ("coded bits per weight", "Bits per weight, as coded in the file", lambda row: row.bits_per_weight),
    "bytes": ("file size", "File, bytes", lambda row: row.sizes.file_bytes),
}


def tradeoffs(number_of_block: int, block: Block) -> Iterator[Plot]:
    """Against bits per weight and against bytes; none while nothing is done that quantizes."""
    rows = [row for row in block.rows if row.method != FULL_PRECISION]
    looks = symbols(rows)
    for name, (words, title, cost) in SIZES.items():
        points = [_Point(row, value, row.top1) for row in rows if (value := cost(row)) is not None and row.top1]
        if points:
            yield _plot(f"plot-{number_of_block}-{name}", words, title, block, points, looks)


@dataclass(frozen=True)
class _Point:
    row: Row
    size: float
    top1: Spread

    @property
    def accuracy(self) -> float:
        return self.top1.mean

    @property
    def bar(self) -> Bar:
        return bar(self.top1, self.top1)


def _plot(identity: str, words: str, title: str, block: Block, points: list[_Point], looks: Mapping[str, str]) -> Plot:
    front = [points[i] for i in pareto_front([(point.size, point.accuracy) for point in points])]
    methods = dict.fromkeys(point.row.method for point in points)
    traces = [_method(method, [point for point in points if point.row.method == method], looks) for method in methods]
    best = max(points, key=lambda point: point.accuracy)
    return Plot(
        id=identity,
        title=f"{block.title}: accuracy against {words}",
        caption=f"Mean top-1 accuracy and sample standard deviation, {trials_each([point.row for point in points])}. "
        "Dashed: Pareto front of all methods, hidden ones too, which no configuration beats in both respects. "
        "A click leads to the trials." + cut_off(point.bar for point in points) + _lines(block) + _below(points),
        alt=f"Accuracy against {words} of {len(points)} configurations. Most accurate: {full_name(best.row)} with "
        f"{best.accuracy:.2f} %. On the Pareto front by rising size: {', '.join(full_name(point.row) for point in front)}.",
        views=[View([_front(front), *traces], _layout(title, block, points))],
    )


def _layout(title: str, block: Block, points: Sequence[_Point]) -> dict[str, Any]:
    return layout(
        440,
        xaxis=axis(title, rangemode="tozero", tickformat=","),
        yaxis=axis("Top-1 accuracy, %", **_range(block, points)),
        **_ceilings(block),
    )


def _front(points: Sequence[_Point]) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [round(point.size, 4) for point in points],
        "y": [round(point.accuracy, 4) for point in points],
        "line": {"color": "#000000", "width": 1, "dash": "dash", "shape": "hv"},
        "hoverinfo": "skip",
    }


def _method(method: str, points: Sequence[_Point], looks: Mapping[str, str]) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": method,
        "meta": {"method": method},
        "x": [round(point.size, 4) for point in points],
        "y": [round(point.accuracy, 4) for point in points],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [round(point.bar[1], 4) for point in points],
            "arrayminus": [round(point.bar[0], 4) for point in points],
            "thickness": 1,
            "width": 3,
        },
        "marker": {
            "color": look_of(method).colour,
            "symbol": [looks[point.row.label] for point in points],
            "size": 10,
        },
        "customdata": [[anchor(point.row), _told(point)] for point in points],
        "hovertemplate": "%{customdata[1]}<extra></extra>",
    }


def _told(point: _Point) -> str:
    row = point.row
    delta = f" (Δ {number(row.delta.mean, '{:+.2f}')})" if row.delta else ""
    return "<br>".join([
        f"<b>{full_name(row)}</b>",
        f"top-1 {_measured(point)}{delta}, n = {row.done}",
        f"{number(row.bits_per_weight, '{:.2f}')} bits per weight, {number(row.sizes.file_bytes, '{:,.0f}')} bytes, "
        f"ratio {number(row.ratio, '{:.2f}×')}",
    ])  # fmt: skip


def _measured(point: _Point) -> str:
    spread = f" ± {point.top1.std:.2f}" if point.top1.std is not None else ""
    return f"{point.accuracy:.2f}{spread} %"


def _floor(points: Sequence[_Point]) -> float:
    return max(point.accuracy for point in points) - STEEP


def _range(block: Block, points: Sequence[_Point]) -> dict[str, Any]:
    """Without networks that collapsed: their bars, which may be long, do not count either."""
    floor = _floor(points)
    tops = [point.accuracy + point.bar[1] for point in points if point.accuracy >= floor]
    ceilings = [row.top1.mean for row in _full(block) if row.top1]
    return view(floor, min(point.accuracy for point in points), max(tops + ceilings))


def _below(points: Sequence[_Point]) -> str:
    floor = _floor(points)
    return below([f"{full_name(point.row)} ({_measured(point)})" for point in points if point.accuracy < floor])


def _full(block: Block) -> list[Row]:
    return [row for row in block.rows if row.method == FULL_PRECISION and row.top1 is not None]


def _ceilings(block: Block) -> dict[str, Any]:
    """A line for each full-precision network that was measured; dotted if it is pruned."""
    return {"shapes": [_ceiling(row.top1.mean, row.pruned) for row in _full(block) if row.top1]}


def _ceiling(accuracy: float, pruned: bool) -> dict[str, Any]:
    ends = {"xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": accuracy, "y1": accuracy}
    return {**ends, "type": "line", "layer": "below", "line": {"width": 1, "dash": "dot" if pruned else "solid"}}


def _lines(block: Block) -> str:
    """What the lines are."""
    named = [f"{_stroke(row)} {row.label} {row.top1.mean:.2f} %" for row in _full(block) if row.top1]
    return f" Lines: {', '.join(named)}." if named else ""


def _stroke(row: Row) -> str:
    return "dotted" if row.pruned else "solid"
