"""What quantizing costs: each cluster of each layer alone (SLQ), or each layer alone at each width (mixed widths)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from suite.ledger import Event, Work
from suite.report.figures.drawn import Absent, Drawn
from suite.report.figures.panels import LETTERS, MOST, PAGE, Panel, cells_text, heat_maps, matrix, ticks
from suite.report.figures.scene import (
    Content,
    Scene,
    configurations,
    full_name,
    heading,
    read_each,
    select,
    snaps_of,
)
from suite.report.table import Row

KIND, TITLE = "sensitivity", "rise of the loss by quantizing one part alone"
MAP = "cividis"  # dark: the loss falls, light: it rises; in every eye, and in print without colour
NEAR = 1e-3  # nats; linear below, logarithmic above
MEASURED = ("loss", "absolute")  # SLQ's partitions that measure, by the rise and by its magnitude


@dataclass(frozen=True)
class Sensitivity:
    """Of one trial."""

    seed: int
    layers: list[str]
    columns: list[str]
    across: str  # what the columns are
    column: str  # what one is, with its name in place of {}
    rises: NDArray[np.float64]  # (layers, columns) nats
    marks: list[list[str]]  # (layers, columns) in the cells, "" if there is nothing to say
    meaning: str  # of the marks


def read(scene: Scene) -> Content[Sensitivity] | Absent:
    found, warnings = read_each(scene.quantized, lambda row: _sensitivity(scene, row))
    if not found:
        reason = "no trial that is done has measured the loss (SLQ by loss or absolute, mixed widths by loss)"
        return Absent(scene.name(KIND), scene.title(TITLE), reason, warnings)
    return Content(scene.name(KIND), scene.title(TITLE), *select(found, MOST), warnings)


def draw(content: Content[Sensitivity]) -> Iterator[Drawn]:
    for page in content.pages(PAGE):
        norm = norm_of(page)
        panels = [_panel(row, each, norm) for row, each in page.items]
        figure = heat_maps(page.title, "rise of the held-out loss (nats)", panels)
        yield Drawn(page.name, page.title, caption(page), alt(page), figure, page.warnings)


def _sensitivity(scene: Scene, row: Row) -> Sensitivity | None:
    """Of the trial of median accuracy; None if its method does not measure."""
    work = scene.median(row)
    method = work.config()["method"]
    if row.method == "slq" and method["partition"] in MEASURED:
        return _clusters(work, scene.seed(work), snaps_of(work))
    if row.method == "mixed" and method["sensitivity"] == "loss":
        return _widths(scene.seed(work), method["widths"], snaps_of(work)[0])
    return None


def _clusters(work: Work, seed: int, snaps: Sequence[Event]) -> Sensitivity:
    """Scores of the first stage, when all clusters are open; columns by rising centre; marks: the stage that fixes a cluster."""
    books = {layer["name"]: layer["codebook"] for layer in (work.result() or {})["layers"]}
    scores: dict[str, list[float]] = snaps[0]["scores"]
    rises, marks = [], []
    for name, row in scores.items():
        order = np.argsort(books[name], kind="stable")
        stages = fixed_in(name, snaps)
        rises.append([row[cluster] for cluster in order])
        marks.append([str(stages.get(int(cluster), "")) for cluster in order])
    columns = [str(number) for number in range(1, len(rises[0]) + 1)]
    meaning = "the stage that quantizes it"
    return Sensitivity(
        seed, list(scores), columns, "cluster, by rising centre", "cluster {}", matrix(rises), marks, meaning
    )


def fixed_in(layer: str, snaps: Sequence[Event]) -> dict[int, int]:
    """Cluster -> the stage, from 1, that fixes it."""
    return {int(cluster): int(snap["stage"]) for snap in snaps for cluster in snap["chosen"][layer]}


def _widths(seed: int, widths: Sequence[int], snap: Event) -> Sensitivity:
    """Marks: the width that was chosen."""
    costs: dict[str, list[float]] = snap["costs"]
    chosen: dict[str, Any] = snap["widths"]
    marks = [["●" if chosen[name] == width else "" for width in widths] for name in costs]
    columns, rises = [str(width) for width in widths], matrix(list(costs.values()))
    return Sensitivity(seed, list(costs), columns, "bits", "{} bits", rises, marks, "the width that the layer gets")


def norm_of(content: Content[Sensitivity]) -> SymLogNorm:
    """Rise -> 0 to 1 on the map of colours, the same for all of a figure."""
    most = max(float(np.abs(each.rises).max()) for _, each in content.items)
    return SymLogNorm(NEAR, vmin=-max(most, 10 * NEAR), vmax=max(most, 10 * NEAR))


def _panel(row: Row, each: Sensitivity, norm: SymLogNorm) -> Panel:
    text = heading(row, f"seed {each.seed}", LETTERS)
    return Panel(text, len(each.layers), lambda axes: _heat_map(axes, each, norm))


def _heat_map(axes: Axes, each: Sensitivity, norm: SymLogNorm) -> AxesImage:
    image = axes.imshow(each.rises, cmap=MAP, norm=norm, aspect="auto", interpolation="nearest")
    ticks(axes, each.layers, each.columns)
    axes.set_xlabel(each.across)
    cells_text(axes, each.marks, np.asarray(norm(each.rises) > 0.45))
    return image


def caption(content: Content[Sensitivity]) -> str:
    """With how n trials became one."""
    return (
        "Rise of the held-out loss when one cluster of one layer alone is set to its centre, before the first stage (SLQ; with "
        "the absolute partition its magnitude; number: the stage that quantizes the cluster), or one layer alone is quantized "
        "to a width (mixed; dot: the width it gets). Each panel is one trial, that of median accuracy among the n of its "
        f"configuration; lighter than grey: the loss rises, darker: it falls; the scale "
        f"is linear up to {NEAR:g} nats, logarithmic beyond.{content.choice}"
    )


def alt(content: Content[Sensitivity]) -> str:
    """What is seen."""
    peaks = [(float(each.rises.max()), row, each) for row, each in content.items]
    peak, row, each = max(peaks, key=lambda item: item[0])
    line, column = np.unravel_index(int(each.rises.argmax()), each.rises.shape)
    return (
        f"Heat maps of the rise of the loss for {configurations(content.items)}: the largest is {peak:.4f} nats, in layer "
        f"{each.layers[line]}, column {each.columns[column]} of {full_name(row)}."
    )
