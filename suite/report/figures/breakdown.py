"""Where the bytes of each configuration's file go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from suite.report.figures.drawn import Absent, Drawn
from suite.report.figures.scene import Content, Scene, configurations, counted_name, full_name, trials_each
from suite.report.figures.style import BLACK, BLUE, GREY, ORANGE, PAPER, SKY, VERMILION, sheet
from suite.report.spread import mean
from suite.report.table import Row

KIND = "breakdown"
LINE = 0.17  # inches of a bar


Sizes = list[float]  # kB that each of the parts takes


@dataclass(frozen=True)
class Part:
    """What a file holds."""

    column: str  # of the tidy frame, bits
    label: str
    colour: str
    hatch: str


PARTS = (
    Part("code_bits", "indices", SKY, ""),
    Part("position_bits", "positions", BLUE, "\\\\\\\\"),
    Part("codebook_bits", "codebooks", ORANGE, "////"),
    Part("side_bits", "side information", VERMILION, "xxxx"),
    Part("other_bits", "not quantized", GREY, "...."),
)


def read(scene: Scene) -> Content[Sizes] | Absent:
    name, title = scene.name(KIND), scene.title("where the bytes of the file go")
    if not scene.quantized:
        return Absent(name, title, "no quantized network is done yet")
    sizes = [(row, [_kilobytes(scene, row, part) for part in PARTS]) for row in scene.quantized]
    return Content(name, title, sizes)


def draw(content: Content[Sizes]) -> Iterator[Drawn]:
    rows, kilobytes = content.rows, [sizes for _, sizes in content.items]
    figure = sheet(content.title, height=1.1 + LINE * len(rows))
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
    yield Drawn(content.name, content.title, caption(content), alt(content), figure)


def _kilobytes(scene: Scene, row: Row, part: Part) -> float:
    """Mean over the trials of a row, 1000 bytes."""
    return (mean(scene.frame.loc[scene.finished(row), part.column]) or 0.0) / 8000


def caption(content: Content[Sizes]) -> str:
    """With n."""
    return (
        "Size of the real file by what it holds: indices as coded, positions of the weights that are left (where the codes "
        "do not tell them), codebooks, side information (scales, shapes, names, checksums), and what is not quantized "
        f"(biases, batch-norm, other layers). Means over seeds, {trials_each(content.rows)}; full-precision networks are left out."
    )


def alt(content: Content[Sizes]) -> str:
    """What is seen."""
    rows, kilobytes = content.rows, [sizes for _, sizes in content.items]
    totals = [sum(sizes) for sizes in kilobytes]
    least, most = totals.index(min(totals)), totals.index(max(totals))
    shares = [100 * sizes[0] / sum(sizes) for sizes in kilobytes]
    return (
        f"Stacked bars of file sizes for {configurations(rows)}: the smallest is {totals[least]:.1f} kB "
        f"({full_name(rows[least])}), the largest {totals[most]:.1f} kB ({full_name(rows[most])}); indices take at least "
        f"{min(shares):.0f} % of a file."
    )
