"""Where the bytes of each configuration's file go, as stacked bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from suite.report.figures.breakdown import PARTS, Part, Sizes, alt, caption
from suite.report.figures.scene import Content, counted_name, full_name
from suite.report.figures.style import PAPER
from suite.report.table import Row
from suite.report.web.plot import BELOW, Plot, Trace, View, axis, layout, meta, short

CLEAR = "rgba(0,0,0,0)"
LINE, ROUND = 26, 130  # pixels of a bar, and of what is above and below the bars


def breakdown(identity: str, content: Content[Sizes]) -> Plot:
    """A bar per configuration."""
    bars = [trace for place, (row, sizes) in enumerate(content.items) for trace in _bar(place, row, sizes)]
    view = View([*map(_entry, PARTS), *bars], _layout(content.rows))
    return Plot(identity, content.title, caption(content), alt(content), [view], is_wide=True)


def _layout(rows: Sequence[Row]) -> dict[str, Any]:
    """Bars have places of their own: several rows may have one name."""
    names = {"tickvals": list(range(len(rows))), "ticktext": [counted_name(row) for row in rows]}
    apart = {"ticks": "outside", "tickcolor": CLEAR}  # names and bars
    return layout(
        ROUND + LINE * len(rows),
        barmode="stack",
        bargap=0.2,
        showlegend=True,
        legend={**BELOW, "traceorder": "normal"},
        xaxis=axis("Size, kB (1000 bytes)"),
        yaxis=axis("", range=[len(rows) - 0.5, -0.5], **names, **apart),
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


def _bar(place: int, row: Row, sizes: Sizes) -> Iterator[Trace]:
    total = sum(sizes)
    for part, size in zip(PARTS, sizes, strict=True):
        told = f"{part.label}: {size:,.2f} kB, {100 * size / total:.1f} % of {total:,.1f} kB"
        yield {
            **_style(part),
            "meta": meta(row),
            "x": [short(size)],
            "y": [place],
            "hovertemplate": f"<b>{full_name(row)}</b><br>{told}, n = {row.done}<extra></extra>",
            "showlegend": False,
            # the whole, at the end of the bar
            **(
                {"text": [f"{total:,.1f}"], "textposition": "outside", "cliponaxis": False} if part is PARTS[-1] else {}
            ),
        }
