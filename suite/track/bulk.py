"""New runs, written by the hundred into the tables of MLflow's own database: a client asks some twenty statements for each.

Only where that database and its files are at hand; servers are asked by the client. What is written is what the client would
have written (tests compare the two), in one transaction: a run is there with all that belongs to it, or not at all.
"""

from __future__ import annotations

import json
import math
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

from suite.track.projection import TRIAL, Input, Point, Projection

LARGEST = 1.7976931348623157e308  # stands for infinity in MLflow's tables
OURS = "slq."  # begins the names of the tags that a sync looks at
LONGEST_TAG = 8_000  # characters, MLflow's limit

Rows = dict[str, list[dict[str, Any]]]  # by table


@dataclass(frozen=True)
class Seen:
    """A run that is there already."""

    id: str
    name: str
    tags: dict[str, str]


@dataclass(frozen=True)
class New:
    """A run to be written, and the tags that say how far the trial's files had grown when it was projected."""

    wanted: Projection
    mark: dict[str, str]


@dataclass(frozen=True)
class Database:
    """The tables of one experiment, and the folder of its artifacts."""

    engine: Any
    experiment: str
    location: str  # a URI
    folder: Path  # where that is

    def runs(self) -> list[Seen]:
        """All runs that are not deleted, oldest first, with our own tags only. MLflow's search reads all that runs have."""
        from sqlalchemy import select

        run, tag = _table("runs"), _table("tags")
        mine = (run.c.experiment_id == int(self.experiment)) & (run.c.lifecycle_stage == "active")
        tags: dict[str, dict[str, str]] = {}
        with self.engine.connect() as connection:
            runs = connection.execute(
                select(run.c.run_uuid, run.c.name).where(mine).order_by(run.c.start_time, run.c.run_uuid)
            ).all()
            joined = select(tag.c.run_uuid, tag.c.key, tag.c.value).join(run, run.c.run_uuid == tag.c.run_uuid)
            for identity, key, value in connection.execute(joined.where(mine, tag.c.key.startswith(OURS))):
                tags.setdefault(identity, {})[key] = value
        return [Seen(identity, name, tags.get(identity, {})) for identity, name in runs]

    def write(self, runs: Sequence[New]) -> None:
        """Create these runs, complete."""
        folders: list[Path] = []
        written = False
        try:
            with self.engine.connect() as connection:
                rows: Rows = {}
                datasets = self._datasets(connection, rows, (each for new in runs for each in new.wanted.inputs))
                for new in runs:
                    self._add(rows, new, datasets, folders)
                for name, values in rows.items():
                    connection.execute(_table(name).insert(), values)
                connection.commit()
                written = True
        finally:
            for folder in [] if written else folders:
                shutil.rmtree(folder, ignore_errors=True)

    def _datasets(self, connection: Any, rows: Rows, inputs: Iterable[Input]) -> dict[tuple[str, str], str]:
        """The ids of the experiment's data sets by name and digest; those that are new are added to the rows."""
        from sqlalchemy import select

        table = _table("datasets")
        there = select(table.c.name, table.c.digest, table.c.dataset_uuid).where(
            table.c.experiment_id == int(self.experiment)
        )
        found = {(name, digest): identity for name, digest, identity in connection.execute(there)}
        for each in inputs:
            if (each.name, each.digest) in found:
                continue
            identity = found[each.name, each.digest] = uuid4().hex
            row = {"dataset_uuid": identity, "experiment_id": int(self.experiment), "name": each.name}
            row |= {"digest": each.digest, "dataset_source_type": "ledger", "dataset_source": json.dumps(each.source)}
            rows.setdefault("datasets", []).append(row)
        return found

    def _add(self, rows: Rows, new: New, datasets: Mapping[tuple[str, str], str], folders: list[Path]) -> None:
        """Copy a run's files, and add its rows; what is made anew is added to `folders`."""
        wanted, run = new.wanted, uuid4().hex
        folder = self.folder / run
        folders.append(folder)
        if wanted.artifacts:
            (folder / "artifacts").mkdir(parents=True)
        for file in wanted.artifacts:
            shutil.copyfile(file, folder / "artifacts" / file.name)
        _extend(rows, "runs", [_run(wanted, run, int(self.experiment), f"{self.location}/{run}/artifacts")])
        tags = wanted.tags | {"mlflow.runName": wanted.name} | new.mark
        _extend(rows, "tags", ({"run_uuid": run, "key": k, "value": v[:LONGEST_TAG]} for k, v in tags.items()))
        _extend(rows, "params", ({"run_uuid": run, "key": k, "value": v} for k, v in wanted.params.items()))
        points = [{"run_uuid": run, **_point(point)} for point in wanted.points]
        _extend(rows, "metrics", points)
        _extend(rows, "latest_metrics", _latest(points))
        for each in wanted.inputs:
            _link(rows, ("DATASET", datasets[each.name, each.digest]), ("RUN", run), each.context)
        if wanted.model:
            folders.append(self._add_model(rows, wanted, wanted.model, run))

    def _add_model(self, rows: Rows, wanted: Projection, packed: Path, run: str) -> Path:
        """Returns the folder that it made."""
        from mlflow.entities import LoggedModelStatus

        from suite.track.model import TYPE, model_name, write_model  # imports torch

        identity, now = f"m-{uuid4().hex}", round(time() * 1000)
        folder = self.folder / "models" / identity
        write_model(folder / "artifacts", packed, run, identity)
        row = {"model_id": identity, "experiment_id": int(self.experiment), "name": model_name(wanted.tags[TRIAL])}
        row |= {"artifact_location": f"{self.location}/models/{identity}/artifacts", "creation_timestamp_ms": now}
        row |= {"last_updated_timestamp_ms": now, "status": LoggedModelStatus.READY.to_int(), "model_type": TYPE}
        row |= {"lifecycle_stage": "active", "source_run_id": run}
        _extend(rows, "logged_models", [row])
        _link(rows, ("RUN_OUTPUT", run), ("MODEL_OUTPUT", identity))
        return folder


def open_database(client: Any, experiment: str) -> Database | None:
    """The database behind an `MlflowClient`; None if there is a server between, or files that are no local ones."""
    store: Any = getattr(getattr(client, "_tracking_client", None), "store", None)
    if type(store).__name__ != "SqlAlchemyStore":
        return None
    location = str(client.get_experiment(experiment).artifact_location).rstrip("/")
    parts = urllib.parse.urlsplit(location)
    if parts.scheme not in ("", "file") or parts.netloc or not _is_known():
        return None
    path = urllib.request.url2pathname(parts.path) if parts.scheme else location
    return Database(store.engine, experiment, location, Path(path))


# What this module fills of each table.
FILLED = {
    "runs": "run_uuid name source_type source_name entry_point_name user_id status start_time end_time source_version "
    "lifecycle_stage artifact_uri experiment_id",
    "tags": "run_uuid key value",
    "params": "run_uuid key value",
    "metrics": "run_uuid key value timestamp step is_nan",
    "latest_metrics": "run_uuid key value timestamp step is_nan",
    "datasets": "dataset_uuid experiment_id name digest dataset_source_type dataset_source",
    "inputs": "input_uuid source_type source_id destination_type destination_id step",
    "input_tags": "input_uuid name value",
    "logged_models": "model_id experiment_id name artifact_location creation_timestamp_ms last_updated_timestamp_ms status "
    "lifecycle_stage model_type source_run_id",
}


def _is_known() -> bool:
    """Whether this MLflow's tables have these columns, and need no others."""
    for name, filled in FILLED.items():
        columns = _table(name).columns
        needed = {column.name for column in columns if not column.nullable and column.default is None}
        if not needed <= set(filled.split()) <= {column.name for column in columns}:
            return False
    return True


def _table(name: str) -> Any:
    from mlflow.store.tracking.dbmodels.models import Base

    return Base.metadata.tables[name]


def _extend(rows: Rows, table: str, more: Iterable[dict[str, Any]]) -> None:
    rows.setdefault(table, []).extend(more)
    if not rows[table]:
        del rows[table]


def _run(wanted: Projection, run: str, experiment: int, artifacts: str) -> dict[str, Any]:
    row = {"run_uuid": run, "name": wanted.name, "source_type": "UNKNOWN", "source_name": "", "entry_point_name": ""}
    row |= {"user_id": "unknown", "status": wanted.status, "source_version": "", "lifecycle_stage": "active"}
    times = {"start_time": wanted.start, "end_time": wanted.end}
    return row | times | {"artifact_uri": artifacts, "experiment_id": experiment}


def _point(point: Point) -> dict[str, Any]:
    is_nan = math.isnan(point.value)
    value = 0.0 if is_nan else min(max(point.value, -LARGEST), LARGEST)
    return {"key": point.key, "value": value, "timestamp": point.time, "step": point.step, "is_nan": is_nan}


def _latest(points: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The last point of each metric."""
    latest: dict[str, dict[str, Any]] = {}
    for point in points:
        other = latest.setdefault(point["key"], point)
        if _order(point) > _order(other):
            latest[point["key"]] = point
    return latest.values()


def _order(point: Mapping[str, Any]) -> tuple[Any, ...]:
    return point["step"], point["timestamp"], point["value"]


def _link(rows: Rows, source: tuple[str, str], destination: tuple[str, str], context: str = "") -> None:
    """Say that a run has an input (with its context) or an output; both ends are a type and an id."""
    identity = uuid4().hex
    row = {"input_uuid": identity, "source_type": source[0], "source_id": source[1], "step": 0}
    row |= {"destination_type": destination[0], "destination_id": destination[1]}
    _extend(rows, "inputs", [row])
    if context:
        tag = {"input_uuid": identity, "name": "mlflow.data.context", "value": context}
        _extend(rows, "input_tags", [tag])
