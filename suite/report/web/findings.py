"""What a sweep comes to, in a line per network and data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from suite.report.figures.scene import full_name
from suite.report.number import NOTHING, number
from suite.report.table import FULL_PRECISION, Block, Row, Tables
from suite.report.web.plot import anchor
from suite.report.web.sheet import Sheet, link

LOSS = 1.0  # point of accuracy that the smallest network may lose
NAMES = ["Network and data", "Full precision", "Most accurate quantized", f"Smallest that loses at most {LOSS:g} point"]


def findings(tables: Tables) -> Sheet:
    """Means over seeds, as far as the trials have come."""
    return Sheet("Findings", NAMES, [_line(block) for block in tables.blocks], frozenset(NAMES))


def _line(block: Block) -> list[str]:
    full = next((row for row in block.rows if row.method == FULL_PRECISION and not row.pruned and row.top1), None)
    quantized = [row for row in block.rows if row.method != FULL_PRECISION and row.top1 and row.delta and row.ratio]
    close = [row for row in quantized if row.delta and row.delta.mean >= -LOSS]
    return [block.title, _told(full), _told(_best(quantized, _accuracy)), _told(_best(close, lambda row: row.ratio))]


def _accuracy(row: Row) -> float | None:
    return row.top1.mean if row.top1 else None


def _best(rows: list[Row], value: Callable[[Row], Any]) -> Row | None:
    return max(rows, key=value, default=None)


def _told(row: Row | None) -> str:
    """With a link to the trials behind it."""
    if row is None or row.top1 is None:
        return NOTHING
    accuracy = f"{number(row.top1.mean, '{:.2f}')} %"
    if row.method == FULL_PRECISION:
        return link(anchor(row), accuracy)
    delta = number(row.delta.mean if row.delta else None, "{:+.2f}")
    return link(anchor(row), f"{full_name(row)}: {accuracy} (Δ {delta}), {number(row.ratio, '{:.1f}×')} smaller")
