"""What a sweep still needs: a look at the ledger that changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import mean
from typing import Any

from suite.config import Trial, dotted
from suite.files import read_json, write_json
from suite.ledger import SCHEMA, Ledger, State, Work
from suite.sweep import Sweep

MAX_FAILURES = 3  # attempts that may end with an error before a trial is left alone
MAX_LOSSES = 5  # attempts in a row that may be killed without getting any further, likewise


class Standing(StrEnum):
    """Where a trial of the sweep stands. `orphan` is a trial of the ledger that the sweep does not name any more."""

    NEW = "new"
    CHANGED = "changed"  # new, in place of an orphan with the same label: its settings were edited
    RETRY = "retry"  # tried before: failed, interrupted or lost
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # failed, or was killed at the same place, so often that it is left alone until `slq retry`
    UNREADABLE = "unreadable"  # its folder is damaged: it is left alone until that is mended
    ORPHAN = "orphan"


MISSING = (Standing.NEW, Standing.CHANGED, Standing.RETRY)


@dataclass(frozen=True)
class Entry:
    """A trial of the sweep and where it stands."""

    trial: Trial
    work: Work
    standing: Standing
    replaces: tuple[Work, ...] = ()  # orphans of the same name that can be read, if the trial is changed
    problem: str = ""  # what makes it unreadable

    def changes(self) -> str:
        """What was edited, from the most similar orphan: "retrain.learning_rate 0.01 -> 0.02"."""
        now = dotted(self.trial.config())
        before = [dotted(work.config()) for work in self.replaces]
        edits = [{k: (old.get(k), v) for k, v in now.items() if old.get(k) != v} for old in before]
        fewest = min(edits, key=len, default={})
        return ", ".join(f"{key} {old} -> {new}" for key, (old, new) in fewest.items())


@dataclass(frozen=True)
class Plan:
    """All trials of a sweep in its order, and the orphans of its ledger."""

    entries: tuple[Entry, ...]
    orphans: tuple[Work, ...]

    @property
    def missing(self) -> list[Trial]:
        """Trials to run: those that make a starting point come first, so that trials seldom wait for the same one."""
        trials = [entry.trial for entry in self.entries if entry.standing in MISSING]
        first: dict[str, Trial] = {}
        for trial in trials:
            first.setdefault(trial.start_id, trial)
        makers = {trial.id for trial in first.values()}
        return [*first.values(), *(trial for trial in trials if trial.id not in makers)]

    def counts(self) -> dict[Standing, int]:
        """How many trials stand where, only those that occur."""
        found = Counter(entry.standing for entry in self.entries)
        found[Standing.ORPHAN] = len(self.orphans)
        return {standing: found[standing] for standing in Standing if found[standing]}

    def seconds(self, trials: Sequence[Trial] | None = None, probed: Mapping[str, float] | None = None) -> float | None:
        """Work left, or that of some trials, in seconds of one worker; None unless it is known of each of them.

        From finished trials of the same kind, else from a probe (seconds by trial id).
        """
        measured = {known: mean(values) for known, values in _measured(self.entries).items()}
        wanted = self.missing if trials is None else trials
        each = [measured.get(kind(trial.config()), (probed or {}).get(trial.id)) for trial in wanted]
        known = [seconds for seconds in each if seconds is not None]
        return sum(known) if len(known) == len(each) else None

    def unmeasured(self) -> list[Trial]:
        """Missing trials of kinds of which none has finished."""
        measured = _measured(self.entries)
        return [trial for trial in self.missing if kind(trial.config()) not in measured]


def make_plan(sweep: Sweep, ledger: Ledger) -> Plan:
    """Compare the sweep with the ledger."""
    planned = {trial.id for trial in sweep.trials}
    orphans = tuple(work for work in ledger.trials() if work.id not in planned)
    entries = tuple(_entry(trial, ledger.trial(trial.id), orphans) for trial in sweep.trials)
    return Plan(entries, orphans)


def _entry(trial: Trial, work: Work, orphans: Iterable[Work]) -> Entry:
    planned = trial.canonical()
    match standing(work, planned):
        case Standing.UNREADABLE:
            return Entry(trial, work, Standing.UNREADABLE, problem=work.problem(planned))
        case Standing.NEW:
            alike = (orphan for orphan in orphans if _name(orphan.id) == _name(trial.id))
            replaced = tuple(orphan for orphan in alike if not orphan.problem())
            return Entry(trial, work, Standing.CHANGED if replaced else Standing.NEW, replaced)
        case found:
            return Entry(trial, work, found)


def standing(work: Work, planned: Mapping[str, Any] | None = None) -> Standing:
    """Where a trial with these settings (`Trial.canonical`) stands, by its own folder alone.

    A running one is its owner's: nothing of it is judged before it has ended.
    """
    state = work.state()
    if state is State.RUNNING:
        return Standing.RUNNING
    if work.problem(planned):
        return Standing.UNREADABLE
    if given_up(work, state):
        return Standing.FAILED
    return {State.NEW: Standing.NEW, State.DONE: Standing.DONE}.get(state, Standing.RETRY)


def given_up(work: Work, state: State) -> bool:
    """Whether a trial in this state failed, or was killed at the same place, so often that it is left alone."""
    match state:
        case State.FAILED:
            return work.failures() >= MAX_FAILURES
        case State.LOST:
            return work.losses() >= MAX_LOSSES
        case _:
            return False


def is_missing(work: Work, planned: Mapping[str, Any] | None = None) -> bool:
    """Whether a trial is to be run: it is neither done, nor being run, nor given up, nor unreadable."""
    return not work.has_result() and standing(work, planned) in MISSING


def is_over(sweep: Sweep, ledger: Ledger) -> bool:
    """Whether every trial is done, or is left alone: given up, or unreadable."""
    works = ((ledger.trial(trial.id), trial.canonical()) for trial in sweep.trials)
    return all(
        work.has_result() or standing(work, planned) in (Standing.DONE, Standing.FAILED, Standing.UNREADABLE)
        for work, planned in works
    )


def forgive(sweep: Sweep, ledger: Ledger, only: Work | None = None) -> list[Work]:
    """Let every trial that is left alone after failures (or only one) be tried again; returns them."""
    works = [ledger.trial(trial.id) for trial in sweep.trials]
    forgiven = [work for work in works if only in (None, work) and given_up(work, work.state())]
    for work in forgiven:
        work.forgive()
    return forgiven


def _name(identity: str) -> str:
    """An id without its hash."""
    return identity.rpartition("-")[0]


def kind(config: dict[str, Any]) -> tuple[Any, ...]:
    """What trials that take about equally long have in common."""
    method, retrain = config["method"], config["retrain"]
    recipe = (retrain["epochs"], retrain["batch_size"], retrain["budget"])
    return config["network"], config["data"], method["name"], method.get("bits"), config["threads"], recipe


def _measured(entries: Iterable[Entry]) -> dict[tuple[Any, ...], list[float]]:
    """Wall seconds of finished trials by kind."""
    measured: dict[tuple[Any, ...], list[float]] = {}
    for entry in entries:
        cost = _cost(entry.work) if entry.standing == Standing.DONE else None
        if cost is not None:
            measured.setdefault(cost[0], []).append(cost[1])
    return measured


def _cost(work: Work) -> tuple[tuple[Any, ...], float] | None:
    """Kind and wall seconds of a finished trial; None where its result, of another version perhaps, lacks them."""
    try:
        result = work.result()
        return (kind(result["config"]), float(result["cost"]["wall_seconds"])) if result else None
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def write_plan(sweep: Sweep, ledger: Ledger) -> None:
    """Record which trials the sweep has, for readers that have the ledger only. The same plan again leaves the file as it is."""
    ledger.path.mkdir(parents=True, exist_ok=True)
    trials = [{"id": trial.id, "label": trial.label, "config": trial.config()} for trial in sweep.trials]
    plan, file = {"schema": SCHEMA, "sweep": sweep.name, "trials": trials}, ledger.path / "plan.json"
    if _recorded(file) != json.loads(json.dumps(plan)):  # tuples are lists in a file
        write_json(file, plan)


def _recorded(file: Path) -> Any:
    """What an earlier plan says; None if there is none, or it is damaged."""
    try:
        return read_json(file)
    except ValueError:
        return None
