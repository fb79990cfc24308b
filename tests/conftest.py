"""Shared fixtures: small sweeps that train in a second or two, and a ledger of their own for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import suite.cli  # noqa: F401  (registers the commands)
from suite import stop
from suite.cli.app import err, main, out
from suite.config import Trial
from suite.ledger import Ledger

SHORT = {
    "network": "lenet5",
    "data": "digits",
    "baseline": {"epochs": 2, "batch_size": 128},
    "retrain": {"epochs": 1, "batch_size": 128},
    "holdout": 64,
    "runtime": {"log_steps": 2},
}


@pytest.fixture(autouse=True)
def forget_stops() -> Iterator[None]:
    """A request to stop is the process's, and would end the trials of all later tests."""
    yield
    stop.clear()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "runs", "short")


@pytest.fixture
def make_trial() -> Callable[..., Trial]:
    """A short trial on digits; keyword arguments override its settings."""

    def make(method: dict[str, Any], **settings: Any) -> Trial:
        return Trial.model_validate({**SHORT, "method": method, **settings})

    return make


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Slq = Callable[..., Ended]

# Files that take a minute or more, in turn those that wait (for Slurm, servers, other processes) and those that compute.
LONG = (
    "slurm/test_survival.py",
    "contract/test_methods.py",
    "slurm/test_ray_lost.py",
    "track/test_sync.py",
    "contract/test_backends.py",
    "test_docs.py",
    "slurm/test_ray.py",
    "test_kill.py",
    "test_early.py",
    "slurm/test_submit.py",
    "test_ray_cluster.py",
    "slurm/test_queue.py",
    "test_notebook.py",
    "slurm/test_arrays.py",
    "test_launch.py",
    "slurm/test_dev_cluster.py",
    "test_report_page.py",
    "slurm/test_site_check.py",
    "test_train.py",
    "track/test_server.py",
    "track/test_postgres.py",
    "track/test_ui.py",
    "track/test_model.py",
    "test_fake_slurm.py",
)


def pytest_configure() -> None:
    if missing := [name for name in LONG if not (Path(__file__).parent / name).exists()]:
        raise pytest.UsageError(f"tests/conftest.py: LONG names files that are gone: {', '.join(missing)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: one that is begun last would be waited for by all processes but one."""
    places = {f"tests/{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONG)))


@pytest.fixture
def slq(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Slq:
    """Run a command as a shell would, in this process, on a screen that is wide enough for all it says."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["slq", *map(str, arguments)])
        for console in (out, err):
            monkeypatch.setattr(console, "_width", 300)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        printed, said = capsys.readouterr()
        assert "Traceback (most recent call last)" not in said
        return Ended(int(end.value.code or 0), printed, said)

    return run
