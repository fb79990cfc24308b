"""What the figures of one network and its data are drawn from: the rows of its table, and the trials behind each."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Generic, TypeVar

import pandas as pd

from suite.history import recorded
from suite.ledger import Event, Ledger, State, Work, in_words
from suite.report.frame import DAMAGED
from suite.report.table import FULL_PRECISION, Block, Row

T = TypeVar("T")
NBSP = "\u00a0"  # no line breaks there


@dataclass(frozen=True)
class Content(Generic[T]):
    """What a figure shows, before it is drawn."""

    name: str  # of its files, without suffix; unique in a sweep
    title: str
    items: list[tuple[Row, T]]  # at least one
    choice: str = ""  # a sentence about how the rows were chosen, if others could be shown, too
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Row]:
        return [row for row, _ in self.items]

    def pages(self, most: int) -> list[Content[T]]:
        """Figures of at most so many items; the first one tells the warnings."""
        parts = pages(self.items, most)
        return [self] if len(parts) == 1 else [self._page(n, part, len(parts)) for n, part in enumerate(parts, start=1)]

    def _page(self, number: int, items: list[tuple[Row, T]], count: int) -> Content[T]:
        name = f"{self.name}-{number}" if number > 1 else self.name
        warnings = self.warnings if number == 1 else ()
        return replace(self, name=name, title=f"{self.title} ({number} of {count})", items=items, warnings=warnings)


@dataclass(frozen=True)
class Scene:
    """One block of a sweep's tables."""

    ledger: Ledger
    block: Block
    frame: pd.DataFrame  # `tidy`, by trial id

    def name(self, kind: str) -> str:
        """Of a figure: "quickstart-lenet5-digits-tradeoff"."""
        return f"{self.ledger.sweep}-{self.block.network}-{self.block.data}-{kind}"

    def title(self, text: str) -> str:
        return f"{self.block.title}: {text}"

    @property
    def done(self) -> list[Row]:
        """The rows that have results."""
        return [row for row in self.block.rows if row.done]

    @property
    def quantized(self) -> list[Row]:
        """Those of them that quantize."""
        return [row for row in self.done if row.method != FULL_PRECISION]

    def finished(self, row: Row) -> list[str]:
        """The ids of a row's trials that have a result."""
        return [identity for identity, state in row.trials.items() if state == State.DONE]

    def median(self, row: Row) -> Work:
        """The trial of median accuracy; of two in the middle, the lower one."""
        trials = self.frame.loc[self.finished(row)].sort_values("top1", kind="stable")
        return self.ledger.trial(str(trials.index[(len(trials) - 1) // 2]))

    def seed(self, work: Work) -> int:
        return int(self.frame["seed"][work.id])


def events_of(work: Work) -> list[Event]:
    """The points that all attempts recorded, oldest first, each once."""
    return list(recorded(chain.from_iterable(attempt.events() for attempt in work.attempts())))


def snaps_of(work: Work) -> list[Event]:
    """The quantizations of a trial that is done, stage by stage. Raises ValueError if there is no record of them."""
    snaps = [event for event in events_of(work) if event["event"] == "snap"]
    if not snaps:
        raise ValueError(f"{work.id} has no record of its quantizations")
    return sorted(snaps, key=lambda event: int(event["stage"]))


def read_each(rows: Iterable[Row], read: Callable[[Row], T | None]) -> tuple[list[tuple[Row, T]], tuple[str, ...]]:
    """What can be read of each row, if there is anything, and a warning for each that is damaged."""
    found: list[tuple[Row, T]] = []
    warnings: list[str] = []
    for row in rows:
        try:
            value = read(row)
        except DAMAGED as error:
            warnings.append(f"{full_name(row)} is left out: {in_words(error)}")
            continue
        if value is not None:
            found.append((row, value))
    return found, tuple(warnings)


def full_name(row: Row) -> str:
    """A row's label and its width, which has a column of its own in tables."""
    return row.label if row.bits is None or row.method == FULL_PRECISION else f"{row.label}, {row.bits}{NBSP}bits"


def counted_name(row: Row) -> str:
    """The same, with how many trials are done if some are not."""
    count = f"(n = {row.done} of {row.planned})".replace(" ", NBSP)
    return f"{full_name(row)} {count}" if row.done < row.planned else full_name(row)


def heading(row: Row, more: str, letters: int) -> str:
    """Above a small panel: the name, and a line below it."""
    return "\n".join([*textwrap.wrap(full_name(row), letters), f"n = {row.done}, {more}"])


def level(headings: Sequence[str]) -> list[str]:
    """Headings of equally many lines, so that the panels below them are of one height."""
    most = max((text.count("\n") for text in headings), default=0)
    return ["\n" * (most - text.count("\n")) + text for text in headings]


def selection(rows: Sequence[Row], most: int) -> tuple[list[Row], str]:
    """A choice that serves a reader, and how it was made: all rows, if they are at most so many; else the first of each method
    and width, or the first of each method. It may still be more than `most`."""
    by_width = _firsts(rows, lambda row: (row.method, row.pruned, row.bits))
    if len(rows) <= most:
        return list(rows), ""
    if len(by_width) <= most:
        return by_width, " Drawn is the first configuration of each method and width."
    return _firsts(rows, lambda row: row.method), " Drawn is the first configuration of each method."


def select(found: Sequence[tuple[Row, T]], most: int) -> tuple[list[tuple[Row, T]], str]:
    """A `selection` of rows with what was found of each."""
    rows, choice = selection([row for row, _ in found], most)
    kept = {id(row) for row in rows}
    return [pair for pair in found if id(pair[0]) in kept], choice


def _firsts(rows: Sequence[Row], key: Callable[[Row], object]) -> list[Row]:
    firsts: dict[object, Row] = {}
    for row in rows:
        firsts.setdefault(key(row), row)
    return list(firsts.values())


def pages(items: Sequence[T], most: int) -> list[list[T]]:
    """In parts of about the same size, of at most so many."""
    count = -(-len(items) // most)
    size = -(-len(items) // max(count, 1))
    return [list(items[i : i + size]) for i in range(0, len(items), max(size, 1))]


def configurations(rows: Sequence[object]) -> str:
    return f"{len(rows)} configuration{'s' if len(rows) != 1 else ''}"


def trials_each(rows: Iterable[Row]) -> str:
    """How often the rows were measured: "n = 2 to 3 trials per configuration"."""
    counts = sorted({row.done for row in rows})
    many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"n = {many} trial{'s' if counts[-1] > 1 else ''} per configuration"
