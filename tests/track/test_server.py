"""A sync to MLflow's server: over a root's own database, and a remote one with users and passwords."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from suite.ledger import Ledger
from suite.track import SyncReport, TrackingError, free_port, serving, store, sync
from tests.track.trials import Planned, models_of, planned, run, run_failing, run_of, runs_of


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
    settings = {"data": "digits", "text": "x" * 10_000, "empty": ""}
    trial = Planned("a", "many", settings | {f"setting{i}": i for i in range(250)})
    run(ledger, trial)
    assert sync(ledger, [trial], server).created == 1
    assert sync(ledger, [trial], server).unchanged == 1
    found = run_of(ledger, trial)  # the server's pages show the ledger's own database
    assert len(found.data.params) == 253
    assert {file.path for file in store.connect(server).list_artifacts(found.info.run_id)} == {
        "config.json",
        "result.json",
        "provenance.json",
    }
    assert list((ledger.root / "mlartifacts").rglob("result.json"))


ADMIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "the admin's password"}
ADA = {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "ada's own password"}
AUTH = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


@pytest.fixture
def guarded(tmp_path: Path, initialised: Path) -> Iterator[str]:
    """A server with users and passwords, on a database and a folder of its own."""
    pytest.importorskip("flask_wtf")
    folder, port = tmp_path / "server", free_port()
    folder.mkdir()
    (folder / "auth.ini").write_text(AUTH.format(folder=folder))
    (folder / "mlflow.db").write_bytes(initialised.read_bytes())
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", *stores, *place]
    secrets = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN["MLFLOW_TRACKING_PASSWORD"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret of the test",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (folder / "log").open("wb") as log:
        environment = {**os.environ, **store.ENVIRONMENT, **secrets}
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(port, process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the server does not answer")


@pytest.mark.slow
def test_a_server_with_passwords(ledger: Ledger, guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user makes and fills an experiment; nobody does without a password, and nobody else changes it."""
    from mlflow.server import get_app_client

    plan = [planned("a"), planned("b", 1)]
    run(ledger, plan[0])
    run_failing(ledger, plan[1])
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        sync(ledger, plan, guarded)
    for user in (ADMIN, ADA):
        for name, value in user.items():
            monkeypatch.setenv(name, value)
        if user is ADMIN:
            users = get_app_client("basic-auth", guarded)
            users.create_user("ada", ADA["MLFLOW_TRACKING_PASSWORD"])
            users.create_user("bob", "bob's own password")
    assert sync(ledger, plan, guarded).created == 2
    assert sync(ledger, plan, guarded) == SyncReport(unchanged=2)
    client = store.connect(guarded)
    runs = {run.info.status: run for run in runs_of(ledger, client)}
    assert [len(models_of(client, runs[status])) for status in ("FINISHED", "FAILED")] == [1, 0]
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "bob's own password")
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_USERNAME"):
        sync(ledger, [], guarded)
