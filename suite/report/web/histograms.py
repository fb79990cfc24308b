"""The weights of some layers before quantization and the values they take after it, one configuration at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from suite.report.figures.histograms import FLOOR, LAYERS, Array, Network, Weights, alt, caption, named
from suite.report.figures.scene import Content, full_name
from suite.report.figures.style import look_of
from suite.report.table import Row
from suite.report.web.plot import BELOW, Plot, Trace, View, axis, choice, layout, meta, short

ACROSS, HEIGHT = 3, 250  # panels in a line; pixels of a line
AXES = ["", *map(str, range(2, LAYERS + 1))]  # of plotly's names for the axes of panels
RANGE = [round(math.log10(FLOOR), 3), round(math.log10(150), 3)]
FAINT, CLEAR = "rgba(127,127,127,0.3)", "rgba(0,0,0,0)"  # the page, light or dark, shows through


def histograms(identity: str, content: Content[Network]) -> Plot:
    """A panel per layer. The bins and centres are embedded, never the weights."""
    views = [_view(row, network) for row, network in content.items]
    return Plot(identity, content.title, caption(content), alt(content), views, is_wide=True)


def _view(row: Row, network: Network) -> View:
    panels = [(axes, weights) for axes, weights in zip(AXES, network.layers, strict=False) if len(weights.edges)]
    traces = [
        {**trace, "xaxis": f"x{axes}", "yaxis": f"y{axes}", "showlegend": place == 0}
        for place, (axes, weights) in enumerate(panels)
        for trace in (_before(row, weights), _after(row, weights))
    ]
    return View(traces, _layout(network.layers), choice(row, network.seed), row.method)


def _layout(layers: Sequence[Weights]) -> dict[str, Any]:
    lines, each = -(-len(layers) // ACROSS), {}
    for place, name in enumerate(AXES[: len(layers)]):
        share = "Share of weights, %" if place % ACROSS == 0 else ""
        each[f"xaxis{name}"] = axis("Weight")
        each[f"yaxis{name}"] = axis(share, type="log", range=RANGE, tickvals=[0.1, 1, 10, 100])
    return layout(
        60 + HEIGHT * lines,
        grid={"rows": lines, "columns": min(ACROSS, len(layers)), "pattern": "independent", "ygap": 0.4},
        annotations=[_heading(axes, weights) for axes, weights in zip(AXES, layers, strict=False)],
        barmode="overlay",
        bargap=0,
        showlegend=True,
        legend=BELOW,
        **each,
    )


def _heading(axes: str, weights: Weights) -> dict[str, Any]:
    place = {"xref": f"x{axes} domain", "yref": f"y{axes} domain", "x": 0, "y": 1}
    return {**place, "text": named(weights), "xanchor": "left", "yanchor": "bottom", "showarrow": False}


def _before(row: Row, weights: Weights) -> Trace:
    return {
        **_bars(row, weights, weights.heights, "before"),
        "marker": {"color": FAINT},
    }


def _after(row: Row, weights: Weights) -> Trace:
    colour = look_of(row.method).colour
    if not weights.has_centres:
        return {
            **_bars(row, weights, weights.between, "after"),
            "marker": {"color": CLEAR, "line": {"color": colour, "width": 1}},
        }
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "after",
        "legendgroup": "after",
        "meta": meta(row),
        "x": [short(value) for value in weights.values],
        "y": [short(share) for share in weights.shares],
        "marker": {"color": colour, "size": 6},
        # stems that end below the axis
        "error_y": {
            "type": "percent",
            "symmetric": False,
            "value": 0,
            "valueminus": 99.999,
            "color": colour,
            "thickness": 1.5,
            "width": 0,
        },
        "hovertemplate": f"<b>{full_name(row)}</b>, {weights.layer}<br>centre %{{x}}: %{{y:.3~g}} % of the weights "
        "after<extra></extra>",
    }


def _bars(row: Row, weights: Weights, heights: Array, when: str) -> Trace:
    width = short(weights.edges[1] - weights.edges[0])
    return {
        "type": "bar",
        "name": when,
        "legendgroup": when,
        "meta": meta(row),
        "x0": short(weights.edges[0] + width / 2),
        "dx": width,
        "width": width,
        "y": [short(height) for height in heights],
        "hovertemplate": f"<b>{full_name(row)}</b>, {weights.layer}<br>bin of width {width:.2g} at %{{x:.3~g}}: "
        f"%{{y:.3~g}} % of the weights {when}<extra></extra>",
    }
