"""The cells of a published table, filled: what was measured, what was published, and what that comes to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from suite.ledger import Ledger, State
from suite.report.condition import fits
from suite.report.frame import PlannedTrial, tidy
from suite.report.reference import STANDS_FOR, Found, Published, References
from suite.report.specs.metrics import METRICS, Metric
from suite.report.specs.spec import Place, Spec
from suite.report.spread import Interval, Spread
from suite.report.table import FULL_PRECISION
from suite.report.tolerance import Allowed, allowed
from suite.report.verdict import (
    BEYOND,
    DIFFERS,
    KNOWN,
    MISSING,
    NO_FIGURE,
    incomplete,
    judge_gain,
    judge_ratio,
)

AMBIGUOUS = "ambiguous"
TRIAL = "trial"  # column: sweep/id
Read = Callable[[Ledger, Sequence[PlannedTrial]], pd.DataFrame]
Configurations = list[tuple[dict[str, Any], pd.DataFrame]]  # settings that trials share, and these trials
WORDS_AS_VALUES = {"absent": None, "any": None, "exists": True}


@dataclass(frozen=True)
class Cell:
    """Accuracies and errors in %, changes in points of accuracy; None where nothing is known."""

    place: Place
    trials: Mapping[str, str]  # sweep/id -> state, every planned one
    measured: Spread | None
    interval: Interval | None  # of the mean; None for fewer than 3
    change: Spread | None  # accuracy minus that of each trial's own full-precision baseline
    change_interval: Interval | None
    figure: Published | None  # may lack what the cell shows
    published: float | None
    published_change: float | None
    tolerance: Allowed | None  # None where there is no verdict on a figure
    verdict: str
    known: str  # the reason of a known deviation, else ""

    @property
    def metric(self) -> Metric:
        return METRICS[self.place.metric]

    @property
    def done(self) -> int:
        return sum(state == State.DONE for state in self.trials.values())

    @property
    def planned(self) -> int:
        return len(self.trials)

    @property
    def difference(self) -> float | None:
        """The change minus the published one; of the change itself, measured minus published."""
        ours, theirs = self.change, self.published_change
        if self.place.metric == "delta":
            ours, theirs = self.measured, self.published
        return None if ours is None or theirs is None else ours.mean - theirs

    @property
    def figure_note(self) -> str:
        shows = self.figure and (
            not self.figure.entry.available or self.published is not None or self.published_change is not None
        )
        return self.figure.footnote if self.figure and shows else ""

    @property
    def verdict_notes(self) -> list[str]:
        known = [f"Known deviation: {self.known}."] if self.known else []
        own = [self.tolerance.note] if self.tolerance and not self.tolerance.is_default else []
        return [*known, *own]


@dataclass(frozen=True)
class Filled:
    """A table, ready to be written in any form."""

    spec: Spec
    cells: tuple[Cell, ...]  # row by row
    done: Mapping[str, tuple[int, int]]  # sweep -> trials done and planned
    dirty: int  # trials of the cells that ran from uncommitted code
    warnings: tuple[str, ...]
    mistakes: tuple[str, ...]  # of the spec and its figures; what they are about is left out

    @property
    def trials(self) -> dict[str, str]:
        """Those behind the cells, sweep/id -> state."""
        return {trial: state for cell in self.cells for trial, state in cell.trials.items()}

    @property
    def footnotes(self) -> list[str]:
        """In the order in which they are first used, column by column; [1] is the first."""
        notes = [
            note for cells in self.by_column() for cell in cells for note in (cell.figure_note, *cell.verdict_notes)
        ]
        return list(dict.fromkeys(note for note in notes if note))

    def by_column(self) -> list[list[Cell]]:
        return [[cell for cell in self.cells if cell.place.column is column] for column in self.spec.columns]


def fill(spec: Spec, ledgers: Sequence[Ledger], references: References, read: Read = tidy) -> Filled:
    """The table as the ledgers of the spec's sweeps stand now.

    Args:
        ledgers: one for each of `spec.sweeps`, in their order.
        read: gives the tidy frame of a sweep's trials; for those who fill several tables from the same ones.
    """
    frames = [_frame(read(ledger, sweep.trials), ledger) for sweep, ledger in zip(spec.sweeps, ledgers, strict=True)]
    frame = _once(pd.concat(frames, ignore_index=True)) if frames else pd.DataFrame()
    figures = references.of(spec.content.sources)
    mistakes: list[str] = list(spec.mistakes)
    configurations = _configurations(frame)
    cells = tuple(_cell(place, spec, configurations, figures, mistakes) for place in spec.places)
    used = {trial for cell in cells for trial in cell.trials}
    shown = frame[frame[TRIAL].isin(used)] if used else frame.head(0)
    return Filled(
        spec=spec,
        cells=cells,
        done={
            sweep.name: (int((part["state"] == State.DONE).sum()), len(part))
            for sweep, part in zip(spec.sweeps, frames, strict=True)
        },
        dirty=sum(dirty is True for dirty in shown.get("dirty", [])),
        warnings=tuple(
            f"{sweep.name}: {text}"
            for sweep, part in zip(spec.sweeps, frames, strict=True)
            for text in part["warning"]
            if text
        ),
        mistakes=tuple(dict.fromkeys(mistakes)),
    )


def _frame(frame: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    return pd.concat([frame, (f"{ledger.sweep}/" + frame["id"]).rename(TRIAL)], axis="columns")


def _once(frame: pd.DataFrame) -> pd.DataFrame:
    """Trials that several sweeps plan once, from a sweep where they are done; all in the order of the plans."""
    done_first = (frame["state"] != State.DONE).sort_values(kind="stable").index
    return frame.loc[done_first].drop_duplicates("id").sort_index()


def _cell(
    place: Place, spec: Spec, configurations: Configurations, references: References, mistakes: list[str]
) -> Cell:
    conditions = _dotted(place.where)
    groups = [(settings, group) for settings, group in configurations if fits(conditions, settings)]
    group = groups[0][1] if len(groups) == 1 else pd.DataFrame()
    settings = groups[0][0] if len(groups) == 1 else _as_settings(place.where, references)
    found = _found(place, settings, group, references)
    figure = found.published
    mistakes.extend(found.mistakes)
    metric = METRICS[place.metric]
    is_baseline = settings.get("method.name") == FULL_PRECISION and not any(
        name.startswith("prune.") for name in settings
    )
    has_change = metric.change is not None and not is_baseline and not group.empty
    values = (
        metric.values(group) if len(group) and not (is_baseline and place.metric == "delta") else pd.Series(dtype=float)
    )
    changes = metric.change(group) if has_change and metric.change else pd.Series(dtype=float)
    cell = Cell(
        place=place,
        trials=dict(zip(group[TRIAL], group["state"], strict=True)) if len(group) else {},
        measured=Spread.of(values),
        interval=Interval.of(values),
        change=Spread.of(changes),
        change_interval=Interval.of(changes),
        figure=figure,
        published=metric.published(figure) if figure else None,
        published_change=metric.published_change(figure) if figure else None,
        tolerance=None,
        verdict=MISSING,
        known="",
    )
    if len(groups) > 1:
        mistakes.append(_too_many(place, spec, [settings for settings, _ in groups]))
        return replace(cell, verdict=AMBIGUOUS)
    return _judged(cell, spec, found.known)


def _configurations(frame: pd.DataFrame) -> Configurations:
    """In the order of the plans."""
    if frame.empty:
        return []
    return [(json.loads(str(text)), group) for text, group in frame.groupby("configuration", sort=False)]


def _dotted(where: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions by the names that settings have."""
    own = {"method": "method.name", "bits": "method.bits"}
    return {own.get(name, name): wanted for name, wanted in where.items()}


def _as_settings(where: Mapping[str, Any], references: References) -> dict[str, Any]:
    """What a trial would look like that meets these conditions, where no sweep plans one; all other settings are None."""
    entries = [p.entry for p in references.published]
    others = dict.fromkeys(n for e in entries for where in (e.options, *(k.where for k in e.known)) for n in where)
    stated = {
        name: WORDS_AS_VALUES.get(wanted, wanted) if isinstance(wanted, str) else wanted
        for name, wanted in _dotted(where).items()
    }
    return {**others, **stated}


def _found(place: Place, settings: Mapping[str, Any], group: pd.DataFrame, references: References) -> Found:
    network, data, method = (str(place.where[name]) for name in ("network", "data", "method"))
    bits = settings.get("method.bits")
    if place.variant:
        return references.variant(network, data, bits, place.variant)
    is_ablation = not group.empty and not group["as_published"].all()
    return Found() if is_ablation else references.find(network, data, method, bits, settings)


def _too_many(place: Place, spec: Spec, found: Sequence[Mapping[str, Any]]) -> str:
    names = dict.fromkeys(name for settings in found for name in settings)
    differing = [name for name in names if len({json.dumps(s.get(name, "no such setting")) for s in found}) > 1]
    return (
        f"{spec.name}: cell {place.row.label!r}, {place.column.label!r} fits {len(found)} configurations, which differ in "
        f"{', '.join(differing[:5])}{' ...' if len(differing) > 5 else ''}; add a condition to its 'where'"
    )


def _judged(cell: Cell, spec: Spec, known: str) -> Cell:
    """With the verdict, which waits for all trials; `known` is why they may fall short of the figure."""
    if left := incomplete(cell.trials.values()):
        return replace(cell, verdict=left)
    if cell.figure is None or cell.figure_note == "" or not cell.figure.entry.available or cell.metric.unit is None:
        return replace(cell, verdict=NO_FIGURE)
    if str(cell.place.where["data"]) in STANDS_FOR:
        return replace(cell, verdict=DIFFERS)
    tolerance = allowed(cell.metric.unit, [*cell.place.tolerances, cell.figure.entry.tolerance, spec.content.tolerance])
    verdict = _verdict(cell, tolerance)
    reason = known if verdict == BEYOND and cell.metric.explained else ""
    return replace(cell, tolerance=tolerance, verdict=KNOWN if reason else verdict, known=reason)


def _verdict(cell: Cell, tolerance: Allowed) -> str:
    measured, wanted = cell.measured, cell.published
    if measured is None:  # done, but the network has no such figure
        return NO_FIGURE
    if tolerance.unit == "ratio":
        return NO_FIGURE if wanted is None else judge_ratio(measured.mean, wanted, tolerance.value)
    if cell.difference is not None:
        return judge_gain(cell.difference, cell.change or measured, tolerance.value)
    if wanted is None:
        return NO_FIGURE
    return judge_gain(cell.metric.better * (measured.mean - wanted), measured, tolerance.value)
