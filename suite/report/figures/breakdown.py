"""Where the bytes of each configuration's file go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from suite.report.figures.drawn import Absent, Drawn
from suite.report.figures.scene import Scene, configurations, counted_name, full_name, trials_each
from suite.report.figures.style import BLACK, BLUE, GREY, ORANGE, PAPER, SKY, VERMILION, sheet
from suite.report.spread import mean
from suite.report.table import Row

KIND = "breakdown"
LINE = 0.17  # inches of a bar


@dataclass(frozen=True)
class _Part:
    column: str  # of the tidy frame, bits
    label: str
    colour: str
    hatch: str


PARTS = (
    _Part("code_bits", "indices", SKY, ""),
    _Part("position_bits", "positions", BLUE, "\\\\\\\\"),
    _Part("codebook_bits", "codebooks", ORANGE, "////"),
    _Part("side_bits", "side information", VERMILION, "xxxx"),
    _Part("other_bits", "not quantized", GREY, "...."),
)


def draw(scene: Scene) -> Iterator[Drawn | Absent]:
    name, title = scene.name(KIND), scene.title("where the bytes of the file go")
    rows = scene.quantized
    if not rows:
        yield Absent(name, title, "no quantized network is done yet")
        return
    kilobytes = [[_kilobytes(scene, row, part) for part in PARTS] for row in rows]
    figure = sheet(title, height=1.1 + LINE * len(rows))
    axes = figure.subplots()
    places = range(len(rows))
    for number, part in enumerate(PARTS):
        lefts = [sum(sizes[:number]) for sizes in kilobytes]
        widths = [sizes[number] for sizes in kilobytes]
        axes.barh(
            places, widths, 0.78, lefts, color=part.colour, edgecolor=PAPER, lw=0.3, hatch=part.hatch, label=part.label
        )
    for place, sizes in zip(places, kilobytes, strict=True):
        axes.annotate(
            f"{sum(sizes):.1f}", (sum(sizes), place), (3, 0), textcoords="offset points", va="center", fontsize=6
        )
    axes.set_yticks(list(places), [counted_name(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1.08 * max(sum(sizes) for sizes in kilobytes))
    axes.set_xlabel("size (kB)", color=BLACK)
    figure.legend(loc="outside lower center", ncols=len(PARTS))
    yield Drawn(name, title, _caption(rows), _alt(rows, kilobytes), figure)


def _kilobytes(scene: Scene, row: Row, part: _Part) -> float:
    """Mean over the trials of a row, 1000 bytes."""
    return (mean(scene.frame.loc[scene.finished(row), part.column]) or 0.0) / 8000


def _caption(rows: Sequence[Row]) -> str:
    return (
        "Size of the real file by what it holds: indices as coded, positions of the weights that are left (where the codes "
        "do not tell them), codebooks, side information (scales, shapes, names, checksums), and what is not quantized "
        f"(biases, batch-norm, other layers). Means over seeds, {trials_each(rows)}; full-precision networks are left out."
    )


def _alt(rows: Sequence[Row], kilobytes: Sequence[Sequence[float]]) -> str:
    totals = [sum(sizes) for sizes in kilobytes]
    least, most = totals.index(min(totals)), totals.index(max(totals))
    shares = [100 * sizes[0] / sum(sizes) for sizes in kilobytes]
    return (
        f"Stacked bars of file sizes for {configurations(rows)}: the smallest is {totals[least]:.1f} kB "
        f"({full_name(rows[least])}), the largest {totals[most]:.1f} kB ({full_name(rows[most])}); indices take at least "
        f"{min(shares):.0f} % of a file."
    )
