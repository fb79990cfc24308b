"""What is printed of a sweep's tables, in every form: a part per block, each with its grids of texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from suite.report import cells
from suite.report.table import Block, Row, Tables

WORDS = frozenset({"Method", "Source", "Verdict"})  # columns of words; all others are numbers


@dataclass(frozen=True)
class Printed:
    """A printed table, all texts."""

    title: str
    frame: pd.DataFrame

    @property
    def names(self) -> list[str]:
        return [str(name) for name in self.frame.columns]

    @property
    def lines(self) -> list[list[str]]:
        lines: list[list[str]] = self.frame.to_numpy().tolist()
        return lines


@dataclass(frozen=True)
class Grid(Printed):
    """One of a sweep; `rows` are the configurations behind its lines, none for what others published."""

    rows: tuple[Row, ...] = ()
    words: frozenset[str] = WORDS


@dataclass(frozen=True)
class Part:
    """What is printed of a block; no grid of `further` is empty."""

    block: Block
    measured: Grid
    remark: str
    further: tuple[Grid, ...]


def parts_of(tables: Tables) -> Iterator[Part]:
    numbers = cells.marks(tables)
    for block in tables.blocks:
        done = tuple(row for row in block.rows if row.done)
        further = (
            Grid(f"Sizes: {block.title}", cells.sizes(block), done),
            Grid(f"Published: {block.published_title}", cells.published(block, numbers)),
        )
        yield Part(
            block,
            Grid(block.title, cells.measured(block, numbers), block.rows),
            cells.remark(block),
            tuple(grid for grid in further if not grid.frame.empty),
        )
