"""The drawn figures of a sweep, inside of the page.

As images of SVG in base64 and not as elements: identifiers inside of one then never meet those of another, and an image has an
alternative text that every reader knows.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import pandas as pd

from suite.ledger import Ledger
from suite.report.figures import Absent, Drawn
from suite.report.figures.gallery import Gallery
from suite.report.figures.save import write
from suite.report.figures.style import house_style
from suite.report.paths import Shorten
from suite.report.table import Tables


@dataclass(frozen=True)
class Drawing:
    """`source` is a data: address, "" if the figure cannot be drawn; the caption then says why."""

    title: str
    caption: str
    alt: str
    source: str


def drawings(ledger: Ledger, tables: Tables, frame: pd.DataFrame, shorten: Shorten) -> list[Drawing]:
    """Of all networks; `frame` is the tidy one, by id."""
    return [_drawing(outcome, shorten) for outcome in Gallery(ledger, tables, frame)]


def _drawing(outcome: Drawn | Absent, shorten: Shorten) -> Drawing:
    warnings = shorten(" ".join(outcome.warnings))
    if isinstance(outcome, Absent):
        return Drawing(outcome.title, f"Not drawn: {outcome.reason}. {warnings}".strip(), "", "")
    return Drawing(outcome.title, f"{outcome.caption} {warnings}".strip(), outcome.alt, _source(outcome))


def _source(drawn: Drawn) -> str:
    buffer = io.BytesIO()
    with house_style():
        write(drawn, "svg", buffer)
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
