"""New runs that go straight into the tables of MLflow's database: the same as what its client writes, whole or not at all."""

from __future__ import annotations

import math
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from suite.ledger import Ledger
from suite.track import IncompleteError, SyncReport, bulk, default_uri, store, sync, writer
from suite.track.projection import Point
from tests.track.trials import Client, client_of, dump, everything, planned, reset_database, run, runs_of

MADE_UP = re.compile(r"\b(m-)?[0-9a-f]{32}\b")  # ids of runs, models and data sets
TIMES = {"creation_timestamp_ms", "last_updated_timestamp_ms"}  # of writing


def tables(file: Path) -> dict[str, Counter[str]]:
    """The rows of all tables that are filled, without made-up ids."""
    found: dict[str, Counter[str]] = {}
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        for name in bulk.FILLED:
            table = bulk._table(name)
            rows = connection.execute(table.select()).mappings()
            shown = (sorted((k, v) for k, v in row.items() if k not in TIMES) for row in rows)
            found[name] = Counter(MADE_UP.sub("id", repr(row)) for row in shown)
    engine.dispose()
    return found


def test_the_tables_are_those_that_the_client_fills(
    ledger: Ledger, initialised: Path, monkeypatch: pytest.MonkeyPatch, watch: Callable[[int | None], list[Client]]
) -> None:
    plan, other = everything(ledger), ledger.root / "other.db"
    shutil.copy(initialised, other)
    clients = watch(None)  # a client that only passes calls on has no database
    by_client = sync(ledger, plan, f"sqlite:///{other}")
    assert "log_batch" in clients[0].calls
    monkeypatch.setattr(writer, "connect", store.connect)
    assert sync(ledger, plan, default_uri(ledger.root)) == by_client
    ours, theirs = tables(ledger.root / "mlflow.db"), tables(other)
    assert all(ours.values())
    for name in bulk.FILLED:
        assert ours[name] == theirs[name], name
    assert dump(ledger) == dump(ledger, store.connect(f"sqlite:///{other}"))


def test_new_runs_do_not_go_through_the_client(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = everything(ledger)
    monkeypatch.setattr(writer, "_write", None)
    assert sync(ledger, plan, default_uri(ledger.root)).created == 6


def test_runs_that_are_broken_off_leave_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, uri = everything(ledger), default_uri(ledger.root)
    before = {path for path in ledger.root.rglob("*") if "mlartifacts" in path.parts and path.is_file()}

    def broken(*_: object) -> Any:
        raise OSError("lost")

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "_latest", broken)
        with pytest.raises(IncompleteError, match="lost"):
            sync(ledger, plan, uri)
    assert runs_of(ledger) == []
    assert {path for path in ledger.root.rglob("*") if "mlartifacts" in path.parts and path.is_file()} == before
    assert sync(ledger, plan, uri) == SyncReport(created=6, points=164 + 5 * 3)


def test_sweeps_of_several_transactions_are_written_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "AT_ONCE", 2)
    plan, uri = everything(ledger), default_uri(ledger.root)
    assert sync(ledger, plan, uri).created == 6
    datasets = tables(ledger.root / "mlflow.db")["datasets"]
    assert set(datasets.values()) == {1}, "trials share what they began from"
    assert sync(ledger, plan, uri) == SyncReport(unchanged=6)


@pytest.mark.parametrize("change", ["a column more is needed", "a column is gone"])
def test_tables_of_another_mlflow_are_left_to_its_client(
    ledger: Ledger, initialised: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    trial, uri = planned("a"), default_uri(ledger.root)
    run(ledger, trial)
    sync(ledger, [trial], uri)
    client, experiment = client_of(ledger), runs_of(ledger)[0].info.experiment_id
    assert bulk.open_database(client, experiment) is not None
    filled = {"params": "run_uuid key"} if change == "a column more is needed" else {"params": "run_uuid key value hue"}
    monkeypatch.setattr(bulk, "FILLED", {**bulk.FILLED, **filled})
    assert bulk.open_database(client, experiment) is None
    reset_database(ledger, initialised)
    assert sync(ledger, [trial], uri).created == 1


def test_files_that_are_elsewhere_are_left_to_the_client(ledger: Ledger) -> None:
    client = client_of(ledger)
    assert bulk.open_database(client, client.create_experiment("far", "s3://bucket/folder")) is None
    assert bulk.open_database(client, client.create_experiment("near", (ledger.root / "a b").as_uri())) is not None


points = st.builds(
    Point,
    st.sampled_from(["a", "b"]),
    st.floats() | st.sampled_from([math.nan, math.inf, -math.inf]),
    st.integers(0, 3),
    st.integers(0, 3),
)


@settings(deadline=None)
@given(st.lists(points, min_size=1))
def test_the_last_point_of_a_metric_is_its_latest(given_points: list[Point]) -> None:
    rows = [bulk._point(point) for point in given_points]
    latest = {row["key"]: row for row in bulk._latest(rows)}
    assert latest.keys() == {point.key for point in given_points}
    for row in rows:
        newest = latest[row["key"]]
        assert (row["step"], row["timestamp"], row["value"]) <= (newest["step"], newest["timestamp"], newest["value"])
        assert math.isfinite(row["value"])


def test_the_tables_show_what_is_no_number_as_mlflow_does(ledger: Ledger) -> None:
    values = {"nan": math.nan, "inf": math.inf, "less": -math.inf, "small": 1e-300}
    client = client_of(ledger)
    found = client.create_run(client.create_experiment("odd"))
    for name, value in values.items():
        client.log_metric(found.info.run_id, name, value, timestamp=1, step=2)
    engine = create_engine(f"sqlite:///{ledger.root}/mlflow.db")
    with engine.connect() as connection:
        there = [dict(row) for row in connection.execute(bulk._table("metrics").select()).mappings()]
    engine.dispose()
    ours = [bulk._point(Point(name, value, 2, 1)) for name, value in values.items()]
    assert sorted(ours, key=lambda row: str(row["key"])) == sorted(
        ({key: value for key, value in row.items() if key != "run_uuid"} for row in there), key=lambda row: row["key"]
    )
