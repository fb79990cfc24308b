"""A published table as text: terminal, Markdown, LaTeX, HTML, CSV. No times, no paths: only a changed figure changes a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from suite.report.page import page
from suite.report.render import pipes, write_text
from suite.report.specs.fill import Cell, Filled
from suite.report.specs.grids import CHANGE, DIFFERENCE, FIRST, PUBLISHED, TEXTS, Sheet, footer, sheets
from suite.report.spread import Interval, Spread
from suite.report.terminal import fitted
from suite.report.tex import GAP, LINE, below, float_of, on_pages, points, tex
from suite.report.written import keep_larger


def write_filled(filled: Filled, folder: Path, *, force: bool = False) -> list[Path]:
    """Write `<spec>.md`, `.tex`, `.html` and `.csv` into `folder`, each at once; returns their paths.

    Raises `LargerTableError` if those that are there rest on more of the planned trials, unless `force` replaces them all the same.
    """
    if not force:
        keep_larger(folder / f"{filled.spec.name}.csv", filled.trials)
    writers: dict[str, Callable[[Filled], str]] = {".md": markdown, ".tex": latex, ".html": html, ".csv": csv}
    folder.mkdir(parents=True, exist_ok=True)
    return [write_text(folder / f"{filled.spec.name}{suffix}", write(filled)) for suffix, write in writers.items()]


def print_filled(filled: Filled, console: Console) -> None:
    """To the terminal; a table that is too wide for it goes on below."""
    console.print(Text(filled.spec.content.title, style="bold"))
    for sheet in sheets(filled):
        for table in fitted(sheet.frame, sheet.title, console.width, TEXTS):
            console.print(table)
    for line in _below(filled):
        console.print(Text(line, style="dim"))


def markdown(filled: Filled) -> str:
    """GitHub's dialect."""
    parts = [f"# {filled.spec.content.title}", filled.spec.content.note.strip()]
    for sheet in sheets(filled):
        parts += [f"## {sheet.title}", pipes(sheet.frame, TEXTS)]
    return "\n\n".join(part for part in [*parts, *_below(filled)] if part) + "\n"


# In LaTeX: headings, and columns
_SHORT = {CHANGE: "Δ", DIFFERENCE: "Δ − p. Δ"}
_BREAKING = {FIRST: 0.36, PUBLISHED: 0.32, "Verdict": 0.32}  # columns that share what the figures leave


def latex(filled: Filled) -> str:
    """Floats for a document that loads `booktabs`, no wider than 345 pt: a table that is too long goes on in the next."""
    floats = [text for sheet in sheets(filled) for text in _floats(sheet, filled.spec.content.title)]
    lines = [line for line in (filled.spec.content.note.strip(), *_below(filled)) if line]
    return "\n\n".join([*floats, *below(lines)]) + "\n"


def _floats(sheet: Sheet, title: str) -> Iterator[str]:
    widths = _widths(sheet)
    columns = "".join(f"p{{{widths[name]:.3f}\\linewidth}}" if name in widths else "r" for name in sheet.names)
    for number, part in enumerate(on_pages(sheet.frame, {name: LINE * width for name, width in widths.items()})):
        heading, *rows = [
            [_cell(name, text, widths) for name, text in zip(sheet.names, line, strict=True)]
            for line in [sheet.names, *part.itertuples(index=False)]
        ]
        yield float_of(f"{title}: {sheet.title}{', continued' if number else ''}", columns, heading, rows)


def _widths(sheet: Sheet) -> dict[str, float]:
    """Of columns whose texts may break, as parts of the line; figures take what they need."""
    room = 1 - GAP * (len(sheet.names) - 1) / LINE
    if not sheet.rows:
        return {name: room / (len(sheet.names) + 1) * (2 if name == FIRST else 1) for name in sheet.names}
    figures = [name for name in sheet.names if name not in _BREAKING]
    longest = [max(points(text) for text in [_SHORT.get(name, name), *sheet.frame[name]]) for name in figures]
    room -= sum(longest) / LINE
    return {name: room * share for name, share in _BREAKING.items()}


def _cell(name: str, text: str, widths: Mapping[str, float]) -> str:
    side = r"\raggedright " if name in TEXTS else r"\raggedleft "
    short = tex(_SHORT.get(text, text))
    return f"{side}{short}" if name in widths else short


def html(filled: Filled) -> str:
    """A page that needs nothing else; every line opens to the trials behind it."""
    return page("published.html", filled=filled, sheets=sheets(filled), footer=footer(filled))


def csv(filled: Filled) -> str:
    """A line per cell: plain numbers, the figure with its source, the tolerance with its reason, the trials (sweep/id)."""
    frame = pd.DataFrame([_record(cell) for cell in filled.cells], columns=list(COLUMNS))
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")


COLUMNS = (
    "row", "column", "metric", "network", "data", "method", "bits", "planned", "done", "mean", "std", "low", "high",
    "delta_mean", "delta_std", "delta_low", "delta_high", "published", "published_delta", "delta_minus_published_delta",
    "source", "tolerance", "tolerance_unit", "tolerance_reason", "verdict", "reason", "trials",
)  # fmt: skip


def _record(cell: Cell) -> dict[str, Any]:
    tolerance = cell.tolerance
    return {
        "row": cell.place.row.label,
        "column": cell.place.column.label,
        "metric": cell.place.metric,
        **{name: cell.place.where.get(name) for name in ("network", "data", "method", "bits")},
        "planned": cell.planned,
        "done": cell.done,
        **_numbers("", cell.measured, cell.interval),
        **_numbers("delta_", cell.change, cell.change_interval),
        "published": cell.published,
        "published_delta": cell.published_change,
        "delta_minus_published_delta": cell.difference,
        "source": cell.figure_note or None,
        "tolerance": tolerance.value if tolerance else None,
        "tolerance_unit": tolerance.unit if tolerance else None,
        "tolerance_reason": tolerance.reason if tolerance else None,
        "verdict": cell.verdict,
        "reason": cell.known or None,
        "trials": " ".join(cell.trials),
    }


def _numbers(prefix: str, spread: Spread | None, interval: Interval | None) -> dict[str, float | None]:
    return {
        f"{prefix}mean": spread.mean if spread else None,
        f"{prefix}std": spread.std if spread else None,
        f"{prefix}low": interval.low if interval else None,
        f"{prefix}high": interval.high if interval else None,
    }


def _below(filled: Filled) -> list[str]:
    return [*(f"[{number}] {text}" for number, text in enumerate(filled.footnotes, start=1)), *footer(filled)]
