"""Tables as text: terminal, Markdown, LaTeX, HTML, CSV. No times, no absolute paths: only a changed figure changes a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from suite.files import write_atomic
from suite.report import cells
from suite.report.page import TEMPLATE
from suite.report.reference import Published
from suite.report.table import Block, Row, Spread, Tables

_TEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "Δ": r"$\Delta$", "–": "--",
})  # fmt: skip


def write_tables(tables: Tables, folder: Path) -> list[Path]:
    """Write `<sweep>.md`, `.tex`, `.html` and `.csv` into `folder`, each at once; returns their paths."""
    writers: dict[str, Callable[[Tables], str]] = {".md": markdown, ".tex": latex, ".html": html, ".csv": csv}
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder / f"{tables.sweep}{suffix}", write(tables)) for suffix, write in writers.items()]


def _write(path: Path, text: str) -> Path:
    write_atomic(path, partial(Path.write_text, data=text, encoding="utf-8"))
    return path


def print_tables(tables: Tables, console: Console) -> None:
    """To the terminal."""
    for block, measured, published, remark in _parts(tables):
        console.print(_grid(measured, block.title))
        if remark:
            console.print(Text(remark))
        if not published.empty:
            console.print(_grid(published, f"Published: {block.published_title}"))
    for line in _lines(tables):
        console.print(Text(line, style="dim"))


def _grid(frame: pd.DataFrame, title: str) -> Table:
    grid = Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in frame.columns:
        words = name in _LEFT
        heading = Text(name.replace("/", "/ "))  # may break there: figures never do, words if they must
        whole = " ".join(frame[name]).split() if words else [*frame[name]]  # what must not be broken
        width = max(len(part) for part in [*whole, *heading.plain.split()])
        grid.add_column(
            heading, justify="left" if words else "right", min_width=width, max_width=None if words else width
        )
    for row in frame.itertuples(index=False):
        grid.add_row(*(Text(cell) for cell in row))  # Text: a cell is never markup
    return grid


def markdown(tables: Tables) -> str:
    """GitHub's dialect."""
    parts = [f"# {tables.sweep}"]
    for block, measured, published, remark in _parts(tables):
        parts += [f"## {block.title}", _pipes(measured), remark]
        if not published.empty:
            parts += [f"Published: {block.published_title}", _pipes(published)]
    return "\n\n".join(part for part in [*parts, *_lines(tables)] if part) + "\n"


def _pipes(frame: pd.DataFrame) -> str:
    safe = frame.map(lambda cell: cell.replace("|", r"\|"))
    align = ["left" if name in _LEFT else "right" for name in frame.columns]
    return str(safe.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=align))


def latex(tables: Tables) -> str:
    """Floats for a document that loads `booktabs`."""
    parts = []
    for block, measured, published, remark in _parts(tables):
        parts += [_float(measured, block.title), _tex(remark)]
        if not published.empty:
            parts.append(_float(published, f"Published: {block.published_title}"))
    notes = [r"\noindent " + _tex(line) + r"\par" for line in _lines(tables)]
    return "\n\n".join(part for part in [*parts, *notes] if part) + "\n"


def _float(frame: pd.DataFrame, title: str) -> str:
    styler = frame.style.hide(axis="index").format(_tex).format_index(_tex, axis=1)
    columns = "".join("l" if name in _LEFT else "r" for name in frame.columns)
    return styler.to_latex(hrules=True, column_format=columns, position_float="centering", caption=_tex(title)).strip()


def _tex(text: object) -> str:
    return str(text).translate(_TEX)


def html(tables: Tables) -> str:
    """A page that needs nothing else; every row opens to the trials behind it."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    template = environment.from_string(TEMPLATE)
    return template.render(tables=tables, parts=list(_parts(tables)), rows=_rows, footer=cells.footer(tables))


def _rows(block: Block, measured: pd.DataFrame) -> Iterator[tuple[Row, list[str]]]:
    return zip(block.rows, measured.to_numpy().tolist(), strict=True)


def csv(tables: Tables) -> str:
    """A line per configuration: plain numbers, %, points, and the ids of the trials behind them."""
    frame = pd.DataFrame([_record(block, row) for block in tables.blocks for row in block.rows])
    return frame.astype({"bits": "Int64"}).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _record(block: Block, row: Row) -> dict[str, Any]:
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
        **_numbers("top5_error", row.top5_error),
        "bits_per_weight": row.bits_per_weight,
        "ratio": row.ratio,
        **_published(row.published),
        "trials": " ".join(row.trials),
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


_LEFT = {"Method", "Source"}  # columns of words; all others are numbers


def _parts(tables: Tables) -> Iterator[tuple[Block, pd.DataFrame, pd.DataFrame, str]]:
    """Each block with its measured rows, its published rows and a remark."""
    numbers = cells.marks(tables)
    for block in tables.blocks:
        yield block, cells.measured(block, numbers), cells.published(block, numbers), cells.remark(block)


def _lines(tables: Tables) -> list[str]:
    """What stands below the tables."""
    return [*(f"[{number}] {text}" for text, number in cells.marks(tables).items()), *cells.footer(tables)]
