"""A filled table as texts: a grid in the shape of the published table, and one for each of its columns with all there is to say."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from suite.report.number import NOTHING, number
from suite.report.parts import Printed
from suite.report.specs.fill import AMBIGUOUS, Cell, Filled
from suite.report.spread import CONFIDENCE, FEWEST, RESAMPLES, Spread
from suite.report.tolerance import DEFAULT
from suite.report.verdict import DEVIATIONS, MISSING

FIRST, CHANGE, PUBLISHED, DIFFERENCE = "Row", "Δ full precision", "Published", "Δ − published Δ"
READ = (
    "Mean ± sample standard deviation over n trials that differ in their seed; n is – where no sweep plans any. Δ is accuracy "
    "minus that of the trial's own full-precision baseline, in points; positive is better. Published: the figure (its Δ, if known)."
)
VERDICT = (
    f"Verdict: outside tolerance if Δ is more than {DEFAULT.points:g} points below the published Δ, or a ratio below the published "
    f"one; better if Δ is above by more than that and than {DEVIATIONS} standard deviations of ours, or any larger ratio; else "
    "reproduced. Where no Δ is published, the figures themselves are compared. Another tolerance has its reason in a note. "
    f"Why {DEFAULT.points:g}: {DEFAULT.reason}."
)
_INTERVAL = (
    f"{100 * CONFIDENCE:g} % bootstrap intervals of means over at least {FEWEST} trials ({RESAMPLES:,} resamples), and the trials "
    "behind each cell"
)
TEXTS = frozenset({FIRST, "Verdict"})  # columns of words; all others are numbers
NO_FIGURE_THERE = "not available"


@dataclass(frozen=True)
class Sheet(Printed):
    """One of a spec. `rows`: the cells behind its lines, if each has one."""

    rows: tuple[Cell, ...] = ()
    words: frozenset[str] = TEXTS


def sheets(filled: Filled) -> list[Sheet]:
    """All that is printed; none if every row or every column of the spec is mistaken."""
    columns = [cells for cells in filled.by_column() if cells]
    overview = [Sheet("Measured (published)", _overview(columns))] if len(columns) > 1 else []
    marks = {note: number for number, note in enumerate(filled.footnotes, start=1)}
    return [*overview, *(Sheet(cells[0].place.column.label, _detail(cells, marks), tuple(cells)) for cells in columns)]


def _overview(columns: list[list[Cell]]) -> pd.DataFrame:
    first = {FIRST: [cell.place.row.label for cell in columns[0]]}
    return pd.DataFrame(
        {**first, **{cells[0].place.column.label: [_short(cell) for cell in cells] for cells in columns}}, dtype=object
    )


def _short(cell: Cell) -> str:
    """Measured, and in brackets what was published: "1.46 (1.58)"."""
    if cell.measured is not None:
        measured = number(cell.measured.mean, cell.metric.pattern)
    else:
        measured = cell.verdict if cell.verdict in (MISSING, AMBIGUOUS) else NOTHING
    published = _published(cell)
    return measured if published == NOTHING else f"{measured} ({published})"


def _published(cell: Cell) -> str:
    if cell.figure and not cell.figure.entry.available:
        return NO_FIGURE_THERE
    return number(cell.published, _as_printed(cell.metric.pattern))


def _as_printed(pattern: str) -> str:
    """Papers print ratios with as many digits as they like."""
    return pattern.replace(".2f}×", "g}×")


def _detail(cells: list[Cell], marks: dict[str, int]) -> pd.DataFrame:
    frame = pd.DataFrame([_line(cell, marks) for cell in cells], dtype=object)
    empty = [name for name in (CHANGE, DIFFERENCE) if (frame[name] == NOTHING).all()]
    return frame.drop(columns=empty)


def _line(cell: Cell, marks: dict[str, int]) -> dict[str, str]:
    return {
        FIRST: cell.place.row.label,
        "n": _count(cell),
        "Measured": _spread(cell.measured, cell.metric.pattern) if cell.done else cell.verdict,
        CHANGE: _spread(cell.change, "{:+.2f}"),
        PUBLISHED: _beside(cell, marks),
        DIFFERENCE: number(cell.difference, "{:+.2f}"),
        "Verdict": " ".join([cell.verdict, *(f"[{marks[note]}]" for note in cell.verdict_notes)]),
    }


def _count(cell: Cell) -> str:
    if not cell.planned:
        return NOTHING
    return str(cell.done) if cell.done == cell.planned else f"{cell.done} of {cell.planned}"


def _spread(spread: Spread | None, pattern: str) -> str:
    if spread is None:
        return NOTHING
    mean = number(spread.mean, pattern)
    return mean if spread.std is None else f"{mean.rstrip('×')} ± {pattern.replace('+', '').format(spread.std)}"


def _beside(cell: Cell, marks: dict[str, int]) -> str:
    """The published figure, its change and its source: "31.02 (+0.71) [1]"."""
    if not cell.figure_note or cell.figure is None:
        return NOTHING
    change = [] if cell.published_change is None else [f"({number(cell.published_change, '{:+.2f}')})"]
    figure = [text for text in [_published(cell)] if text != NOTHING]
    hand = ["second hand"] if cell.figure.entry.flag == "2nd" else []
    return " ".join([*figure, *change, *hand, f"[{marks[cell.figure_note]}]"])


def footer(filled: Filled) -> list[str]:
    """How complete the table is, how to read it, how to make it again."""
    dirty = [f"{filled.dirty} of them ran from uncommitted code."] if filled.dirty else []
    counts = ", ".join(f"{name} {done} of {planned}" for name, (done, planned) in filled.done.items())
    name = filled.spec.name
    return [
        " ".join(
            [f"{len(filled.trials)} trials belong to these cells. Sweeps, trials done: {counts or 'none'}.", *dirty]
        ),
        READ,
        VERDICT,
        f"{_INTERVAL}: {name}.csv. Made by: slq tables results/specs/{name}.yaml",
        *(f"Warning: {warning}" for warning in filled.warnings),
    ]
