"""Weights frozen per layer and stage, and sensitivities per layer and cluster or width, one configuration at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.colors import SymLogNorm
from numpy.typing import NDArray

from suite.report.figures import frozen, sensitivity
from suite.report.figures.frozen import Frozen
from suite.report.figures.scene import Content, full_name
from suite.report.figures.sensitivity import Sensitivity
from suite.report.number import number
from suite.report.table import Row
from suite.report.web.plot import Plot, Trace, View, axis, choice, layout, meta, short

LINE, ROUND = 24, 110  # pixels of a layer, and of what is above and below the layers
LEAST, MOST = 320, 900  # pixels of a figure
RISES = (-10, -1, -0.1, -0.01, -0.001, 0, 0.001, 0.01, 0.1, 1, 10)  # nats, beside the bar of colours


def frozen_map(identity: str, content: Content[Frozen]) -> Plot:
    """Layers times stages."""
    views = [_frozen(row, each) for row, each in content.items]
    return Plot(identity, content.title, frozen.caption(content), frozen.alt(content), views)


def _frozen(row: Row, each: Frozen) -> View:
    stages = [str(stage) for stage in range(1, each.percent.shape[1] + 1)]
    trace = {
        **_heat_map(row, each.layers, stages, frozen.cell_texts(each)),
        "z": _short(each.percent),
        "zmin": 0,
        "zmax": 100,
        "colorscale": frozen.MAP.capitalize(),
        "colorbar": _bar("Frozen weights, %"),
        "hovertemplate": f"<b>{full_name(row)}</b><br>%{{y}}, stage %{{x}} of {len(stages)}: %{{z:.1f}} % of the weights "
        "frozen<extra></extra>",
    }
    return View([trace], _layout(len(each.layers), "Stage"), choice(row, each.seed), row.method)


def sensitivity_map(identity: str, content: Content[Sensitivity]) -> Plot:
    """Layers times clusters or widths, in the colours of the drawn figure."""
    norm = sensitivity.norm_of(content)
    views = [_sensitivity(row, each, norm) for row, each in content.items]
    return Plot(identity, content.title, sensitivity.caption(content), sensitivity.alt(content), views)


def _sensitivity(row: Row, each: Sensitivity, norm: SymLogNorm) -> View:
    ticks = {rise: place for rise in RISES if 0 <= (place := short(norm(rise))) <= 1}
    trace = {
        **_heat_map(row, each.layers, each.columns, each.marks),
        "z": _short(norm(each.rises)),
        "zmin": 0,
        "zmax": 1,
        "customdata": _short(each.rises),
        "colorscale": sensitivity.MAP.capitalize(),
        "colorbar": {
            **_bar("Rise of the loss, nats"),
            "tickvals": list(ticks.values()),
            "ticktext": [number(rise, "{:g}") for rise in ticks],
        },
        "hovertemplate": f"<b>{full_name(row)}</b><br>%{{y}}, {each.column.format('%{x}')}: %{{customdata:+.3~g}} nats<br>"
        f"{each.meaning}: %{{text}}<extra></extra>",
    }
    across = each.across[0].upper() + each.across[1:]
    return View([trace], _layout(len(each.layers), across), choice(row, each.seed), row.method)


def _heat_map(row: Row, layers: Sequence[str], columns: Sequence[str], texts: Sequence[Sequence[str]]) -> Trace:
    return {
        "type": "heatmap",
        "meta": meta(row),
        "x": columns,
        "y": layers,
        "text": texts,
        "texttemplate": "%{text}",
        "xgap": 1,
        "ygap": 1,
    }


def _layout(layers: int, across: str) -> dict[str, Any]:
    return layout(
        min(max(LEAST, ROUND + LINE * layers), MOST),
        xaxis=axis(across, type="category"),
        yaxis={"type": "category", "autorange": "reversed", "automargin": True},
    )


def _bar(title: str) -> dict[str, Any]:
    return {"title": {"text": title, "side": "right"}, "thickness": 14, "outlinewidth": 0}


def _short(numbers: NDArray[Any]) -> list[list[float]]:
    return [[short(value) for value in line] for line in numbers]
