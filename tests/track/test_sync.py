"""The projection of a ledger to MLflow, with a real MLflow on SQLite."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from suite.ledger import Ledger
from suite.track import (
    IncompleteError,
    SyncReport,
    TrackingError,
    background,
    default_uri,
    follow,
    free_port,
    projection,
    store,
    sync,
    sync_quietly,
    writer,
)
from suite.track.projection import LONGEST_PARAM, flatten
from suite.track.store import explain, shown
from tests.track.trials import (
    STEPS,
    Client,
    Planned,
    begin,
    client_of,
    dump,
    dump_run,
    everything,
    finish,
    folder_of,
    fresh,
    kill,
    planned,
    remove_database,
    reset_database,
    run,
    run_failing,
    run_interrupted,
    run_killed,
    run_mute,
    run_of,
    run_on,
    run_resumed,
    runs_of,
    sample,
    series,
    train,
)


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
    found = dump_run(client_of(ledger), run_of(ledger, trial))
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
        "dirty": "true",  # as the first attempt was
        "partition": "loss",
        "pruned": "false",
        "sweep": "table1",
        "configuration": "lenet5 SLQ 5b loss",
        "baseline": "lenet5-digits-s0-ba5e",
        "start": "lenet5-digits-s0-pruned-57a7",
        "data_sha256": "da7a" * 16,
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
            "kept": 0.2,
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
    assert found["inputs"] == [
        ("digits", "da7ada7ada", json.dumps({"sha256": "da7a" * 16}), "training"),
        ("lenet5-digits-s0-ba5e", "ba5e", '{"path": "baselines/lenet5-digits-s0-ba5e"}', "baseline"),
        ("lenet5-digits-s0-pruned-57a7", "57a7", '{"path": "baselines/lenet5-digits-s0-pruned-57a7"}', "start"),
    ]


def test_a_trial_that_is_not_done_has_no_inputs_and_no_model(ledger: Ledger) -> None:
    trial = planned("a")
    run_failing(ledger, trial)
    sync(ledger, [trial], default_uri(ledger.root))
    found = dump_run(client_of(ledger), run_of(ledger, trial))
    assert (found["inputs"], found["models"]) == ([], [])


def test_a_new_layout_of_runs_replaces_the_old_ones(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    trials, uri = [planned("a"), planned("b", 1)], default_uri(ledger.root)
    run(ledger, trials[0])
    run_failing(ledger, trials[1])
    with monkeypatch.context() as patch:
        patch.setattr(projection, "LAYOUT", 1)
        patch.setattr(projection, "GROUPS", {})
        sync(ledger, trials, uri)
        assert "method" not in run_of(ledger, trials[0]).data.tags
    sync(ledger, trials, uri)
    assert [run_of(ledger, trial).data.tags["method"] for trial in trials] == ["slq", "slq"]
    assert len(runs_of(ledger)) == 2


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


def test_system_metrics_are_numbered_over_all_attempts(ledger: Ledger) -> None:
    trial = planned("a")
    run_resumed(ledger, trial)
    with (ledger.trial("a").path / "attempts/2/system.jsonl").open("a") as lines:
        lines.write('{"t": 17000000')  # a kill cut it
    sync(ledger, [trial], default_uri(ledger.root))
    found = run_of(ledger, trial)
    assert series(ledger, found, "system/cpu_utilization_percentage") == [(0, 90), (1, 110), (2, 100)]
    assert series(ledger, found, "system/system_memory_usage_megabytes") == [(0, 900), (1, 1100), (2, 1000)]
    assert series(ledger, found, "system/gpu_0_utilization_percentage") == [(step, 97) for step in range(3)]
    assert series(ledger, found, "system/gpu_0_memory_usage_megabytes") == [(step, 2000) for step in range(3)]
    assert series(ledger, found, "system/gpu_0_power_usage_watts") == [(step, 300.5) for step in range(3)]
    points = client_of(ledger).get_metric_history(found.info.run_id, "system/gpu_0_power_usage_watts")
    assert found.info.start_time <= points[0].timestamp <= points[2].timestamp <= found.info.end_time


def test_new_samples_alone_bring_a_run_up_to_date(ledger: Ledger) -> None:
    trial, uri, attempt = planned("a"), default_uri(ledger.root), begin(ledger, planned("a"))
    attempt.emit("start", attempt=1)
    sample(attempt, 90)
    sync(ledger, [trial], uri)
    sample(attempt, 80)
    assert sync(ledger, [trial], uri) == SyncReport(updated=1, points=5)
    assert series(ledger, run_of(ledger, trial), "system/cpu_utilization_percentage") == [(0, 90), (1, 80)]


def test_an_owner_that_comes_back_too_late_adds_no_samples(ledger: Ledger, initialised: Path) -> None:
    """Else the numbers of the later ones would change, and MLflow keeps those it has."""
    trial, uri = planned("a"), default_uri(ledger.root)
    superseded = begin(ledger, trial)
    superseded.emit("start", attempt=1)
    sample(superseded, 90)
    kill(superseded)
    with begin(ledger, trial).running() as attempt:
        sample(attempt, 100)
        sync(ledger, [trial], uri)
        time.sleep(0.002)
        sample(superseded, 10)
        sample(attempt, 110)
        finish(attempt)
    sync(ledger, [trial], uri)
    wanted = [(0, 90), (1, 100), (2, 110)]
    assert series(ledger, run_of(ledger, trial), "system/cpu_utilization_percentage") == wanted
    grown = dump(ledger)
    reset_database(ledger, initialised)
    sync(ledger, [trial], uri)
    assert dump(ledger) == grown


def test_energy_is_a_metric_where_all_attempts_know_it(ledger: Ledger) -> None:
    trial, used = planned("a"), {"schema": 1, "began": 0.0, "until": 9.0}
    run_resumed(ledger, trial)
    for attempt, joules in zip(
        ledger.trial("a").attempts(), [{"gpu:GPU-a": 3.5}, {"gpu:GPU-b": 4.0, "cpu:package-0": 1.0}], strict=True
    ):
        (attempt.path / "energy.json").write_text(json.dumps({**used, "joules": joules}))
    sync(ledger, [trial], default_uri(ledger.root))
    found = run_of(ledger, trial)
    assert series(ledger, found, "gpu_joules") == [(0, 7.5)]
    assert "cpu_joules" not in found.data.metrics


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


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert calls.count("log_batch") > 2 * 2
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
    assert orphan.data.tags["configuration"] == "a"
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


def pages_of(ledger: Ledger) -> list[tuple[str, dict[str, str]]]:
    """State and files of every run that is not a trial's."""
    return [
        (run.info.status, {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.*")})
        for run in runs_of(ledger)
        if "slq.trial" not in run.data.tags
        for folder in [folder_of(run.info.artifact_uri)]
    ]


def test_tables_are_the_artifacts_of_one_run(
    ledger: Ledger, tmp_path: Path, watch: Callable[[int | None], list[Client]]
) -> None:
    uri, files = (
        default_uri(ledger.root),
        [tmp_path / "tables/a.md", tmp_path / "tables/a.csv", tmp_path / "figures/a.png"],
    )
    run(ledger, planned("a"))
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(file.name)

    def synced(*pages: Path) -> list[tuple[str, dict[str, str]]]:
        sync(ledger, [planned("a")], uri, pages=pages)
        return pages_of(ledger)

    assert synced() == []
    everything = {"tables/a.md": "a.md", "tables/a.csv": "a.csv", "figures/a.png": "a.png"}
    assert synced(*files) == [("FINISHED", everything)]
    clients = watch(None)
    assert synced(*files) == synced() == [("FINISHED", everything)]
    assert {call for client in clients for call in client.calls} == {"get_experiment_by_name", "search_runs"}
    files[0].write_text("changed")
    assert synced(*files[:2]) == [("FINISHED", {"tables/a.md": "changed", "tables/a.csv": "a.csv"})]


def test_tables_that_were_broken_off_are_completed(
    ledger: Ledger, tmp_path: Path, watch: Callable[[int | None], list[Client]]
) -> None:
    files = [tmp_path / "a.md", tmp_path / "a.csv"]
    for fatal in range(3, 10):
        for file in files:
            file.write_text(file.name + " " * fatal)
        wanted = [("FINISHED", {f"{tmp_path.name}/{file.name}": file.read_text() for file in files})]
        clients = watch(fatal)
        with suppress(TrackingError):
            sync(ledger, [], default_uri(ledger.root), pages=files)
        watch(None)
        sync(ledger, [], default_uri(ledger.root), pages=files)
        assert pages_of(ledger) == wanted, clients[0].calls
    assert clients[0].calls[-1] == "set_tag", "every call was the fatal one once"


def test_settings_become_dotted_texts() -> None:
    nested = {"a": {"b": {"c": 1.5}, "d": None}, "e": "text", "f": True, "g": [1, "x"], "h": {}, "i": "x" * 10_000}
    flat = flatten(nested)
    assert len(flat.pop("i")) == LONGEST_PARAM
    assert flat == {"a.b.c": "1.5", "a.d": "null", "e": "text", "f": "true", "g": '[1, "x"]', "h": "{}"}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("result.json", "{"),
        ("result.json", '{"schema": 999}'),
        ("config.json", "["),
        ("config.json", "[1]"),
        ("config.json", '{"schema": 1}'),
        ("config.json", ""),
        ("attempts/1/provenance.json", '{"commit": []}'),
        ("attempts/1/provenance.json", "["),
        ("attempts/1/events.jsonl", '{"event": "start"}\n'),
    ],
)
def test_a_damaged_trial_keeps_no_other_out(ledger: Ledger, file: str, content: str) -> None:
    first, second, third = planned("a"), planned("b"), planned("c")
    for trial in (first, second, third):
        run(ledger, trial)
    (ledger.trial(second.id).path / file).write_text(content)
    uri = default_uri(ledger.root)
    for done in ("2 runs created", "2 unchanged"):
        with pytest.raises(IncompleteError, match="lacks 1 of the trials") as caught:
            sync(ledger, [first, second, third], uri)
        assert str(ledger.trial(second.id).path) in str(caught.value)
        assert "mlflow.db" not in str(caught.value), "which is not to be deleted"
        assert "Error" not in str(caught.value), "of Python"
        assert done in str(caught.value)
    assert {found.data.tags["slq.trial"] for found in runs_of(ledger)} == {first.id, third.id}
    assert "not updated" not in (sync_quietly(ledger, [first, second, third], uri) or "")


def test_of_many_damaged_trials_some_are_named_and_all_counted(ledger: Ledger) -> None:
    trials = [planned(f"t{number}", number) for number in range(8)]
    for trial in trials:
        run(ledger, trial)
    for trial in trials[:7]:
        (ledger.trial(trial.id).path / "config.json").write_text("[")
    with pytest.raises(IncompleteError, match="lacks 7 of the trials") as caught:
        sync(ledger, trials, default_uri(ledger.root))
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + store.MOST_SHOWN + 1
    assert lines[-1].strip() == "and 2 more"


def test_a_trial_whose_files_cannot_be_copied_keeps_no_other_out(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = planned("a"), planned("b")
    for trial in (first, second):
        run(ledger, trial)
    copy = shutil.copyfile

    def refuse(source: Path, target: Path) -> None:
        if ledger.trial(second.id).path in source.parents:
            raise PermissionError(13, "Permission denied", str(source))
        copy(source, target)

    monkeypatch.setattr("suite.track.bulk.shutil.copyfile", refuse)
    with pytest.raises(IncompleteError, match=r"1 runs created.*\n.*b cannot be copied.*Permission denied"):
        sync(ledger, [first, second], default_uri(ledger.root))
    assert [found.data.tags["slq.trial"] for found in runs_of(ledger)] == [first.id]


@pytest.mark.parametrize("rest", ["ada:secret@host/db", "host/db?user=ada&password=secret", "ada:se@cret@host/db?a=b"])
def test_no_password_is_shown(rest: str) -> None:
    uri = f"postgresql+psycopg2://{rest}"
    assert shown(uri) == "postgresql+psycopg2://host/db"
    text = explain(uri, RuntimeError(f"{'x' * 280} {uri}"))  # cut within the address
    assert "secret" not in text
    assert "cret@" not in text
