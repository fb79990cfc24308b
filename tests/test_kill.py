"""kill -9 in the middle of a trial, at two different stages: the result equals an undisturbed one to the last bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from suite.config import Trial
from suite.ledger import Ledger, State
from suite.trial import run_trial
from tests.contract.test_methods import outcome

RUN = """
import sys
from pathlib import Path
from suite.config import Trial
from suite.ledger import Ledger
from suite.trial import run_trial
run_trial(Trial.model_validate_json(sys.argv[1]), Ledger(Path(sys.argv[2]), "short"), Path("data"))
"""
TRIAL = {
    "network": "lenet5",
    "data": "digits",
    "method": {"name": "slq", "bits": 3},
    "baseline": {"epochs": 4, "batch_size": 32},
    "retrain": {"epochs": 4, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.001},
    "runtime": {"checkpoint_seconds": 0.1, "log_steps": 1},
}
SECONDS = 400


def start(trial: Trial, ledger: Ledger) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, trial.model_dump_json(), str(ledger.root)])


def kill_when(trial: Trial, ledger: Ledger, stage: int) -> dict[str, Any]:
    """Run until the trial trains in this stage, a few steps after the stage began, then kill -9; returns its last event."""
    process = start(trial, ledger)
    try:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            attempt = ledger.trial(trial.id).newest_attempt()
            event = attempt.newest("train") if attempt and attempt.is_live() else None
            if event is not None and event["stage"] == stage and event["step"] % 148 > 40:  # 148 steps a stage
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                return event
            time.sleep(0.02)
        pytest.fail(f"stage {stage} was not seen; exit code {process.poll()}")
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_killed_twice_at_different_stages(tmp_path: Path) -> None:
    trial = Trial.model_validate(TRIAL)
    disturbed, undisturbed = Ledger(tmp_path / "disturbed", "short"), Ledger(tmp_path / "undisturbed", "short")
    kill_when(trial, disturbed, stage=1)
    assert disturbed.trial(trial.id).state() is State.LOST
    kill_when(trial, disturbed, stage=3)
    assert disturbed.trial(trial.id).state() is State.LOST
    assert start(trial, disturbed).wait(SECONDS) == 0
    run_trial(trial, undisturbed, Path("data"))

    work = disturbed.trial(trial.id)
    assert outcome(work.result()) == outcome(undisturbed.trial(trial.id).result())
    assert work.model.read_bytes() == undisturbed.trial(trial.id).model.read_bytes()
    attempts = work.attempts()
    assert len(attempts) == 3
    resumed = [attempt.log() for attempt in attempts[1:]]
    assert "resuming at stage 1" in resumed[0]
    assert "resuming at stage 3" in resumed[1]
    repeated: dict[tuple[str, int], dict[str, Any]] = {}
    for event in (event for attempt in attempts for event in attempt.events() if event["event"] == "train"):
        values = {key: value for key, value in event.items() if key != "t"}
        assert repeated.setdefault(("train", event["step"]), values) == values


@pytest.mark.slow
def test_killed_while_it_trains_the_baseline(tmp_path: Path) -> None:
    trial = Trial.model_validate(TRIAL | {"method": {"name": "full"}, "baseline": {"epochs": 12, "batch_size": 32}})
    disturbed, undisturbed = Ledger(tmp_path / "disturbed", "short"), Ledger(tmp_path / "undisturbed", "short")
    process = start(trial, disturbed)
    baseline = disturbed.baseline(trial.baseline_id)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        attempt = baseline.newest_attempt()
        event = attempt.newest("train") if attempt else None
        if event is not None and event["step"] > 100:
            break
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert baseline.state() is State.LOST
    assert start(trial, disturbed).wait(SECONDS) == 0
    run_trial(trial, undisturbed, Path("data"))
    assert "resuming at stage 1, step" in baseline.attempts()[-1].log()
    assert baseline.model.read_bytes() == undisturbed.baseline(trial.baseline_id).model.read_bytes()
