"""Interactive figures: what plotly.js draws, as plain data.

Plotly, since hovering, zooming, toggling and saving pictures work in it without code of ours, and its Python package carries the
script, so that a page needs no network. Traces and layouts are plain dictionaries of its schema: its classes would take a second to
import and change nothing.

A trace's `meta.method` is what the page's boxes show and hide; a click leads to its `meta.target`, else to the first item of a
point's `customdata`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from suite.report.figures.scene import full_name
from suite.report.figures.style import Look, look_of
from suite.report.table import Row
from suite.report.titles import METHODS

Trace = dict[str, Any]

SYMBOLS = {  # matplotlib's marker -> plotly's
    "_": "line-ew-open",
    "o": "circle",
    "^": "triangle-up",
    "v": "triangle-down",
    "<": "triangle-left",
    ">": "triangle-right",
    "X": "x",
    "s": "square",
    "*": "star",
    "D": "diamond",
    "d": "diamond-tall",
    "p": "pentagon",
    "P": "cross",
    "h": "hexagon",
}
SIGNS = {  # the same for the boxes
    "_": "–",
    "o": "●",
    "^": "▲",
    "v": "▼",
    "<": "◀",
    ">": "▶",
    "X": "✖",
    "s": "■",
    "*": "★",
    "D": "◆",
    "d": "♦",
    "p": "⬟",
    "P": "✚",
    "h": "⬢",
}
BELOW = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"}  # a legend's place
FONT = {"family": "system-ui, Segoe UI, Roboto, sans-serif", "size": 13}


@dataclass(frozen=True)
class View:
    """What a figure shows at a time; `traces` and `layout` are plotly's."""

    traces: list[Trace]
    layout: dict[str, Any]
    name: str = ""  # in the list from which a reader chooses, if there is one
    method: str = ""  # if it is of one

    @property
    def spec(self) -> dict[str, Any]:
        return {"data": self.traces, "layout": self.layout}


@dataclass(frozen=True)
class Plot:
    """`alt` says in a sentence what is seen."""

    id: str
    title: str
    caption: str
    alt: str
    views: Sequence[View]  # the first one is shown at first
    is_wide: bool = False  # takes a line of its own


@dataclass(frozen=True)
class Swatch:
    """A box that shows and hides a method."""

    method: str
    title: str
    colour: str
    sign: str


def swatches(plots: list[Plot]) -> list[Swatch]:
    """Of the methods in these figures, in the order in which they appear."""
    traces = [trace for plot in plots for view in plot.views for trace in view.traces]
    methods = dict.fromkeys(trace["meta"]["method"] for trace in traces if "meta" in trace)
    return [_swatch(method, look_of(method)) for method in methods]


def _swatch(method: str, look: Look) -> Swatch:
    return Swatch(method, METHODS.get(method, method), look.colour, SIGNS[look.marker])


def meta(row: Row) -> dict[str, str]:
    """Of a trace that is of one row."""
    return {"method": row.method, "target": anchor(row)}


def choice(row: Row, seed: int) -> str:
    """The name of a view of one trial of a row."""
    return f"{full_name(row)} (n = {row.done}, seed {seed})"


def anchor(row: Row) -> str:
    """Where the page tells of a row's trials."""
    return f"#row-{next(iter(row.trials))}"


def short(value: Any) -> float:
    """Five significant digits: more cannot be seen and would make the page larger. Raises ValueError for NaN and infinity."""
    rounded = float(f"{float(value):.5g}")
    if not math.isfinite(rounded):
        raise ValueError(f"{value} cannot be drawn")
    return rounded


def axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": title, "standoff": 12}, "automargin": True, "zeroline": False, **more}


def layout(height: int, **more: Any) -> dict[str, Any]:
    """Without colours of its own: the page gives them, for light, dark and print."""
    return {
        "height": height,
        "font": FONT,
        "margin": {"l": 60, "r": 16, "t": 34, "b": 48},
        "modebar": {"bgcolor": "rgba(0,0,0,0)"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "showlegend": False,
        **more,
    }
