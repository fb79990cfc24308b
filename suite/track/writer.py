"""Brings MLflow up to the ledger. What is missing there is found by asking MLflow, so a sync may stop anywhere and be repeated."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from suite.errors import UserError
from suite.ledger import Ledger, State, Work, in_words
from suite.track.bulk import Database, New, Seen, open_database
from suite.track.names import Named, PlannedTrial, named
from suite.track.pages import sync_pages
from suite.track.projection import COMPLETE, ORPHAN, TRIAL, Input, Point, Projection, marks, project, run_name
from suite.track.store import IncompleteError, TrackingError, artifact_location, connect, explain

LOCK = ".mlflow.lock"  # in the ledger's root: one database serves all sweeps of a root

MOST_POINTS = 1_000  # MLflow's limit for one call
PAGE = 1_000  # runs for one call of a search
AT_ONCE = 200  # new runs in one transaction, at most
POINTS_AT_ONCE = 200_000  # recorded points in one, from which it is written: they are all in memory

KIND = {"mlflow.experimentKind": "custom_model_development"}  # else MLflow shows its pages for language models


class Outcome(Enum):
    """What a sync did about one trial."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class SyncReport:
    """What a sync did, in runs and in points of metrics; `busy`: nothing, because another sync is at work."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    points: int = 0
    busy: bool = False

    def __str__(self) -> str:
        if self.busy:
            return "another sync is at work, nothing was done"
        return f"{self.created} runs created, {self.updated} updated, {self.unchanged} unchanged, {self.points} points written"


def sync(
    ledger: Ledger,
    planned: Sequence[PlannedTrial],
    uri: str,
    *,
    pages: Sequence[Path] = (),
    patience: float = 60.0,
) -> SyncReport:
    """Project every trial that was ever begun to the MLflow at `uri`: one experiment for the sweep, one run for a trial.

    `pages` are files of the whole sweep, its tables say: the artifacts of one more run. None: what is there stays.
    Waits up to `patience` seconds for another sync of the same root. Raises `TrackingError` if MLflow is away or broken,
    and `IncompleteError` if trials are damaged or a newer version wrote them, after all others; the ledger is never touched.
    """
    try:
        ledger.root.mkdir(parents=True, exist_ok=True)
        with FileLock(ledger.root / LOCK, timeout=patience):
            return _sync(ledger, planned, uri, pages)
    except Timeout:
        return SyncReport(busy=True)
    except UserError:
        raise
    except Exception as error:  # MLflow lets everything through: its own, SQLAlchemy's, the network's and the disk's
        raise TrackingError(explain(uri, error)) from error


def sync_quietly(ledger: Ledger, planned: Sequence[PlannedTrial], uri: str, *, patience: float = 60.0) -> str | None:
    """`sync` for those whose work must not depend on MLflow: returns a sentence on what went wrong, None if nothing did."""
    try:
        report = sync(ledger, planned, uri, patience=patience)
    except IncompleteError as error:
        return str(error)
    except UserError as error:
        return f"MLflow was not updated: {error}"
    return f"MLflow was not updated: {report}" if report.busy else None


def _sync(ledger: Ledger, planned: Sequence[PlannedTrial], uri: str, pages: Sequence[Path]) -> SyncReport:
    client = connect(uri)
    experiment = _experiment(client, ledger.sweep, artifact_location(ledger.root, uri))
    database = open_database(client, experiment)
    there = database.runs() if database else list(_all_runs(client, experiment))
    runs = _by_trial(client, experiment, there)
    plan = named(planned)
    syncing = _Syncing(client, experiment, database)
    for work in ledger.trials():
        try:
            syncing.trial(work, plan.get(work.id), runs.get(work.id))
        except UserError as error:  # this trial cannot be read; the others can
            syncing.failed.append(error)
    syncing.flush()
    sync_pages(client, experiment, there, pages)
    if syncing.failed:
        raise IncompleteError(syncing.failed, str(syncing.report()))
    return syncing.report()


def _experiment(client: Any, name: str, location: str | None) -> str:
    """Id of the experiment, which is made, or taken back out of MLflow's bin, if need be."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return str(client.create_experiment(name, location, KIND))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _by_trial(client: Any, experiment: str, there: Sequence[Seen]) -> dict[str, Seen]:
    """The run of every trial. A second one (a request that was answered too late and sent again) is deleted."""
    runs: dict[str, Seen] = {}
    for run in there:
        trial = run.tags.get(TRIAL)
        if trial in runs:
            _delete(client, experiment, run.id)
        elif trial:
            runs[trial] = run
    return runs


def _all_runs(client: Any, experiment: str) -> Iterator[Seen]:
    token: str | None = ""
    while token is not None:
        page = client.search_runs([experiment], max_results=PAGE, page_token=token or None)
        yield from (Seen(run.info.run_id, run.info.run_name, run.data.tags) for run in page)
        token = page.token or None


@dataclass
class _Syncing:
    """The trials of one sync, and what was done about them. New runs wait in `waiting` for company, if there is a database."""

    client: Any
    experiment: str
    database: Database | None
    outcomes: list[Outcome] = field(default_factory=list)
    points: int = 0
    waiting: list[New] = field(default_factory=list)
    failed: list[UserError] = field(default_factory=list)  # what keeps trials out

    def report(self) -> SyncReport:
        created, updated, unchanged = (self.outcomes.count(outcome) for outcome in Outcome)
        return SyncReport(created, updated, unchanged, self.points)

    def trial(self, work: Work, planned: Named | None, seen: Seen | None) -> None:
        """Raises `UserError` if the trial's files cannot be read."""
        found = _look(work, planned, seen)
        if found is None:
            return
        if found.wanted is None:
            self.outcomes.append(Outcome.UNCHANGED)
            return
        run = self.client.get_run(seen.id) if seen else None
        if run and _is_of_another_time(run, found.wanted, found.mark):
            _delete(self.client, self.experiment, run.info.run_id)
            run = None
        if run:
            self.points += _write(self.client, run, found.wanted, found.mark, known=True)
            self.outcomes.append(Outcome.UPDATED)
        else:
            self._create(found.wanted, found.mark)
            self.outcomes.append(Outcome.CREATED)

    def _create(self, projection: Projection, mark: dict[str, str]) -> None:
        if self.database and _can_be_complete(projection):
            self.waiting.append(New(projection, mark))
            self.points += len(projection.points)
            if len(self.waiting) >= AT_ONCE or sum(len(new.wanted.points) for new in self.waiting) >= POINTS_AT_ONCE:
                self.flush()
        else:
            run = self.client.create_run(self.experiment, projection.start, projection.tags, projection.name)
            self.points += _write(self.client, run, projection, mark, known=False)

    def flush(self) -> None:
        """Write what waits; what cannot be written, since its files cannot be copied, is kept out and remembered."""
        waiting, self.waiting = self.waiting, []
        if not self.database or not waiting:
            return
        try:
            self.database.write(waiting)
        except OSError:
            for new in waiting:
                self._write_alone(self.database, new)

    def _write_alone(self, database: Database, new: New) -> None:
        try:
            database.write([new])
        except OSError as error:
            self.failed.append(UserError(f"the files of {new.wanted.tags[TRIAL]} cannot be copied: {error}"))
            self.outcomes.remove(Outcome.CREATED)
            self.points -= len(new.wanted.points)


@dataclass(frozen=True)
class _Found:
    """How far a trial has come, and its run as it should be: None if MLflow has just that."""

    mark: dict[str, str]
    wanted: Projection | None


def _look(work: Work, planned: Named | None, seen: Seen | None) -> _Found | None:
    """All that is read of a trial's files; None for a trial that nobody has begun. Raises `UserError` if they cannot be read."""
    from suite.report.frame import DAMAGED  # imports pandas

    try:
        state = work.state()
        if state is State.NEW:
            return None
        mark = marks(work, state)  # before the files are read: what they grow in the meantime is left to the next sync
        current = {**mark, ORPHAN: "false" if planned else "true"}
        if seen and seen.name == run_name(work, planned) and current.items() <= seen.tags.items():
            return _Found(mark, None)
        return _Found(mark, project(work, state, planned))
    except UserError:  # it has words of its own
        raise
    except DAMAGED as error:
        raise UserError(f"{work.path} cannot be read: {in_words(error)}") from error


def _can_be_complete(projection: Projection) -> bool:
    """Whether all of it can be written: not the model of a network for data that this version does not know."""
    if not projection.model:
        return True
    from suite.track.model import data_of  # imports torch

    try:
        data_of(projection.model)
    except UserError:
        return False
    return True


def _is_of_another_time(run: Any, projection: Projection, mark: dict[str, str]) -> bool:
    """Whether the trial was deleted and done again since: MLflow cannot take points back, so the run must go."""
    complete = run.data.tags.get(COMPLETE)
    return bool(run.info.start_time != projection.start or (complete and complete != mark.get(COMPLETE)))


def _delete(client: Any, experiment: str, run: str) -> None:
    from suite.track.model import delete_models  # imports torch

    delete_models(client, experiment, run)
    client.delete_run(run)


def _write(client: Any, run: Any, wanted: Projection, mark: dict[str, str], *, known: bool) -> int:
    """Add to a run what it lacks, the mark last; nothing needs to be looked for in a run that is not `known` from before.

    Returns the number of points written.
    """
    identity = run.info.run_id
    if run.info.run_name != wanted.name:
        client.update_run(identity, name=wanted.name)
    if COMPLETE in run.data.tags:  # only its name or its place in the plan was another one
        client.log_batch(identity, **_settings(run, wanted))
        return 0
    points = _missing_points(client, run, wanted.points)
    metrics = [_metric(point) for point in points]
    client.log_batch(identity, metrics[:MOST_POINTS], **_settings(run, wanted))
    for i in range(MOST_POINTS, len(metrics), MOST_POINTS):
        client.log_batch(identity, metrics[i : i + MOST_POINTS])
    if wanted.inputs:
        client.log_inputs(identity, [_dataset(source) for source in wanted.inputs])  # again: changes nothing
    for file in wanted.artifacts:
        client.log_artifact(identity, str(file))
    if wanted.model:
        from suite.track.model import log_model  # imports torch

        log_model(client, run, wanted.tags[TRIAL], wanted.model, known=known)
    _write_status(client, run, wanted)
    client.log_batch(identity, tags=_entities("RunTag", mark))
    return len(points)


def _settings(run: Any, wanted: Projection) -> dict[str, list[Any]]:
    """Tags and parameters that a run lacks. A parameter can be written only once."""
    tags = dict(wanted.tags.items() - run.data.tags.items())
    params = {name: value for name, value in wanted.params.items() if name not in run.data.params}
    return {"params": _entities("Param", params), "tags": _entities("RunTag", tags)}


def _missing_points(client: Any, run: Any, points: list[Point]) -> list[Point]:
    keys = {point.key for point in points} & run.data.metrics.keys()
    there = {(key, metric.step) for key in keys for metric in client.get_metric_history(run.info.run_id, key)}
    return [point for point in points if (point.key, point.step) not in there]


def _write_status(client: Any, run: Any, wanted: Projection) -> None:
    """While a resumed trial runs again, its run keeps the end time of the earlier attempt: MLflow cannot forget it."""
    if wanted.end is None:
        if run.info.status != wanted.status:
            client.update_run(run.info.run_id, status=wanted.status)
    elif (run.info.status, run.info.end_time) != (wanted.status, wanted.end):
        client.set_terminated(run.info.run_id, wanted.status, wanted.end)


def _metric(point: Point) -> Any:
    from mlflow.entities import Metric

    return Metric(point.key, point.value, point.time, point.step)


def _dataset(source: Input) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(source.name, source.digest, "ledger", json.dumps(source.source))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", source.context)])


def _entities(kind: str, values: dict[str, str]) -> list[Any]:
    """MLflow's `RunTag` or `Param` objects."""
    from mlflow import entities

    return [getattr(entities, kind)(key, value) for key, value in values.items()]
