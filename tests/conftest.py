"""Shared fixtures: small sweeps that train in a second or two, and a ledger of their own for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import suite.cli  # noqa: F401  (registers the commands)
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
