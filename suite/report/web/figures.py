"""The figures of the page, most kinds in two forms: interactive, and drawn.

What is drawn is printed, and is what readers without scripts see; on a screen it is seen only where there is no interactive form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from suite.report.figures import Absent
from suite.report.figures.gallery import BREAKDOWN, COURSE, FROZEN, HISTOGRAMS, SENSITIVITY, TRADEOFF
from suite.report.figures.kind import Kind
from suite.report.figures.scene import Content, Scene
from suite.report.paths import Shorten
from suite.report.web.breakdown import breakdown
from suite.report.web.curves import curves
from suite.report.web.drawings import Drawing, drawing, with_warnings
from suite.report.web.heatmaps import frozen_map, sensitivity_map
from suite.report.web.histograms import histograms
from suite.report.web.plot import Plot
from suite.report.web.tradeoff import tradeoffs

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One kind. With `plots`, which are interactive, the `drawings` show the same once more, if there are any; without, they are
    all there is, or say why there is nothing to show."""

    plots: list[Plot]
    drawings: list[Drawing]


def figures(number_of_block: int, scene: Scene, shorten: Shorten) -> Iterator[Figure]:
    """All kinds, of one network and its data."""

    def drawn(kind: Kind[Any]) -> list[Drawing]:
        return [drawing(each, shorten) for each in kind.drawn(kind.read(scene))]

    def both(kind: Kind[Content[T]], name: str, plot: Callable[[str, Content[T]], Plot]) -> Figure:
        content = kind.read(scene)
        drawings = [drawing(each, shorten) for each in kind.drawn(content)]
        if isinstance(content, Absent):
            return Figure([], drawings)
        made = plot(f"plot-{number_of_block}-{name}", content)
        return Figure([replace(made, caption=with_warnings(made.caption, content.warnings, shorten))], drawings)

    yield Figure(list(tradeoffs(number_of_block, scene.block)), drawn(TRADEOFF))
    # two kinds: all configurations in one, also unfinished ones; and each of its own, with losses on the test images
    yield Figure(list(curves(number_of_block, scene, shorten)), [])
    yield Figure([], drawn(COURSE))
    yield both(BREAKDOWN, "breakdown", breakdown)
    yield both(HISTOGRAMS, "histograms", histograms)
    yield both(FROZEN, "frozen", frozen_map)
    yield both(SENSITIVITY, "sensitivity", sensitivity_map)
