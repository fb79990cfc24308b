"""Fixtures: an empty ledger with an MLflow database of its own, and clients that break on demand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from suite.ledger import Ledger
from suite.track import store, writer
from tests.track.trials import Client, fresh


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, one for all test processes: making one takes seconds."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    file = folder / "empty-mlflow.db"
    with FileLock(folder / "empty-mlflow.lock"):
        if not file.exists():
            store.connect(f"sqlite:///{file}")
    return file


@pytest.fixture
def ledger(tmp_path: Path, initialised: Path) -> Ledger:
    return fresh(tmp_path / "root", initialised)


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
