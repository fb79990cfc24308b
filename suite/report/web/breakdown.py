"""Where the bytes of each configuration's file go, as stacked bars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from suite.report.figures.breakdown import PARTS, Part, Sizes, alt, caption
from suite.report.figures.scene import Content, counted_name, full_name
from suite.report.figures.style import PAPER
from suite.report.table import Row
from suite.report.web.plot import BELOW, Plot, Trace, View, axis, layout, meta, short

LINE, ROUND = 26, 130  # pixels of a bar, and of what is above and below the bars


def breakdown(identity: str, content: Content[Sizes]) -> Plot:
    """A bar per configuration."""
    traces = [*map(_entry, PARTS), *(trace for row, sizes in content.items for trace in _bar(row, sizes))]
    view = View(traces, _layout(len(content.items)))
    return Plot(identity, content.title, caption(content), alt(content), [view], is_wide=True)


def _layout(bars: int) -> dict[str, Any]:
    return layout(
        ROUND + LINE * bars,
        barmode="stack",
        bargap=0.2,
        showlegend=True,
        legend={**BELOW, "traceorder": "normal"},
        xaxis=axis("Size, kB (1000 bytes)"),
        yaxis={"type": "category", "autorange": "reversed", "automargin": True},
    )


def _entry(part: Part) -> Trace:
    """Of the legend; it stays when methods are hidden."""
    return {**_style(part), "x": [None], "y": [None]}


def _style(part: Part) -> Trace:
    hatch = {"shape": part.hatch[:1], "fillmode": "overlay", "fgcolor": PAPER, "fgopacity": 1, "size": 6}
    return {
        "type": "bar",
        "orientation": "h",
        "name": part.label,
        "legendgroup": part.label,
        "marker": {"color": part.colour, "pattern": hatch},
    }


def _bar(row: Row, sizes: Sizes) -> Iterator[Trace]:
    total = sum(sizes)
    for part, size in zip(PARTS, sizes, strict=True):
        told = f"{part.label}: {size:,.2f} kB, {100 * size / total:.1f} % of {total:,.1f} kB"
        yield {
            **_style(part),
            "meta": meta(row),
            "x": [short(size)],
            "y": [counted_name(row)],
            "hovertemplate": f"<b>{full_name(row)}</b><br>{told}, n = {row.done}<extra></extra>",
            "showlegend": False,
            # the whole, at the end of the bar
            **(
                {"text": [f"{total:,.1f}"], "textposition": "outside", "cliponaxis": False} if part is PARTS[-1] else {}
            ),
        }
