"""Tables as text: terminal, Markdown, LaTeX, HTML, CSV. No times, no absolute paths: only a changed figure changes a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from suite.files import write_atomic
from suite.report import cells
from suite.report.page import page
from suite.report.parts import WORDS, parts_of
from suite.report.reference import Published
from suite.report.sizes import Sizes
from suite.report.spread import Spread
from suite.report.table import Block, Row, Tables

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
    """To the terminal; a table that is too wide for it goes on below."""

    def show(frame: pd.DataFrame, title: str) -> None:
        for grid in _grids(frame, title, console.width):
            console.print(grid)

    for part in parts_of(tables):
        show(part.measured.frame, part.block.title)
        if part.remark:
            console.print(Text(part.remark))
        for grid in part.further:
            show(grid.frame, grid.title)
    for line in _lines(tables):
        console.print(Text(line, style="dim"))


_BETWEEN = 2  # characters from a column to the next
_LABEL = 28  # of a row's label on one line, if other columns must go below for it


def _grids(frame: pd.DataFrame, title: str, width: int) -> Iterator[Table]:
    """The table in parts that fit `width` characters, each with the first two columns, which say what a row is."""
    widths = {str(name): _least_width(frame, str(name)) + _BETWEEN for name in frame.columns}
    first, others = list(widths)[:2], list(widths)[2:]
    widths[first[0]] = max(widths[first[0]], _BETWEEN + min(_LABEL, max(map(len, frame[first[0]]))))
    room = width - sum(widths[name] for name in first)
    parts: list[list[str]] = [[]]
    for name in others:
        if parts[-1] and sum(widths[n] for n in [*parts[-1], name]) > room:
            parts.append([])
        parts[-1].append(name)
    for number, names in enumerate(parts):
        yield _grid(frame[[*first, *names]], f"{title}, continued" if number else title)


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
        words, width = name in WORDS, _least_width(frame, name)
        grid.add_column(
            _heading(name), justify="left" if words else "right", min_width=width, max_width=None if words else width
        )
    for row in frame.itertuples(index=False):
        grid.add_row(*(Text(cell) for cell in row))  # Text: a cell is never markup
    return grid


def _heading(name: str) -> Text:
    return Text(name.replace("/", "/ "))  # may break there


def _least_width(frame: pd.DataFrame, name: str) -> int:
    """Of a column in characters: figures never break, words between each other."""
    whole = " ".join(frame[name]).split() if name in WORDS else [*frame[name]]
    return max(len(part) for part in [*whole, *_heading(name).plain.split()])


def markdown(tables: Tables) -> str:
    """GitHub's dialect."""
    parts = [f"# {tables.sweep}"]
    for part in parts_of(tables):
        parts += [f"## {part.block.title}", _pipes(part.measured.frame), part.remark]
        for grid in part.further:
            parts += [grid.title, _pipes(grid.frame)]
    return "\n\n".join(part for part in [*parts, *_lines(tables)] if part) + "\n"


def _pipes(frame: pd.DataFrame) -> str:
    safe = frame.map(lambda cell: cell.replace("|", r"\|"))
    align = ["left" if name in WORDS else "right" for name in frame.columns]
    return str(safe.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=align))


def latex(tables: Tables) -> str:
    """Floats for a document that loads `booktabs`."""
    parts: list[str] = []
    for part in parts_of(tables):
        parts += [_float(part.measured.frame, part.block.title), _tex(part.remark)]
        parts += [_float(grid.frame, grid.title) for grid in part.further]
    notes = [r"\noindent " + _tex(line) + r"\par" for line in _lines(tables)]
    return "\n\n".join(part for part in [*parts, *notes] if part) + "\n"


def _float(frame: pd.DataFrame, title: str) -> str:
    styler = frame.style.hide(axis="index").format(_tex).format_index(_tex, axis=1)
    columns = "".join("l" if name in WORDS else "r" for name in frame.columns)
    return styler.to_latex(hrules=True, column_format=columns, position_float="centering", caption=_tex(title)).strip()


def _tex(text: object) -> str:
    return str(text).translate(_TEX)


def html(tables: Tables) -> str:
    """A page that needs nothing else; every row opens to the trials behind it."""
    return page("tables.html", tables=tables, parts=list(parts_of(tables)), footer=cells.footer(tables))


def csv(tables: Tables) -> str:
    """A line per configuration: plain numbers, %, points, bits per weight, and the ids of the trials behind them.

    `delta_low` and `delta_high` are the interval of the mean Δ, see `suite.report.spread.Interval`.
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
