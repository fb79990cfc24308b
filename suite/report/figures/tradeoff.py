"""Accuracy against coded bits per weight and against file size, with the Pareto front."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from suite.report.figures.drawn import Absent, Drawn
from suite.report.figures.errorbar import Bar, bar, cut_off
from suite.report.figures.pareto import pareto_front
from suite.report.figures.scene import Scene, configurations, counted_name, full_name, trials_each
from suite.report.figures.style import BLACK, GREY, sheet
from suite.report.figures.variants import Mark, marks
from suite.report.number import number
from suite.report.table import FULL_PRECISION, Row

KIND = "tradeoff"
STEEP = 5.0  # points of accuracy lost: from there on the axis is logarithmic beyond 1 point
TICKS = (-90, -50, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10)
SCALE = "linear up to 1 point, logarithmic beyond"
LINE, ENTRY = 34, 0.135  # letters, and inches between lines, of the legend


@dataclass(frozen=True)
class _Point:
    row: Row
    bits: float  # per weight, in the file
    size: float  # of the file, kB
    gain: float  # accuracy minus full precision's, points
    bar: Bar  # of `gain`


@dataclass(frozen=True)
class _Cloud:
    name: str  # of the figure
    title: str
    points: list[_Point]
    full: list[Row]  # networks of full precision


def read(scene: Scene) -> _Cloud | Absent:
    name, title = scene.name(KIND), scene.title("accuracy against size")
    points = [point for row in scene.quantized if (point := _point(row)) is not None]
    if not points:
        return Absent(name, title, "no quantized network is done yet")
    return _Cloud(name, title, points, [row for row in scene.done if row.method == FULL_PRECISION])


def draw(cloud: _Cloud) -> Iterator[Drawn]:
    points, full = cloud.points, cloud.full
    fronts = [pareto_front([(p.bits, p.gain) for p in points]), pareto_front([(p.size, p.gain) for p in points])]
    numbers = {i: n for n, i in enumerate(sorted({*fronts[0], *fronts[1]}, key=lambda i: points[i].bits), start=1)}
    looks = marks([p.row for p in points])
    entries = _entries(points, full, looks, numbers)
    figure = sheet(
        cloud.title, height=max(4.3, 0.5 + ENTRY * sum(1 + str(entry.get_label()).count("\n") for entry in entries))
    )
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, points, [p.bits for p in points], fronts[0], looks, numbers)
    _panel(right, points, [p.size for p in points], fronts[1], looks, numbers)
    for axes in (left, right):
        _ceilings(axes, full)
    left.set_xlabel("bits per quantized weight, as coded")
    right.set_xlabel("size of the file (kB)")
    scale = f"\n{SCALE}" if _is_steep(points) else ""
    left.set_ylabel(f"top-1 accuracy minus full precision's (points){scale}")
    figure.legend(handles=entries, loc="outside right upper", handlelength=1.6, labelspacing=0.35)
    yield Drawn(cloud.name, cloud.title, _caption(points, full), _alt(points, fronts[0]), figure)


def _point(row: Row) -> _Point | None:
    if row.delta is None or row.top1 is None or row.bits_per_weight is None or row.sizes.file_bytes is None:
        return None
    return _Point(row, row.bits_per_weight, row.sizes.file_bytes / 1000, row.delta.mean, bar(row.delta, row.top1))


def _panel(
    axes: Axes,
    points: Sequence[_Point],
    costs: Sequence[float],
    front: list[int],
    looks: Mapping[str, Mark],
    numbers: dict[int, int],
) -> None:
    for point, cost in zip(points, costs, strict=True):
        mark = looks[point.row.label]
        bars = [[reach] for reach in point.bar] if any(point.bar) else None
        axes.errorbar(cost, point.gain, bars, ecolor=mark.colour, elinewidth=0.6, alpha=0.5, fmt="none")
        axes.plot(cost, point.gain, **mark.style)
    axes.step([costs[i] for i in front], [points[i].gain for i in front], where="post", color=GREY, lw=0.9, zorder=1)
    for i in front:
        axes.annotate(
            str(numbers[i]), (costs[i], points[i].gain), (-3, 4), textcoords="offset points", ha="right", fontsize=6.5
        )
    axes.set_xlim(-0.04 * max(costs), 1.06 * max(costs))
    _scale(axes, points)


def _scale(axes: Axes, points: Sequence[_Point]) -> None:
    """Linear; where networks collapse, logarithmic beyond 1 point, so that those that do not are told apart."""
    if not _is_steep(points):
        axes.margins(y=0.12)
        return
    axes.set_yscale("symlog", linthresh=1.0, linscale=1.2)
    lowest, highest = min(p.gain - p.bar[0] for p in points), max(p.gain + p.bar[1] for p in points)
    axes.set_ylim(1.3 * lowest, max(0.5, 1.3 * highest))
    axes.yaxis.set_major_locator(FixedLocator(TICKS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, "{:+g}")))


def _is_steep(points: Sequence[_Point]) -> bool:
    return min(point.gain for point in points) <= -STEEP


def _ceilings(axes: Axes, full: Sequence[Row]) -> None:
    """Lines for full precision: 0, and where networks that are only pruned stand."""
    axes.axhline(0, color=BLACK, lw=0.8)
    for row in full:
        if row.pruned and row.delta is not None:
            axes.axhline(row.delta.mean, color=BLACK, lw=0.8, ls=":")


def _entries(
    points: Sequence[_Point], full: Sequence[Row], looks: Mapping[str, Mark], numbers: dict[int, int]
) -> list[Line2D]:
    """Of the legend."""
    lines = [Line2D([], [], color=BLACK, lw=0.8, label="full precision")]
    if any(row.pruned for row in full):
        lines.append(Line2D([], [], color=BLACK, lw=0.8, ls=":", label="full precision, pruned"))
    lines += [Line2D([], [], **mark.style, label=_wrapped(label, "")) for label, mark in looks.items()]
    lines.append(Line2D([], [], color=GREY, lw=0.9, label="Pareto front:"))
    for i, place in numbers.items():
        lines.append(Line2D([], [], alpha=0, label=_wrapped(f"{place}  {counted_name(points[i].row)}", "    ")))
    return lines


def _wrapped(text: str, indent: str) -> str:
    return "\n".join(textwrap.wrap(text, LINE, subsequent_indent=indent))


def _caption(points: Sequence[_Point], full: Sequence[Row]) -> str:
    rows = [p.row for p in points]
    unpruned = [row for row in full if not row.pruned and row.top1 is not None]
    ceiling = "".join(f" Full precision: {row.top1.mean:.2f} %, n = {row.done}." for row in unpruned if row.top1)
    scale = f" The axis is {SCALE}." if _is_steep(points) else ""
    return (
        f"Top-1 accuracy minus that of each trial's own full-precision baseline, against the bits per quantized weight "
        f"and the size of the real file, for {configurations(rows)}. Mean ± sample standard deviation over seeds, "
        f"{trials_each(rows)}.{cut_off(p.bar for p in points)} Grey: the Pareto front; no other configuration is both smaller and "
        f"more accurate.{ceiling}{scale}"
    )


def _alt(points: Sequence[_Point], front: list[int]) -> str:
    steps = [
        f"{full_name(points[i].row)} with {points[i].bits:.2f} bits per weight at {number(points[i].gain, '{:+.2f}')} points"
        for i in front
    ]
    return f"Scatter plot of accuracy against size; on the Pareto front lie {'; '.join(steps)}."
