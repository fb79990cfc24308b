"""How the figures of a table are written: the same texts on the terminal, in Markdown, LaTeX and HTML."""

from __future__ import annotations

import pandas as pd

from suite.report.reference import Published
from suite.report.table import FULL_PRECISION, Block, Row, Spread, Tables
from suite.report.titles import METHODS

NOTHING = "–"
MISSING = "missing"

Marks = dict[str, int]  # footnote -> its number


def marks(tables: Tables) -> Marks:
    return {text: number for number, text in enumerate(tables.footnotes, start=1)}


def measured(block: Block, numbers: Marks) -> pd.DataFrame:
    """A row per configuration, all texts."""
    return pd.DataFrame([_measured(row, block.has_top5, numbers) for row in block.rows], dtype=object)


def _measured(row: Row, has_top5: bool, numbers: Marks) -> dict[str, str]:
    figures = {
        "Top-1 error %": _spread(row.error, "{:.2f}"),
        "Δ full precision": _spread(row.delta, "{:+.2f}"),
        **({"Top-5 error %": _spread(row.top5_error, "{:.2f}")} if has_top5 else {}),
        "Bits/weight": _number(row.bits_per_weight, "{:.2f}"),
        "Ratio": _number(row.ratio, "{:.2f}×"),
    }
    if row.done == 0:
        figures = dict.fromkeys(figures, MISSING)
    return {
        "Method": row.label,
        "Bits": _number(row.bits, "{}"),
        "n": str(row.done) if row.done == row.planned else f"{row.done} of {row.planned}",
        **figures,
        "Published": _beside(row.published, numbers),
    }


def _beside(published: Published | None, numbers: Marks) -> str:
    """The published figure beside a trial's: "42.78 (−0.01), 35× [1]"."""
    if published is None:
        return NOTHING
    mark = f"[{numbers[published.footnote]}]"
    if not published.entry.available:
        return f"not available {mark}"
    hand = ", second hand" if published.entry.flag == "2nd" else ""
    return f"{_figures(published)}{hand} {mark}"


def _figures(published: Published) -> str:
    entry = published.entry
    error = [] if entry.top1_error is None else [_number(entry.top1_error, "{:.2f}")]
    delta = [] if published.delta is None else [f"({_number(published.delta, '{:+.2f}')})"]
    ratio = [] if entry.ratio is None else [_number(entry.ratio, "{:g}×")]
    return ", ".join(part for part in [" ".join([*error, *delta]), *ratio] if part)


def published(block: Block, numbers: Marks) -> pd.DataFrame:
    """A row per published figure of the block's network, all texts; empty if there is none."""
    return pd.DataFrame([_published(p, block.has_top5, numbers) for p in block.published], dtype=object)


def _published(published: Published, has_top5: bool, numbers: Marks) -> dict[str, str]:
    entry = published.entry
    title = METHODS.get(entry.method, entry.method)
    hand = ", second hand" if entry.flag == "2nd" else ""
    return {
        "Method": f"{title}, {entry.variant}" if entry.variant else title,
        "Bits": _number(32 if entry.method == FULL_PRECISION else entry.bits, "{}"),
        "Top-1 error %": _number(entry.top1_error, "{:.2f}"),
        "Δ full precision": _number(published.delta, "{:+.2f}"),
        **({"Top-5 error %": _number(entry.top5_error, "{:.2f}")} if has_top5 else {}),
        "Ratio": _number(entry.ratio, "{:g}×"),
        "Source": f"{published.source.short}{hand} [{numbers[published.footnote]}]",
    }


def _spread(spread: Spread | None, pattern: str) -> str:
    if spread is None:
        return NOTHING
    mean = _number(spread.mean, pattern)
    return mean if spread.std is None else f"{mean} ± {spread.std:.2f}"


def _number(value: float | None, pattern: str) -> str:
    """With a true minus sign, and without a sign if it rounds to zero."""
    if value is None:
        return NOTHING
    text = pattern.format(value)
    is_zero = not any(digit in text for digit in "123456789")
    return text.lstrip("+-") if is_zero else text.replace("-", "−")


def remark(block: Block) -> str:
    """What must be said below a block, "" if nothing."""
    if block.has_own_data:
        return ""
    return f"The published figures are of {block.published_title}: compare differences to full precision only."


def footer(tables: Tables) -> list[str]:
    """How complete the tables are, how to read them, how to make them again; a sentence or two a line."""
    done, planned = sum(row.done for row in tables.rows), sum(row.planned for row in tables.rows)
    dirty = [f"{tables.dirty} of them ran from uncommitted code."] if tables.dirty else []
    return [
        " ".join([f"Sweep {tables.sweep}: {done} of {planned} trials done.", *dirty]),
        "Mean ± sample standard deviation over n trials that differ in their seed. "
        "Δ is accuracy minus that of the trial's own full-precision baseline, in points; positive is better. "
        "Published: top-1 error in % (Δ), ratio.",
        f"Trials behind each row: {tables.sweep}.csv. Made by: slq tables jobs/{tables.sweep}.yaml",
        *(f"Warning: {warning}" for warning in tables.warnings),
    ]
