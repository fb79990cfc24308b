"""A request to stop is honoured after the step, once a checkpoint is written; the result is as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite import stop
from suite.config import Trial
from suite.ledger import Ledger, OpenAttempt, State
from suite.trial import run_trial
from tests.contract.test_methods import outcome

METHOD = {"name": "slq", "bits": 3}


def stop_at(monkeypatch: pytest.MonkeyPatch, kind: str, number: int, **fields: Any) -> None:
    """Ask for a stop when an attempt records its n-th event of a kind (as a signal would, amid a step)."""
    seen = 0
    emit = OpenAttempt.emit

    def emitting(self: OpenAttempt, event: str, **more: Any) -> None:
        nonlocal seen
        emit(self, event, **more)
        seen += event == kind and fields.items() <= more.items()
        if seen == number:
            stop.request("the cluster wants it")

    monkeypatch.setattr(OpenAttempt, "emit", emitting)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("train", 1), ("train", 3), ("snap", 1), ("snap", 2), ("eval", 1)],
    ids=lambda value: str(value),
)
def test_a_stopped_trial_saves_and_goes_on_to_the_same_result(
    make_trial: Callable[..., Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, number: int
) -> None:
    trial = make_trial(METHOD)
    calm, disturbed = Ledger(tmp_path / "calm", "short"), Ledger(tmp_path / "disturbed", "short")
    assert run_trial(trial, calm, Path("data"))
    stop_at(monkeypatch, kind, number)
    with pytest.raises(stop.Stopped, match="the cluster wants it"):
        run_trial(trial, disturbed, Path("data"))
    work = disturbed.trial(trial.id)
    assert work.state() is State.LOST, "nobody has to wait for the claim to expire"
    attempt = work.newest_attempt()
    assert attempt is not None
    end = attempt.newest("end")
    assert end is not None
    assert (end["outcome"], end["error"]) == ("interrupted", "the cluster wants it")
    stop.clear()
    monkeypatch.undo()
    assert run_trial(trial, disturbed, Path("data"))
    assert outcome(work.result()) == outcome(calm.trial(trial.id).result())
    assert work.model.read_bytes() == calm.trial(trial.id).model.read_bytes()


def test_a_stop_while_waiting_for_a_baseline(ledger: Ledger, make_trial: Callable[..., Trial]) -> None:
    trial = make_trial(METHOD)
    other = ledger.baseline(trial.baseline_id).try_claim(trial.baseline_config())
    assert other is not None
    stop.request("enough")
    with other.running(), pytest.raises(stop.Stopped, match="enough"):
        run_trial(trial, ledger, Path("data"))


def test_the_first_reason_counts() -> None:
    stop.check()
    stop.request("first")
    stop.request("second")
    assert stop.requested() == "first"
    with pytest.raises(stop.Stopped, match="first"):
        stop.check()
    stop.clear()
    assert stop.requested() is None
    stop.check()
