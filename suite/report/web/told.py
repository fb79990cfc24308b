"""What a reader who follows a number finds: one trial, all that its folder says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from suite.config import NOT_IDENTITY, Trial, dotted
from suite.ledger import Attempt, Event, Ledger, State, Work, in_words
from suite.progress import duration
from suite.report.frame import DAMAGED
from suite.report.number import NOTHING, number
from suite.report.paths import Shorten
from suite.report.steps import damaged_lines
from suite.report.web.sheet import Sheet

NO_LAST_WORD = "stopped without a word: it was interrupted or killed, or its machine failed"
FIGURES = {  # what is told -> column of the tidy frame, pattern
    "Top-1 error %": ("error", "{:.2f}"),
    "Δ full precision": ("delta", "{:+.2f}"),
    "Bits/weight, index": ("fixed_bits_per_weight", "{:.2f}"),
    "Bits/weight, coded": ("bits_per_weight", "{:.2f}"),
    "Ratio": ("ratio", "{:.2f}×"),
    "Wall seconds": ("wall_seconds", "{:.1f}"),
}


@dataclass(frozen=True)
class Told:
    """A planned trial for the reader; all texts. `folder` is relative to the ledger's root."""

    id: str
    label: str
    state: str
    folder: str
    settings: dict[str, str]  # those that differ within the sweep
    figures: dict[str, str]
    stages: Sheet | None
    attempts: Sheet | None
    warning: str


def tell(trials: Sequence[Trial], ledger: Ledger, frame: pd.DataFrame, shorten: Shorten) -> dict[str, Told]:
    """Each trial by its id; `frame` is the tidy one, by id."""
    differing = _differing(trials)
    return {trial.id: _told(trial, ledger, frame.loc[trial.id], differing, shorten) for trial in trials}


def _told(trial: Trial, ledger: Ledger, row: Any, differing: Sequence[str], shorten: Shorten) -> Told:
    work, settings = ledger.trial(trial.id), dotted(trial.config())
    stages, attempts, warning = None, None, str(row["warning"])
    try:
        stages = _stages(work)
        attempts = _attempts(work, shorten)
    except DAMAGED as error:
        warning = warning or shorten(f"its attempts cannot be read: {in_words(error)}")
    return Told(
        id=trial.id,
        label=trial.label,
        state=str(row["state"]),
        folder=work.path.relative_to(ledger.root).as_posix(),
        settings={name: _plain(settings[name]) for name in differing if settings.get(name) is not None},
        figures={name: _figure(row[column], pattern) for name, (column, pattern) in FIGURES.items()},
        stages=stages,
        attempts=attempts,
        warning=warning,
    )


def _differing(trials: Sequence[Trial]) -> list[str]:
    """Settings of which not all trials have the same value, without those that decide nothing."""
    values: dict[str, set[str]] = {}
    all_settings = [dotted(trial.config()) for trial in trials]
    for settings in all_settings:
        for name, value in settings.items():
            values.setdefault(name, set()).add(json.dumps(value))
    return [
        name
        for name, seen in values.items()
        if name.partition(".")[0] not in NOT_IDENTITY
        and (len(seen) > 1 or any(name not in settings for settings in all_settings))
    ]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _figure(value: Any, pattern: str) -> str:
    return NOTHING if pd.isna(value) else number(float(value), pattern)


def _percent(facts: Mapping[str, Any] | None) -> str:
    return NOTHING if facts is None else number(100 * float(facts["top1"]), "{:.2f}")


def _stages(work: Work) -> Sheet | None:
    result = work.result() if work.state() is State.DONE else None
    records = result["stages"] if result else list(_records(work))
    lines = [
        [
            str(record["stage"]),
            number(100 * float(record["frozen"]), "{:.1f}"),
            str(record["clusters"]) if "clusters" in record else NOTHING,
            _percent(record["snapped"]),
            _percent(record["retrained"]),
        ]
        for record in records
    ]
    names = ["Stage", "Frozen %", "Clusters", "Top-1 % when quantized", "Top-1 % after re-training"]
    return Sheet(f"Stages of {work.id}", names, lines) if lines else None


def _records(work: Work) -> Iterator[dict[str, Any]]:
    """The stages of a trial that is not done, as far as it has come."""
    events = [event for attempt in work.attempts() for event in attempt.events()]
    ends = {event["stage"]: event for event in events if event["event"] == "eval"}
    snaps = {event["stage"]: event for event in events if event["event"] == "snap"}
    return ({**snap, "snapped": snap, "retrained": ends.get(stage)} for stage, snap in snaps.items())


def _attempts(work: Work, shorten: Shorten) -> Sheet | None:
    lines = [_attempt(attempt, shorten) for attempt in work.attempts()]
    names = ["Attempt", "Began", "Took", "Ended", "Code", "Machine"]
    words = frozenset(names) - {"Took"}
    return Sheet(f"Attempts of {work.id}", names, lines, words) if lines else None


def _attempt(attempt: Attempt, shorten: Shorten) -> list[str]:
    (events, damaged), provenance = attempt.read_events(), attempt.provenance()
    began = datetime.fromtimestamp(events[0]["t"], UTC) if events else None
    job = f", job {attempt.job()}" if attempt.job() else ""
    return [
        str(attempt.number),
        began.strftime("%Y-%m-%d %H:%M:%S UTC") if began else NOTHING,
        duration(events[-1]["t"] - events[0]["t"]) if events else NOTHING,
        shorten(_ended(attempt, events)) + _left_out(damaged),
        code_of(provenance),
        f"{provenance.get('host') or NOTHING}{job}",
    ]


def _ended(attempt: Attempt, events: Sequence[Event]) -> str:
    end = next((event for event in reversed(events) if event["event"] == "end"), None)
    if end is None:
        return "is running" if attempt.is_live() else NO_LAST_WORD
    return f"{end['outcome']}: {end['error']}" if end.get("error") else str(end["outcome"])


def _left_out(damaged: int) -> str:
    """Its courses are drawn without these lines."""
    return f"; {damaged_lines(damaged, 'events.jsonl')} left out" if damaged else ""


def code_of(provenance: Mapping[str, Any]) -> str:
    """The commit that an attempt ran from, and whether files differed from it."""
    commit = provenance.get("commit")
    return (str(commit)[:10] if commit else NOTHING) + (" with changes" if provenance.get("dirty") else "")
