"""`slq sync` and `slq ui` as commands: which tables and figures they give to MLflow, and what they say."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suite import track
from suite.cli import results
from suite.launch.plan import write_plan
from suite.ledger import Ledger
from suite.sweep import load_sweep
from tests.conftest import Slq
from tests.track.trials import begin, folder_of, planned, run, runs_of

SWEEP = "trials: [{network: lenet5, data: digits, method: {name: kmeans, bits: 3}}]"
MADE = ["tables/table1.md", "tables/table1.csv", "figures/table1-lenet5-digits-tradeoff.png"]
OTHERS = [
    "tables/table1-small.md",
    "figures/table1-small-lenet5-digits-tradeoff.png",
    "figures/table1-lenet5-digits-tradeoff.pdf",
]


def kept(ledger: Ledger) -> set[str]:
    """Artifacts of the runs that are not a trial's."""
    folders = [folder_of(run.info.artifact_uri) for run in runs_of(ledger)]
    return {str(file.relative_to(folder)) for folder in folders for file in folder.rglob("*.*")}


def test_sync_takes_the_sweeps_own_pages_made_since_it_was_planned(slq: Slq, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "table1.yaml").write_text(SWEEP)
    for name in [*MADE, *OTHERS, "table1/plan.json"]:
        (ledger.root / name).parent.mkdir(exist_ok=True)
        (ledger.root / name).write_text(name)
        os.utime(ledger.root / name, (2000, 2000))
    command = ["sync", tmp_path / "table1.yaml", "--root", ledger.root]
    assert slq(*command).code == 0
    assert kept(ledger) == set(MADE)
    os.utime(ledger.root / "table1/plan.json", (3000, 3000))
    os.utime(ledger.root / MADE[0], (3000, 3000))
    assert slq(*command).code == 0
    assert kept(ledger) == {MADE[0]}


def test_sync_takes_the_published_tables_that_take_trials_of_the_sweep(
    slq: Slq, ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "table1.yaml").write_text(SWEEP)
    write_plan(load_sweep(tmp_path / "table1.yaml"), ledger)
    published = ledger.root / "tables" / "published"
    published.mkdir(parents=True)
    for name, trials in {"of": "other/a table1/b", "small": "table1-small/a my-table1/b", "none": ""}.items():
        (published / f"{name}.csv").write_text(f"done,trials\n0,\n1,{trials}\n")
        (published / f"{name}.md").write_text(name)
    (published / "broken.csv").write_text("nothing")
    assert slq("sync", tmp_path / "table1.yaml", "--root", ledger.root).code == 0
    assert kept(ledger) == {"published/of.csv", "published/of.md"}


@pytest.mark.parametrize("uri", ["https://ada:secret@host", "postgresql+psycopg2://ada:sec@ret@host/runs"])
def test_sync_does_not_print_passwords(slq: Slq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    (tmp_path / "table1.yaml").write_text(SWEEP)
    monkeypatch.setattr("suite.track.sync", lambda *_, **__: track.SyncReport(created=1))
    ended = slq("sync", tmp_path / "table1.yaml", "--root", tmp_path, "--tracking-uri", uri)
    assert ended.out.startswith(f"{uri.partition(':')[0]}://host")
    assert "ada" not in ended.out
    assert "1 runs created" in ended.out


def test_planning_the_same_again_takes_no_pages_away(slq: Slq, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "table1.yaml").write_text(SWEEP)
    write_plan(load_sweep(tmp_path / "table1.yaml"), ledger)
    os.utime(ledger.path / "plan.json", (2000, 2000))
    for name in MADE:
        (ledger.root / name).parent.mkdir(exist_ok=True)
        (ledger.root / name).write_text(name)
        os.utime(ledger.root / name, (3000, 3000))
    write_plan(load_sweep(tmp_path / "table1.yaml"), ledger)
    assert slq("sync", tmp_path / "table1.yaml", "--root", ledger.root).code == 0
    assert kept(ledger) == set(MADE)


def test_the_ui_opens_though_a_trial_is_damaged_and_nothing_turns_while_it_serves(
    slq: Slq, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table1.yaml").write_text(SWEEP)
    run(ledger, planned("a"))
    run(ledger, planned("b"))
    (ledger.trial("b").path / "result.json").write_text("{")
    turning: list[str] = []

    @contextmanager
    def status(text: str) -> Iterator[None]:
        turning.append(text)
        yield
        turning.clear()

    def wait() -> int:
        assert not turning
        raise KeyboardInterrupt

    @contextmanager
    def serving(*_: Any) -> Iterator[Any]:
        assert turning == ["starting MLflow"]
        yield SimpleNamespace(wait=wait)

    monkeypatch.setattr(results.out, "status", status)
    monkeypatch.setattr(track, "serving", serving)
    ended = slq("ui", tmp_path / "table1.yaml", "--root", ledger.root)
    assert ended.code == 0, ended.err
    assert "lacks 1 of the trials" in ended.err
    assert str(ledger.trial("b").path) in ended.err
    assert "http://127.0.0.1:" in ended.out
    assert ended.out.endswith("ended\n")


def test_the_ui_says_that_a_port_is_in_use_before_it_begins(slq: Slq, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "table1.yaml").write_text(SWEEP)
    with begin(ledger, planned("a")).running(), socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = slq("ui", tmp_path / "table1.yaml", "--root", ledger.root, "--port", port)
    assert ended.code == 2
    assert f"port {port} cannot be used: Address already in use" in ended.err
    assert "http" not in ended.out
    assert runs_of(ledger) == []
    assert track.free_port(port) == port


@pytest.mark.parametrize("port", [0, 99999])
def test_the_ui_refuses_what_is_no_port(slq: Slq, ledger: Ledger, tmp_path: Path, port: int) -> None:
    (tmp_path / "table1.yaml").write_text(SWEEP)
    ended = slq("ui", tmp_path / "table1.yaml", "--root", ledger.root, "--port", port)
    assert ended.code == 2
    assert "--port" in ended.err


def test_a_server_that_ends_by_itself_is_no_silent_end(
    slq: Slq, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table1.yaml").write_text(SWEEP)

    @contextmanager
    def serving(*_: Any) -> Iterator[Any]:
        yield SimpleNamespace(wait=lambda: 1)

    monkeypatch.setattr(track, "serving", serving)
    ended = slq("ui", tmp_path / "table1.yaml", "--root", ledger.root)
    assert ended.code == 2
    assert "mlflow-ui.log" in ended.err
