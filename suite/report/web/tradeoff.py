"""Accuracy against size, a point per configuration, with the Pareto front of all methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from suite.report.figures.pareto import pareto_front
from suite.report.figures.scene import full_name, trials_each
from suite.report.figures.style import look_of
from suite.report.figures.variants import variants
from suite.report.number import number
from suite.report.table import FULL_PRECISION, Block, Row
from suite.report.web.plot import SYMBOLS, Plot, Trace, View, anchor, axis, layout

FORMS = ("", "-open", "-dot", "-open-dot")  # plotly's, of a method's symbol, for its variants
STEEP = 6.0  # points below the best configuration: the axis begins there at first

Cost = Callable[[Row], float | None]
SIZES: dict[str, tuple[str, str, Cost]] = {  # of a figure -> words, the axis, what is drawn
    "bits": ("coded bits per weight", "Bits per weight, as coded in the file", lambda row: row.bits_per_weight),
    "bytes": ("file size", "File, bytes", lambda row: row.sizes.file_bytes),
}


def tradeoffs(number_of_block: int, block: Block) -> Iterator[Plot]:
    """Against bits per weight and against bytes; none while nothing is done that quantizes."""
    rows = [row for row in block.rows if row.method != FULL_PRECISION]
    for name, (words, title, cost) in SIZES.items():
        points = [(row, value, row.top1.mean) for row in rows if (value := cost(row)) is not None and row.top1]
        if points:
            yield _plot(f"plot-{number_of_block}-{name}", words, title, block, points)


Point = tuple[Row, float, float]  # size, accuracy


def _plot(identity: str, words: str, title: str, block: Block, points: list[Point]) -> Plot:
    front = [points[i] for i in pareto_front([(size, accuracy) for _, size, accuracy in points])]
    methods = dict.fromkeys(row.method for row, _, _ in points)
    forms = {label: FORMS[number % len(FORMS)] for label, number in variants([row for row, _, _ in points]).items()}
    traces = [_method(method, [point for point in points if point[0].method == method], forms) for method in methods]
    best = max(points, key=lambda point: point[2])
    return Plot(
        id=identity,
        title=f"{block.title}: accuracy against {words}",
        caption=f"Mean top-1 accuracy and sample standard deviation, {trials_each([row for row, _, _ in points])}. "
        "Dashed: Pareto front of all methods, hidden ones too, which no configuration beats in both respects. "
        "A click leads to the trials." + _lines(block) + _below(points),
        alt=f"Accuracy against {words} of {len(points)} configurations. Most accurate: {full_name(best[0])} with "
        f"{best[2]:.2f} %. On the Pareto front by rising size: {', '.join(full_name(row) for row, _, _ in front)}.",
        views=[View([_front(front), *traces], _layout(title, block, points))],
    )


def _layout(title: str, block: Block, points: Sequence[Point]) -> dict[str, Any]:
    return layout(
        440,
        xaxis=axis(title, rangemode="tozero", tickformat=","),
        yaxis=axis("Top-1 accuracy, %", **_range(block, points)),
        **_ceilings(block),
    )


def _front(points: list[Point]) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [round(size, 4) for _, size, _ in points],
        "y": [round(accuracy, 4) for _, _, accuracy in points],
        "line": {"color": "#000000", "width": 1, "dash": "dash", "shape": "hv"},
        "hoverinfo": "skip",
    }


def _method(method: str, points: list[Point], forms: Mapping[str, str]) -> Trace:
    look = look_of(method)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": method,
        "meta": {"method": method},
        "x": [round(size, 4) for _, size, _ in points],
        "y": [round(accuracy, 4) for _, _, accuracy in points],
        "error_y": {
            "type": "data",
            "array": [round(row.top1.std or 0.0, 4) if row.top1 else 0.0 for row, _, _ in points],
            "thickness": 1,
            "width": 3,
        },
        "marker": {
            "color": look.colour,
            "symbol": [SYMBOLS[look.marker] + forms[row.label] for row, _, _ in points],
            "size": 10,
        },
        "customdata": [[anchor(row), _told(row)] for row, _, _ in points],
        "hovertemplate": "%{customdata[1]}<extra></extra>",
    }


def _told(row: Row) -> str:
    spread = f" ± {row.top1.std:.2f}" if row.top1 and row.top1.std is not None else ""
    accuracy = row.top1.mean if row.top1 else None
    delta = f" (Δ {number(row.delta.mean, '{:+.2f}')})" if row.delta else ""
    return "<br>".join([
        f"<b>{full_name(row)}</b>",
        f"top-1 {number(accuracy, '{:.2f}')}{spread} %{delta}, n = {row.done}",
        f"{number(row.bits_per_weight, '{:.2f}')} bits per weight, {number(row.sizes.file_bytes, '{:,.0f}')} bytes, "
        f"ratio {number(row.ratio, '{:.2f}×')}",
    ])  # fmt: skip


def _floor(points: Sequence[Point]) -> float:
    return max(accuracy for _, _, accuracy in points) - STEEP


def _range(block: Block, points: Sequence[Point]) -> dict[str, Any]:
    """Where the axis begins and ends at first, if it would show little more than networks that collapsed; else plotly's choice."""
    floor = _floor(points)
    if min(accuracy for _, _, accuracy in points) >= floor:
        return {}
    shown = [value for row in [*_full(block), *(row for row, _, _ in points)] if (value := _upper(row)) >= floor]
    return {"range": [round(floor, 2), round(max(shown) + 0.3, 2)]}


def _upper(row: Row) -> float:
    return row.top1.mean + (row.top1.std or 0.0) if row.top1 else 0.0


def _below(points: Sequence[Point]) -> str:
    """What the axis leaves out at first."""
    hidden = [row for row, _, accuracy in points if accuracy < _floor(points)]
    if not hidden:
        return ""
    return f" Below what is shown at first, until a double click: {'; '.join(full_name(row) for row in hidden)}."


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
