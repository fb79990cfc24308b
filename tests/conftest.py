"""Shared fixtures: small sweeps that train in a second or two, and a ledger of their own for each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
