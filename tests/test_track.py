"""The projection of a ledger to MLflow, with a real MLflow on SQLite."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from suite import claim
from suite.files import write_json
from suite.ledger import Ledger, OpenAttempt
from suite.track import (
    SyncReport,
    TrackingError,
    background,
    default_uri,
    follow,
    free_port,
    serving,
    store,
    sync,
    sync_quietly,
    writer,
)
from suite.track.projection import LONGEST_PARAM, flatten

STEPS = 12


@dataclass(frozen=True)
class Planned:
    id: str
    label: str
    settings: dict[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        return self.settings


def planned(name: str, seed: int = 0) -> Planned:
    method = {"name": "slq", "bits": 5, "partition": "loss", "stages": [5, 4, 2]}
    return Planned(
        name, f"lenet5 SLQ 5b loss s{seed}", {"network": "lenet5", "data": "digits", "seed": seed, "method": method}
    )


def begin(ledger: Ledger, trial: Planned, dirty: bool = False) -> OpenAttempt:
    attempt = ledger.trial(trial.id).try_claim(trial.config())
    assert attempt is not None
    write_json(attempt.path / "provenance.json", {"commit": "c0ffee" * 6, "dirty": dirty})
    return attempt


def train(attempt: OpenAttempt, first: int, last: int) -> None:
    """Steps `first` to `last` of a trial of three stages of four steps; the values depend on the step alone."""
    for step in range(first, last + 1):
        stage = (step - 1) // 4 + 1
        attempt.emit("train", stage=stage, stages=4, step=step, steps=STEPS, loss=1 / step, accuracy=step / 20, lr=0.1)
        if step % 4 == 0:
            attempt.emit("eval", stage=stage, stages=4, step=step, loss=2 / step, top1=step / 20, top5=1.0)
            attempt.emit(
                "snap",
                stage=stage + 1,
                stages=4,
                clusters=2,
                frozen=stage / 4,
                loss=3 / step,
                top1=step / 30,
                top5=1.0,
                step=step,
            )


def finish(attempt: OpenAttempt, top1: float = 0.95) -> None:
    attempt.emit("final", step=STEPS, loss=0.5, top1=top1, top5=1.0)
    attempt.finish(
        {
            "baseline": {"id": "b", "top1": 0.97, "top5": 1.0, "loss": 0.1},
            "quantized": {"top1": top1, "top5": 1.0, "loss": 0.5},
            "size": {"bits_per_weight": 5.04, "ratio": 6.2},
            "cost": {"wall_seconds": 12.1, "cpu_seconds": 12.0, "gpu_seconds": 0.0, "peak_memory_bytes": 512_000_000},
        }
    )


def kill(attempt: OpenAttempt) -> None:
    """Leave the attempt's files as a dead owner would, without waiting for the expiry."""
    claim.release(attempt.path)


def run(ledger: Ledger, trial: Planned) -> None:
    """From start to end in one attempt."""
    attempt = begin(ledger, trial)
    with attempt.running():
        train(attempt, 1, STEPS)
        finish(attempt)


def run_resumed(ledger: Ledger, trial: Planned) -> None:
    """Killed at step 7, resumed from step 4."""
    attempt = begin(ledger, trial, dirty=True)
    attempt.emit("start", attempt=1)
    train(attempt, 1, 7)
    kill(attempt)
    attempt = begin(ledger, trial)
    with attempt.running():
        train(attempt, 5, STEPS)
        finish(attempt)


def run_failing(ledger: Ledger, trial: Planned) -> None:
    attempt = begin(ledger, trial)
    with suppress(ValueError), attempt.running():
        train(attempt, 1, 2)
        raise ValueError("loss is not finite")


def run_interrupted(ledger: Ledger, trial: Planned) -> None:
    attempt = begin(ledger, trial)
    with suppress(KeyboardInterrupt), attempt.running():
        train(attempt, 1, 2)
        raise KeyboardInterrupt


def run_killed(ledger: Ledger, trial: Planned) -> None:
    attempt = begin(ledger, trial)
    train(attempt, 1, 2)
    kill(attempt)


def run_on(ledger: Ledger, trial: Planned) -> None:
    """Still running."""
    attempt = begin(ledger, trial)
    attempt.emit("start", attempt=1)
    train(attempt, 1, 2)


def run_mute(ledger: Ledger, trial: Planned) -> None:
    """Killed before it could say anything."""
    kill(begin(ledger, trial))


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    store.connect(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def ledger(tmp_path: Path, initialised: Path) -> Ledger:
    return fresh(tmp_path / "root", initialised)


def fresh(root: Path, initialised: Path) -> Ledger:
    root.mkdir()
    shutil.copy(initialised, root / "mlflow.db")
    return Ledger(root, "table1")


def client_of(ledger: Ledger) -> Any:
    return store.connect(default_uri(ledger.root))


def runs_of(ledger: Ledger) -> list[Any]:
    client = client_of(ledger)
    experiment = client.get_experiment_by_name(ledger.sweep)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def run_of(ledger: Ledger, trial: Planned) -> Any:
    (found,) = [run for run in runs_of(ledger) if run.data.tags["slq.trial"] == trial.id]
    return found


def series(ledger: Ledger, run: Any, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client_of(ledger).get_metric_history(run.info.run_id, key)]


def dump(ledger: Ledger) -> list[dict[str, Any]]:
    """Everything that MLflow knows of the sweep, but for the ids of its runs."""
    client = client_of(ledger)
    return sorted((_dump_run(client, run) for run in runs_of(ledger)), key=lambda d: str(d["tags"]))


def _dump_run(client: Any, run: Any) -> dict[str, Any]:
    identity = run.info.run_id
    folder = Path(urllib.request.url2pathname(run.info.artifact_uri.removeprefix("file://")))
    return {
        "info": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": {
            key: sorted((m.step, m.value, m.timestamp) for m in client.get_metric_history(identity, key))
            for key in run.data.metrics
        },
        "artifacts": {a.path: (folder / a.path).read_text() for a in client.list_artifacts(identity)},
    }


class Client:
    """Passes calls on to the real client and keeps their names; breaks right after the `fatal`-th one."""

    def __init__(self, client: Any, fatal: int | None = None) -> None:
        self._client = client
        self._fatal = fatal
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            answer = getattr(self._client, name)(*args, **options)
            self.calls.append(name)
            if len(self.calls) == self._fatal:
                raise ConnectionError(f"lost after {name}")
            return answer

        return call


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[Client]]:
    """`watch(n)` makes the clients of all following syncs break after call n (None: never) and returns them."""

    def start(fatal: int | None) -> list[Client]:
        clients: list[Client] = []

        def connect(uri: str) -> Client:
            clients.append(Client(store.connect(uri), fatal))
            return clients[-1]

        monkeypatch.setattr(writer, "connect", connect)
        return clients

    return start


def everything(ledger: Ledger) -> list[Planned]:
    """A ledger with a trial of each kind; the last one is not planned any more."""
    kinds = [run, run_resumed, run_failing, run_killed, run_on, run_mute]
    trials = [planned(f"trial-{kind.__name__}", seed) for seed, kind in enumerate(kinds)]
    for kind, trial in zip(kinds, trials, strict=True):
        kind(ledger, trial)
    return [*trials[:-1], planned("trial-not-begun")]


def test_importing_the_package_does_not_import_mlflow() -> None:
    code = "import sys, suite.track; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_new_trial_has_no_run(ledger: Ledger) -> None:
    ledger.trial("a").path.mkdir(parents=True)
    assert sync(ledger, [planned("a")], default_uri(ledger.root)) == SyncReport()
    assert runs_of(ledger) == []


@pytest.mark.parametrize(
    ("kind", "status", "state"),
    [
        (run, "FINISHED", "done"),
        (run_resumed, "FINISHED", "done"),
        (run_failing, "FAILED", "failed"),
        (run_interrupted, "KILLED", "lost"),
        (run_killed, "KILLED", "lost"),
        (run_mute, "KILLED", "lost"),
        (run_on, "RUNNING", "running"),
    ],
)
def test_status_and_times_follow_the_ledger(
    ledger: Ledger, kind: Callable[[Ledger, Planned], None], status: str, state: str
) -> None:
    before, trial = time.time() * 1000 - 1, planned("a")
    kind(ledger, trial)
    after = time.time() * 1000 + 1
    sync(ledger, [trial], default_uri(ledger.root))
    info, tags = run_of(ledger, trial).info, run_of(ledger, trial).data.tags
    assert (info.status, tags["state"]) == (status, state)
    assert before <= info.start_time <= after
    assert info.end_time is None if status == "RUNNING" else info.start_time <= info.end_time <= after


def test_a_finished_run_has_names_params_tags_metrics_and_artifacts(ledger: Ledger) -> None:
    trial = planned("a")
    run_resumed(ledger, trial)
    sync(ledger, [trial], default_uri(ledger.root))
    found = _dump_run(client_of(ledger), run_of(ledger, trial))
    assert found["info"][0] == trial.label
    assert found["params"] == {
        "network": "lenet5",
        "data": "digits",
        "seed": "0",
        "method.name": "slq",
        "method.bits": "5",
        "method.partition": "loss",
        "method.stages": "[5, 4, 2]",
    }
    wanted = {
        "method": "slq",
        "bits": "5",
        "network": "lenet5",
        "data": "digits",
        "seed": "0",
        "state": "done",
        "attempts": "2",
        "commit": "c0ffeec0ff",
        "mlflow.source.git.commit": "c0ffee" * 6,
        "dirty": "false",  # as the newest attempt says
        "slq.trial": "a",
        "slq.orphan": "false",
    }
    assert wanted.items() <= found["tags"].items()
    assert len(found["tags"]["slq.complete"]) == 64
    values = {key: points[0][1] for key, points in found["metrics"].items() if len(points) == 1}
    assert values == pytest.approx(
        {
            "top1": 0.95,
            "top5": 1.0,
            "loss": 0.5,
            "error": 0.05,
            "delta_top1": -0.02,
            "baseline_top1": 0.97,
            "bits_per_weight": 5.04,
            "ratio": 6.2,
            "wall_seconds": 12.1,
            "cpu_seconds": 12.0,
            "gpu_seconds": 0.0,
            "peak_memory_gb": 0.512,
        }
    )
    folder = ledger.trial("a").path
    assert found["artifacts"] == {
        "config.json": (folder / "config.json").read_text(),
        "result.json": (folder / "result.json").read_text(),
        "provenance.json": (folder / "attempts/2/provenance.json").read_text(),
    }


def test_a_resumed_attempt_gives_no_point_twice(ledger: Ledger) -> None:
    trial = planned("a")
    run_resumed(ledger, trial)
    sync(ledger, [trial], default_uri(ledger.root))
    found = run_of(ledger, trial)
    assert series(ledger, found, "train.loss") == [(step, 1 / step) for step in range(1, 13)]
    assert series(ledger, found, "train.lr") == [(step, 0.1) for step in range(1, 13)]
    assert series(ledger, found, "test.top1") == [(step, step / 20) for step in (4, 8, 12)]
    assert series(ledger, found, "snap.top1") == [(step, step / 30) for step in (4, 8, 12)]
    assert series(ledger, found, "frozen") == [(4, 0.25), (8, 0.5), (12, 0.75)]
    assert series(ledger, found, "stage") == [(4, 2), (8, 3), (12, 4)]
    times = [m.timestamp for m in client_of(ledger).get_metric_history(found.info.run_id, "train.loss")]
    first = ledger.trial("a").attempts()[0].events()
    assert times[4] == round(next(e["t"] for e in first if e.get("step") == 5) * 1000)  # the first one counts


def test_the_final_evaluation_ends_the_curve(ledger: Ledger) -> None:
    trial = planned("a")
    with begin(ledger, trial).running() as attempt:
        train(attempt, 1, 10)
        finish(attempt, top1=0.9)
    sync(ledger, [trial], default_uri(ledger.root))
    assert series(ledger, run_of(ledger, trial), "test.top1")[-1] == (STEPS, 0.9)


def test_syncing_while_a_trial_grows_ends_in_the_same_as_syncing_once(ledger: Ledger, initialised: Path) -> None:
    trial, uri = planned("a"), default_uri(ledger.root)
    attempt = begin(ledger, trial)
    attempt.emit("start", attempt=1)
    statuses, ends, points = [], [], 0

    def look() -> None:
        nonlocal points
        points += sync(ledger, [trial], uri).points
        statuses.append(run_of(ledger, trial).info.status)
        ends.append(run_of(ledger, trial).info.end_time)

    look()
    train(attempt, 1, 5)
    look()
    train(attempt, 6, 7)
    kill(attempt)
    look()
    with begin(ledger, trial).running() as attempt:
        look()
        train(attempt, 5, STEPS)
        look()
        finish(attempt)
        look()  # the result is there, the "end" event is not
    look()
    assert statuses == ["RUNNING", "RUNNING", "KILLED", "RUNNING", "RUNNING", "FINISHED", "FINISHED"]
    assert ends[0] is None
    assert ends[-1] == ends[-2] != ends[2]
    grown = dump(ledger)
    reset_database(ledger, initialised)
    assert sync(ledger, [trial], uri).points == points
    assert dump(ledger) == grown


def reset_database(ledger: Ledger, initialised: Path) -> None:
    remove_database(ledger)
    shutil.copy(initialised, ledger.root / "mlflow.db")


def remove_database(ledger: Ledger) -> None:
    for file in ledger.root.glob("mlflow.db*"):
        file.unlink()
    shutil.rmtree(ledger.root / "mlartifacts", ignore_errors=True)


def test_a_deleted_database_is_made_again_the_same(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, uri = everything(ledger), default_uri(ledger.root)
    report = sync(ledger, plan, uri)
    assert (report.created, report.updated, report.unchanged) == (6, 0, 0)
    before = dump(ledger)
    assert len(before) == 6
    assert report.points == sum(len(points) for run in before for points in run["metrics"].values())
    remove_database(ledger)
    with monkeypatch.context() as patch:
        # After a change of the tables, before it is noted that it was made.
        patch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", power_cut)
        assert "power cut" in (sync_quietly(ledger, plan, uri) or "")
    assert sync(ledger, plan, uri) == report
    assert dump(ledger) == before


def power_cut(*_: object) -> None:
    raise OSError("power cut")


def test_a_second_sync_only_looks(ledger: Ledger, watch: Callable[[int | None], list[Client]]) -> None:
    plan, uri = everything(ledger), default_uri(ledger.root)
    sync(ledger, plan, uri)
    clients = watch(None)
    assert sync(ledger, plan, uri) == SyncReport(unchanged=6)
    assert clients[0].calls == ["get_experiment_by_name", "search_runs"]


def test_a_sync_broken_after_any_call_is_completed_by_the_next(
    tmp_path: Path, initialised: Path, monkeypatch: pytest.MonkeyPatch, watch: Callable[[int | None], list[Client]]
) -> None:
    monkeypatch.setattr(writer, "MOST_POINTS", 30)  # several batches a trial
    ledger = fresh(tmp_path / "root", initialised)
    trials = [planned(name) for name in ("done", "failed")]
    run_resumed(ledger, trials[0])
    run_failing(ledger, trials[1])
    uri, clients = default_uri(ledger.root), watch(None)
    sync(ledger, trials, uri)
    whole, calls = dump(ledger), clients[0].calls
    assert {"create_experiment", "create_run", "log_batch", "log_artifact", "set_terminated"} <= set(calls)
    assert calls.count("log_batch") > 2 * 3
    for fatal in range(1, len(calls) + 1):
        reset_database(ledger, initialised)
        watch(fatal)
        with pytest.raises(TrackingError, match=f"lost after {calls[fatal - 1]}"):
            sync(ledger, trials, uri)
        watch(None)
        sync(ledger, trials, uri)
        assert dump(ledger) == whole, f"broken after call {fatal}, {calls[fatal - 1]}"


@pytest.mark.parametrize("label", ["lenet5 SLQ 5b loss s0", "a"])
def test_a_trial_that_leaves_the_plan_keeps_its_run_as_an_orphan(ledger: Ledger, label: str) -> None:
    trial, uri = replace(planned("a"), label=label), default_uri(ledger.root)
    run(ledger, trial)
    sync(ledger, [trial], uri)
    wanted = run_of(ledger, trial)
    assert sync(ledger, [], uri) == SyncReport(updated=1)
    orphan = run_of(ledger, trial)
    assert orphan.info.run_id == wanted.info.run_id
    assert (orphan.info.run_name, orphan.data.tags["slq.orphan"]) == ("a", "true")
    assert orphan.data.params == wanted.data.params
    sync(ledger, [trial], uri)
    assert dump(ledger)[0]["info"][0] == trial.label
    assert run_of(ledger, trial).data.tags == wanted.data.tags


@pytest.mark.parametrize("before", [run, run_killed])
def test_a_trial_begun_again_from_nothing_replaces_its_run(
    ledger: Ledger, before: Callable[[Ledger, Planned], None]
) -> None:
    trial, uri = planned("a"), default_uri(ledger.root)
    before(ledger, trial)
    sync(ledger, [trial], uri)
    shutil.rmtree(ledger.trial("a").path)
    time.sleep(0.002)  # times are told in milliseconds
    run_on(ledger, trial)
    assert sync(ledger, [trial], uri).created == 1
    assert len(series(ledger, run_of(ledger, trial), "train.loss")) == 2


def test_a_result_made_again_replaces_its_run(ledger: Ledger) -> None:
    trial, uri = planned("a"), default_uri(ledger.root)
    run(ledger, trial)
    sync(ledger, [trial], uri)
    (ledger.trial("a").path / "result.json").unlink()
    with begin(ledger, trial).running() as attempt:
        finish(attempt, top1=0.5)
    assert sync(ledger, [trial], uri).created == 1
    assert series(ledger, run_of(ledger, trial), "top1") == [(0, 0.5)]


def test_runs_are_found_over_several_pages(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, uri = everything(ledger), default_uri(ledger.root)
    monkeypatch.setattr(writer, "PAGE", 2)
    sync(ledger, plan, uri)
    assert sync(ledger, plan, uri) == SyncReport(unchanged=6)


def test_a_second_run_of_a_trial_is_deleted_and_a_stranger_is_left_alone(ledger: Ledger) -> None:
    trial, uri = planned("a"), default_uri(ledger.root)
    run(ledger, trial)
    sync(ledger, [trial], uri)
    once = dump(ledger)
    client, experiment = client_of(ledger), run_of(ledger, trial).info.experiment_id
    client.create_run(experiment, tags={"slq.trial": "a"}, start_time=1)
    stranger = client.create_run(experiment, run_name="by hand")
    sync(ledger, [trial], uri)
    client_of(ledger).get_run(stranger.info.run_id)
    client.delete_run(stranger.info.run_id)
    assert dump(ledger) == once


def test_an_experiment_in_the_bin_is_taken_back(ledger: Ledger) -> None:
    plan, uri = everything(ledger), default_uri(ledger.root)
    sync(ledger, plan, uri)
    before = dump(ledger)
    client_of(ledger).delete_experiment(client_of(ledger).get_experiment_by_name("table1").experiment_id)
    sync(ledger, plan, uri)
    assert dump(ledger) == before


def test_a_sync_elsewhere_is_waited_for_and_then_left_to_itself(ledger: Ledger) -> None:
    plan, uri = everything(ledger), default_uri(ledger.root)
    with FileLock(ledger.root / writer.LOCK):
        assert sync(ledger, plan, uri, patience=0.1) == SyncReport(busy=True)
        assert "another sync" in (sync_quietly(ledger, plan, uri, patience=0.1) or "")
    assert runs_of(ledger) == []


def test_two_syncs_at_once_write_everything_once(ledger: Ledger) -> None:
    plan, uri = everything(ledger), default_uri(ledger.root)
    reports: list[SyncReport] = []
    threads = [threading.Thread(target=lambda: reports.append(sync(ledger, plan, uri))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.created for report in reports) == [0, 6]
    assert sorted(report.unchanged for report in reports) == [0, 6]
    assert len(runs_of(ledger)) == 6


def test_a_server_that_is_away_is_one_clear_error(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://me:secret@127.0.0.1:{free_port()}"
    run(ledger, planned("a"))
    with pytest.raises(TrackingError, match="sync again later") as caught:
        sync(ledger, [planned("a")], uri)
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" in (sync_quietly(ledger, [planned("a")], uri) or "")


def test_following_a_sweep_to_its_end(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "INTERVAL", 0.0)
    trials = [planned("a"), planned("b", 1)]
    steps = iter(
        [
            lambda: run(ledger, trials[0]),
            lambda: None,  # nothing new, and nothing is said
            lambda: run_interrupted(ledger, trials[1]),  # preempted, say
            lambda: (run(ledger, trials[1]), "over"),
        ]
    )
    texts = list(follow(ledger, trials, default_uri(ledger.root), lambda: bool(next(steps)())))
    assert [text.partition(" unchanged")[0] for text in texts] == [
        "1 runs created, 0 updated, 0",
        "1 runs created, 0 updated, 1",
        "0 runs created, 1 updated, 1",
    ]
    assert len(runs_of(ledger)) == 2, "a trial that was interrupted goes on in the same run"
    assert [run_of(ledger, trial).info.status for trial in trials] == ["FINISHED", "FINISHED"]


def test_following_outlasts_a_server_that_is_away(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "INTERVAL", 0.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run(ledger, planned("a"))
    over = iter([False, False, True])
    texts = list(follow(ledger, [planned("a")], f"http://127.0.0.1:{free_port()}", lambda: next(over)))
    assert len(texts) == 1, "said once"
    assert "trying again" in texts[0]


def test_a_broken_database_is_one_clear_error(ledger: Ledger, initialised: Path) -> None:
    run(ledger, planned("a"))
    (ledger.root / "mlflow.db").write_text("this is not a database, " * 100)
    with pytest.raises(TrackingError, match=r"not a database.*delete .*mlflow\.db"):
        sync(ledger, [planned("a")], default_uri(ledger.root))
    reset_database(ledger, initialised)
    assert sync_quietly(ledger, [planned("a")], default_uri(ledger.root)) is None


def test_a_database_that_cannot_be_opened_is_an_error_at_once(ledger: Ledger) -> None:
    (ledger.root / "folder.db").mkdir()
    began = time.monotonic()
    with pytest.raises(TrackingError, match="unable to open"):
        sync(ledger, [], f"sqlite:///{ledger.root}/folder.db")
    assert time.monotonic() - began < 5


def test_a_database_that_cannot_be_made_is_one_clear_error(ledger: Ledger) -> None:
    (ledger.root / "file").touch()
    with pytest.raises(TrackingError):
        sync(ledger, [], f"sqlite:///{ledger.root}/file/mlflow.db")


def test_awkward_paths(tmp_path: Path, initialised: Path) -> None:
    ledger = fresh(tmp_path / "my results #1 100%", initialised)
    trial = planned("a")
    run(ledger, trial)
    assert sync(ledger, [trial], default_uri(ledger.root)).created == 1
    assert set(dump(ledger)[0]["artifacts"]) == {"config.json", "result.json", "provenance.json"}
    assert {p.name for p in ledger.root.iterdir()} == {writer.LOCK, "mlflow.db", "mlartifacts", "table1"}


def test_settings_become_dotted_texts() -> None:
    nested = {"a": {"b": {"c": 1.5}, "d": None}, "e": "text", "f": True, "g": [1, "x"], "h": {}, "i": "x" * 10_000}
    flat = flatten(nested)
    assert len(flat.pop("i")) == LONGEST_PARAM
    assert flat == {"a.b.c": "1.5", "a.d": "null", "e": "text", "f": "true", "g": '[1, "x"]', "h": "{}"}


@pytest.fixture
def server(ledger: Ledger) -> Iterator[str]:
    """The address of a server over the ledger's database."""
    port = free_port()
    with serving(ledger.root, port, ledger.root / "ui.log") as process:
        yield f"http://127.0.0.1:{port}"
    assert process.poll() is not None
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


def test_a_server_takes_what_a_database_takes(ledger: Ledger, server: str) -> None:
    trial = Planned("a", "many", {"text": "x" * 10_000, "empty": ""} | {f"setting{i}": i for i in range(250)})
    run(ledger, trial)
    assert sync(ledger, [trial], server).created == 1
    assert sync(ledger, [trial], server).unchanged == 1
    found = run_of(ledger, trial)  # the server's pages show the ledger's own database
    assert len(found.data.params) == 252
    assert {file.path for file in store.connect(server).list_artifacts(found.info.run_id)} == {
        "config.json",
        "result.json",
        "provenance.json",
    }
    assert list((ledger.root / "mlartifacts").rglob("result.json"))
