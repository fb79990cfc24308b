"""A table of texts in the report that is not one of the sweep's published-style tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from suite.report.table import Row


@dataclass(frozen=True)
class Sheet:
    """Drawn by the same template as a `suite.report.parts.Grid`; cells may be `Markup`. `words` are columns of words."""

    title: str
    names: Sequence[str]
    lines: Sequence[Sequence[str]]
    words: frozenset[str] = frozenset()
    rows: tuple[Row, ...] = ()


def link(target: str, text: str) -> Markup:
    """To another place of the page, such as "#trial-...": `text` is escaped."""
    return Markup('<a href="{}">{}</a>').format(target, text)
