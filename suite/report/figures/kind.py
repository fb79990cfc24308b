"""A kind of figure: what it shows, apart from how that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from suite.report.figures.drawn import Absent, Drawn
from suite.report.figures.scene import Scene
from suite.report.figures.style import house_style

C = TypeVar("C")  # what is shown


@dataclass(frozen=True)
class Kind(Generic[C]):
    """The report draws what is read once more, interactively."""

    read: Callable[[Scene], C | Absent]
    draw: Callable[[C], Iterator[Drawn]]

    def drawn(self, content: C | Absent) -> list[Drawn | Absent]:
        """Its pages, in the style of the house."""
        if isinstance(content, Absent):
            return [content]
        with house_style():
            return list(self.draw(content))
