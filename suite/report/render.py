"""Tables as text: terminal, Markdown, LaTeX, HTML, CSV. No times, no absolute paths: only a changed figure changes a file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from suite.files import write_atomic
from suite.report import cells
from suite.report.columns import in_parts
from suite.report.page import page
from suite.report.parts import WORDS, parts_of
from suite.report.reference import Published
from suite.report.sizes import Sizes
from suite.report.spread import Spread
from suite.report.table import Block, Row, Tables
from suite.report.terminal import fitted
from suite.report.tex import GAP, LINE, below, float_of, on_pages, points, tex
from suite.report.written import keep_larger

# In LaTeX, columns whose texts may break, and how wide they become for long texts, pt
_BREAKING = WORDS | {"Published"}
_MOST = 100.0


def write_tables(tables: Tables, folder: Path, *, force: bool = False) -> list[Path]:
    """Write `<sweep>.md`, `.tex`, `.html` and `.csv` into `folder`, each at once; returns their paths.

    Raises `LargerTableError` if those that are there rest on more of the planned trials, unless `force` replaces them all the same.
    """
    if not force:
        planned = {trial: state for row in tables.rows for trial, state in row.trials.items()}
        keep_larger(folder / f"{tables.sweep}.csv", planned)
    writers: dict[str, Callable[[Tables], str]] = {".md": markdown, ".tex": latex, ".html": html, ".csv": csv}
    folder.mkdir(parents=True, exist_ok=True)
    return [write_text(folder / f"{tables.sweep}{suffix}", write(tables)) for suffix, write in writers.items()]


def write_text(path: Path, text: str) -> Path:
    """Write a file at once; returns its path."""
    write_atomic(path, partial(Path.write_text, data=text, encoding="utf-8"))
    return path


def print_tables(tables: Tables, console: Console) -> None:
    """To the terminal; a table that is too wide for it goes on below."""

    def show(frame: pd.DataFrame, title: str) -> None:
        for table in fitted(frame, title, console.width):
            console.print(table)

    for part in parts_of(tables):
        show(part.measured.frame, part.block.title)
        if part.remark:
            console.print(Text(part.remark))
        for grid in part.further:
            show(grid.frame, grid.title)
    for line in _lines(tables):
        console.print(Text(line, style="dim"))


def markdown(tables: Tables) -> str:
    """GitHub's dialect."""
    parts = [f"# {tables.sweep}"]
    for part in parts_of(tables):
        parts += [f"## {part.block.title}", pipes(part.measured.frame), part.remark]
        for grid in part.further:
            parts += [grid.title, pipes(grid.frame)]
    return "\n\n".join(part for part in [*parts, *_lines(tables)] if part) + "\n"


def pipes(frame: pd.DataFrame, words: frozenset[str] = WORDS) -> str:
    """A table in Markdown."""
    safe = frame.map(lambda cell: cell.replace("|", r"\|"))
    align = ["left" if name in words else "right" for name in frame.columns]
    return str(safe.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=align))


def latex(tables: Tables) -> str:
    """Floats for a document that loads `booktabs`, no wider than 345 pt: a table that is too large goes on in the next one."""
    parts: list[str] = []
    for part in parts_of(tables):
        parts += [*_floats(part.measured.frame, part.block.title), tex(part.remark)]
        for grid in part.further:
            parts += _floats(grid.frame, grid.title)
    return "\n\n".join(part for part in [*parts, *below(_lines(tables))] if part) + "\n"


def _floats(frame: pd.DataFrame, title: str) -> Iterator[str]:
    widths = {str(name): _width(str(name), list(frame[name])) for name in frame.columns}
    parts = on_pages(frame, {name: width for name, width in widths.items() if name in _BREAKING})
    across = in_parts({name: width + GAP for name, width in widths.items()}, LINE + GAP)
    for number, (part, names) in enumerate(itertools.product(parts, across)):
        columns = "".join(f"p{{{widths[name]:.0f}pt}}" for name in names)
        heading, *rows = [
            [_cell(name, text) for name, text in zip(names, line, strict=True)]
            for line in [names, *part[names].itertuples(index=False)]
        ]
        yield float_of(f"{title}, continued" if number else title, columns, heading, rows)


def _width(name: str, texts: Sequence[str]) -> float:
    """Of a column in LaTeX, pt: headings and words break between words, figures do not."""
    heading, whole = max(map(points, name.split())), max(map(points, texts))
    if name not in _BREAKING:
        return max(heading, whole)
    word = max(points(word) for text in texts for word in text.split())
    return max(heading, 1.1 * word, min(whole, _MOST))  # a long word may be of wide letters


def _cell(name: str, text: str) -> str:
    return (r"\raggedright " if name in WORDS else r"\raggedleft ") + tex(text)


def html(tables: Tables) -> str:
    """A page that needs nothing else; every row opens to the trials behind it."""
    return page("tables.html", tables=tables, parts=list(parts_of(tables)), footer=cells.footer(tables))


def csv(tables: Tables) -> str:
    """A line per configuration: plain numbers, %, points, bits per weight, and the ids of the trials behind them.

    `delta_low` and `delta_high` are the bootstrap interval of the mean Δ, from three trials on: `suite.report.spread.Interval`.
    """
    coders = list(dict.fromkeys(name for row in tables.rows for name in row.sizes.coders))
    frame = pd.DataFrame([_record(block, row, coders) for block in tables.blocks for row in block.rows])
    return frame.astype({"bits": "Int64"}).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _record(block: Block, row: Row, coders: list[str]) -> dict[str, Any]:
    return {
        "network": block.network,
        "data": block.data,
        "method": row.method,
        "label": row.label,
        "bits": row.bits,
        "planned": row.planned,
        "done": row.done,
        **_numbers("top1", row.top1),
        **_numbers("error", row.error),
        **_numbers("delta", row.delta),
        "delta_low": row.delta_interval.low if row.delta_interval else None,
        "delta_high": row.delta_interval.high if row.delta_interval else None,
        **_numbers("top5_error", row.top5_error),
        "kept": row.kept,
        "fixed_bits_per_weight": row.fixed_bits_per_weight,
        "bits_per_weight": row.bits_per_weight,
        "ratio": row.ratio,
        **_sizes(row.sizes),
        **{f"coder_{name}": row.sizes.coders.get(name) for name in coders},
        **_published(row.published),
        "verdict": f"{row.verdict}, {row.deviation}" if row.deviation else row.verdict,
        "trials": " ".join(row.trials),
    }


def _sizes(sizes: Sizes) -> dict[str, float | None]:
    return {
        "index_bits": sizes.index,
        "codebook_bits": sizes.codebook,
        "position_bits": sizes.position,
        "code_bits": sizes.code,
        "entropy_bits": sizes.entropy,
        "file_bytes": sizes.file_bytes,
        "fixed_ratio": sizes.fixed_ratio,
        "ratio_deep_compression": sizes.ratio_deep_compression,
        "ratio_choi": sizes.ratio_choi,
    }


def _published(published: Published | None) -> dict[str, Any]:
    return {
        "published_error": published.entry.top1_error if published else None,
        "published_delta": published.delta if published else None,
        "published_ratio": published.entry.ratio if published else None,
        "published_source": published.footnote if published else None,
    }


def _numbers(name: str, spread: Spread | None) -> dict[str, float | None]:
    return {f"{name}_mean": spread.mean if spread else None, f"{name}_std": spread.std if spread else None}


def _lines(tables: Tables) -> list[str]:
    """What stands below the tables."""
    return [*(f"[{number}] {text}" for text, number in cells.marks(tables).items()), *cells.footer(tables)]
