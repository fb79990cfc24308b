"""The drawn figures of a sweep, inside of the page.

As images of SVG in base64 and not as elements: identifiers inside of one then never meet those of another, and an image has an
alternative text that every reader knows.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from suite.report.figures import Absent, Drawn
from suite.report.figures.save import write
from suite.report.figures.style import house_style
from suite.report.paths import Shorten


@dataclass(frozen=True)
class Drawing:
    """`source` is a data: address, "" if the figure cannot be drawn; the caption then says why."""

    title: str
    caption: str
    alt: str
    source: str


def drawing(outcome: Drawn | Absent, shorten: Shorten) -> Drawing:
    """As an image, or why there is none."""
    if isinstance(outcome, Absent):
        return Drawing(outcome.title, with_warnings(f"Not drawn: {outcome.reason}.", outcome.warnings, shorten), "", "")
    caption = with_warnings(outcome.caption, outcome.warnings, shorten)
    return Drawing(outcome.title, caption, outcome.alt, _source(outcome))


def with_warnings(caption: str, warnings: Sequence[str], shorten: Shorten) -> str:
    """A caption and what could not be read."""
    return " ".join([caption, *map(shorten, warnings)])


def _source(drawn: Drawn) -> str:
    buffer = io.BytesIO()
    with house_style():
        write(drawn, "svg", buffer)
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
