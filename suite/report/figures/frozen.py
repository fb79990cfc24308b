"""How much of each layer is frozen after each stage: the picture of layers times clusters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import NDArray

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

KIND, TITLE = "frozen", "weights frozen per layer and stage"
MAP = "cividis"  # even for the colour-blind, and in grey


@dataclass(frozen=True)
class Frozen:
    """Of one trial."""

    seed: int
    layers: list[str]
    percent: NDArray[np.float64]  # (layers, stages) % of a layer's weights


def read(scene: Scene) -> Content[Frozen] | Absent:
    found, warnings = read_each(scene.quantized, lambda row: _frozen(scene, row))
    if not found:
        reason = (
            "no trial that is done has frozen its weights in stages and recorded each layer's part (runs of older versions "
            "did not)"
        )
        return Absent(scene.name(KIND), scene.title(TITLE), reason, warnings)
    return Content(scene.name(KIND), scene.title(TITLE), *select(found, MOST), warnings)


def draw(content: Content[Frozen]) -> Iterator[Drawn]:
    for page in content.pages(PAGE):
        panels = [_panel(row, each) for row, each in page.items]
        figure = heat_maps(page.title, "frozen weights of the layer (%)", panels)
        yield Drawn(page.name, page.title, caption(page), alt(page), figure, page.warnings)


def _frozen(scene: Scene, row: Row) -> Frozen | None:
    """Of the trial of median accuracy; None if it has frozen all at once, or does not say what."""
    work = scene.median(row)
    snaps = [event for event in snaps_of(work) if "frozen_by_layer" in event]
    if not any(0 < event["frozen"] < 1 for event in snaps):
        return None
    layers = list(snaps[0]["frozen_by_layer"])
    percent = [[100 * float(event["frozen_by_layer"][name]) for event in snaps] for name in layers]
    return Frozen(scene.seed(work), layers, matrix(percent))


def _panel(row: Row, each: Frozen) -> Panel:
    text = heading(row, f"seed {each.seed}", LETTERS)
    return Panel(text, len(each.layers), lambda axes: _heat_map(axes, each))


def _heat_map(axes: Axes, each: Frozen) -> AxesImage:
    stages = each.percent.shape[1]
    image = axes.imshow(each.percent, cmap=MAP, vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    ticks(axes, each.layers, [str(stage) for stage in range(1, stages + 1)])
    axes.set_xlabel("stage")
    cells_text(axes, cell_texts(each), each.percent > 50)
    return image


def cell_texts(each: Frozen) -> list[list[str]]:
    """(layers, stages), written where the colour alone does not say it: "" for none and all."""
    return [[f"{percent:.0f}" if 0 < percent < 100 else "" for percent in line] for line in each.percent]


def caption(content: Content[Frozen]) -> str:
    """With how n trials became one."""
    return (
        "Share of each layer's weights that is frozen after each stage of quantization, in network order. Each panel is one "
        f"trial, that of median accuracy among the n of its configuration.{content.choice}"
    )


def alt(content: Content[Frozen]) -> str:
    """What is seen."""
    chosen = content.items
    firsts = [(each.percent[:, 0].max(), full_name(row)) for row, each in chosen]
    stages = [each.percent.shape[1] for _, each in chosen]
    least, most = min(firsts), max(firsts)
    return (
        f"Heat maps of the weights frozen per layer and stage for {configurations(chosen)} with {min(stages)} to "
        f"{max(stages)} stages: after the first at most {least[0]:.0f} % of a layer ({least[1]}) to {most[0]:.0f} % "
        f"({most[1]}) are frozen, after the last at least {min(each.percent[:, -1].min() for _, each in chosen):.0f} %."
    )
