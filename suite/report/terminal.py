"""Tables on a terminal of any width: what does not fit goes on below."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from suite.report.columns import in_parts
from suite.report.parts import WORDS

_BETWEEN = 2  # characters from a column to the next
_LABEL = 28  # of a row's label on one line, if other columns must go below for it


def fitted(frame: pd.DataFrame, title: str, width: int, words: frozenset[str] = WORDS) -> Iterator[Table]:
    """The table in parts that fit `width` characters, each with the first two columns, which say what a row is."""
    widths = {str(name): _least_width(frame, str(name), words) + _BETWEEN for name in frame.columns}
    label = next(iter(widths))
    widths[label] = max(widths[label], _BETWEEN + min(_LABEL, max(map(len, frame[label]))))
    for number, names in enumerate(in_parts(widths, width)):
        yield _grid(frame[names], f"{title}, continued" if number else title, words)


def _grid(frame: pd.DataFrame, title: str, words: frozenset[str]) -> Table:
    grid = Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in frame.columns:
        is_text, width = name in words, _least_width(frame, name, words)
        grid.add_column(
            _heading(name),
            justify="left" if is_text else "right",
            min_width=width,
            max_width=None if is_text else width,
        )
    for row in frame.itertuples(index=False):
        grid.add_row(*(Text(cell) for cell in row))  # Text: a cell is never markup
    return grid


def _heading(name: str) -> Text:
    return Text(name.replace("/", "/ "))  # may break there


def _least_width(frame: pd.DataFrame, name: str, words: frozenset[str]) -> int:
    """Of a column in characters: figures never break, words between each other."""
    whole = " ".join(frame[name]).split() if name in words else [*frame[name]]
    return max(len(part) for part in [*whole, *_heading(name).plain.split()])
