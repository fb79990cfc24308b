"""How interactive figures tell the configurations of one method apart: by dashes, and its variants by marks as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from suite.report.figures.style import look_of
from suite.report.figures.variants import variants
from suite.report.table import Row
from suite.report.web.plot import SYMBOLS, anchor

FORMS = ("", "-open", "-dot", "-open-dot")  # plotly's, of a method's symbol, for its variants
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")  # plotly's


def symbols(rows: Sequence[Row]) -> dict[str, str]:
    """Label of a row -> plotly's symbol; widths of one variant share it, four variants of a method differ."""
    methods = {row.label: row.method for row in rows}
    return {
        label: SYMBOLS[look_of(methods[label]).marker] + FORMS[number % len(FORMS)]
        for label, number in variants(rows).items()
    }


def dashes(rows: Sequence[Row]) -> dict[str, str]:
    """Anchor of a row -> plotly's dash; six configurations of a method differ, widths of its first variant before others."""
    numbers = variants(rows)
    places: Counter[str] = Counter()  # of each method, how many have one
    found: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: numbers[row.label]):
        found[anchor(row)] = DASHES[places[row.method] % len(DASHES)]
        places[row.method] += 1
    return found
