"""How the figures of a table are written: the same texts on the terminal, in Markdown, LaTeX and HTML."""

from __future__ import annotations

from typing import Any

import pandas as pd

from suite.report.label import in_words
from suite.report.number import NOTHING
from suite.report.number import number as _number
from suite.report.reference import Entry, Published
from suite.report.spread import CONFIDENCE, FEWEST, Spread
from suite.report.table import FULL_PRECISION, Block, Row, Tables
from suite.report.titles import METHODS
from suite.report.verdict import EXPLAINED, MISSING

_SIZES = (
    "Bits are per weight of the quantized layers, pruned ones included. Bits/weight, index: every weight has an index of fixed "
    "width, and codebooks count; coded: all that the real file has of these layers. Index bits: of the weights that are left; "
    "coded bits: the same indices in the file, and positions, too, where position bits are 0. Ratio: whole network at 32 bits / "
    "file, or as Han et al. 2016 (Deep Compression) and Choi et al. 2017 count."
)

_INTERVALS = (
    f", and {100 * CONFIDENCE:g} % bootstrap intervals of mean Δ over at least {FEWEST} trials (delta_low, delta_high)"
)

Marks = dict[str, int]  # footnote -> its number


def marks(tables: Tables) -> Marks:
    return {text: number for number, text in enumerate(tables.footnotes, start=1)}


def measured(block: Block, numbers: Marks) -> pd.DataFrame:
    """A row per configuration, all texts."""
    return pd.DataFrame([_measured(row, block, numbers) for row in block.rows], dtype=object)


def _measured(row: Row, block: Block, numbers: Marks) -> dict[str, str]:
    figures = {
        "Top-1 error %": _spread(row.error, "{:.2f}"),
        "Δ full precision": _spread(row.delta, "{:+.2f}"),
        **({"Top-5 error %": _spread(row.top5_error, "{:.2f}")} if block.has_top5 else {}),
        **({"Kept %": _number(row.kept, "{:.2f}")} if block.has_pruned else {}),
        "Bits/weight, index": _number(row.fixed_bits_per_weight, "{:.2f}"),
        "Bits/weight, coded": _number(row.bits_per_weight, "{:.2f}"),
        "Ratio": _number(row.ratio, "{:.2f}×"),
    }
    return {
        "Method": row.label,
        "Bits": _number(row.bits, "{}"),
        "n": str(row.done) if row.done == row.planned else f"{row.done} of {row.planned}",
        **_unless_missing(row, figures),
        "Published": _beside(row.published, numbers),
        **({"Verdict": _verdict(row, numbers)} if block.has_figures else {}),
    }


def _verdict(row: Row, numbers: Marks) -> str:
    return " ".join([row.verdict, *(f"[{numbers[note]}]" for note in row.verdict_notes)])


def _unless_missing(row: Row, figures: dict[str, str]) -> dict[str, str]:
    return figures if row.done else dict.fromkeys(figures, MISSING)


def sizes(block: Block) -> pd.DataFrame:
    """A row per configuration that has results: where its bits go; all texts; empty if there is none."""
    return pd.DataFrame([_sizes(row) for row in block.rows if row.done], dtype=object)


def _sizes(row: Row) -> dict[str, str]:
    sizes = row.sizes
    return {
        "Method": row.label,
        "Bits": _number(row.bits, "{}"),
        "Index bits": _number(sizes.index, "{:.2f}"),
        "Codebook bits": _number(sizes.codebook, "{:.3f}"),
        "Position bits": _number(sizes.position, "{:.2f}"),
        "Coded bits": _number(sizes.code, "{:.2f}"),
        "Entropy": _number(sizes.entropy, "{:.2f}"),
        "File bytes": _number(sizes.file_bytes, "{:,.0f}"),
        "Ratio, fixed width": _number(sizes.fixed_ratio, "{:.2f}×"),
        "Ratio, Han's count": _number(sizes.ratio_deep_compression, "{:.2f}×"),
        "Ratio, Choi's count": _number(sizes.ratio_choi, "{:.2f}×"),
        "Ratio, file": _number(row.ratio, "{:.2f}×"),
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
    hand = ", second hand" if entry.flag == "2nd" else ""
    return {
        "Method": _title(entry),
        "Bits": _number(32 if entry.method == FULL_PRECISION else entry.bits, "{}"),
        "Top-1 error %": _number(entry.top1_error, "{:.2f}"),
        "Δ full precision": _number(published.delta, "{:+.2f}"),
        **({"Top-5 error %": _number(entry.top5_error, "{:.2f}")} if has_top5 else {}),
        "Ratio": _number(entry.ratio, "{:g}×"),
        "Source": f"{published.source.short}{hand} [{numbers[published.footnote]}]",
    }


def _title(entry: Entry) -> str:
    """The method of a published figure and what tells it from the others: "ECSQ, uniform, pruned"."""
    options = [_option(name, wanted) for name, wanted in entry.options.items() if wanted != "any"]
    return ", ".join(part for part in [METHODS.get(entry.method, entry.method), *options, entry.variant] if part)


def _option(name: str, wanted: Any) -> str:
    if name == "prune" and wanted in ("exists", "absent"):
        return "pruned" if wanted == "exists" else "not pruned"
    return in_words(name, wanted)


def _spread(spread: Spread | None, pattern: str) -> str:
    if spread is None:
        return NOTHING
    mean = _number(spread.mean, pattern)
    return mean if spread.std is None else f"{mean} ± {spread.std:.2f}"


def remark(block: Block) -> str:
    """What must be said below a block, "" if nothing."""
    if block.has_own_data:
        return ""
    return f"The published figures are of {block.published_title}: compare differences to full precision only."


def footer(tables: Tables) -> list[str]:
    """How complete the tables are, how to read them, how to make them again; a sentence or two a line."""
    planned = sum(row.planned for row in tables.rows)
    intervals = _INTERVALS if any(row.delta_interval for row in tables.rows) else ""
    dirty = [f"{tables.dirty} of them ran from uncommitted code."] if tables.dirty else []
    return [
        " ".join([f"Sweep {tables.sweep}: {tables.done} of {planned} trials done.", *dirty]),
        "Mean ± sample standard deviation over n trials that differ in their seed. "
        "Δ is accuracy minus that of the trial's own full-precision baseline, in points; positive is better. "
        "Published: top-1 error in % (Δ), ratio.",
        *([EXPLAINED] if any(block.has_figures and block.has_own_data for block in tables.blocks) else []),
        *([_SIZES] if any(row.done for row in tables.rows) else []),
        f"Trials behind each row{intervals}: {tables.sweep}.csv. Made by: slq tables jobs/{tables.sweep}.yaml",
        *(f"Warning: {warning}" for warning in tables.warnings),
    ]
