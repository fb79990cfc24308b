"""What a task on a compute node does with its share of a sweep."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from suite import stop
from suite.config import Trial
from suite.launch import worker
from suite.launch.plan import MAX_FAILURES
from suite.ledger import Ledger, State

MakeTrial = Callable[..., Trial]
METHOD = {"name": "kmeans", "bits": 3}


@pytest.fixture
def trials(make_trial: MakeTrial) -> list[Trial]:
    return [make_trial(METHOD, seed=seed) for seed in range(5)]


Behave = Callable[[dict[int, BaseException]], list[int]]


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Behave:
    """Replace the running of trials: those of some seeds end with an error, the others are done; returns the seeds in order."""

    def install(errors: dict[int, BaseException]) -> list[int]:
        ran: list[int] = []

        def run(trial: Trial, ledger: Ledger, data_root: Path) -> bool:
            attempt = ledger.trial(trial.id).try_claim(trial.config())
            if attempt is None:
                return False
            with attempt.running():
                ran.append(trial.seed)
                if trial.seed in errors:
                    raise errors[trial.seed]
                attempt.finish({})
            return True

        monkeypatch.setattr(worker, "run_trial", run)
        return ran

    return install


def drain(trials: list[Trial], ledger: Ledger) -> tuple[int, str]:
    """Exit code and output of a task."""
    said = io.StringIO()
    with redirect_stdout(said):
        code = worker.drain(trials, ledger, lambda: Path("data"))
    return code, said.getvalue()


def states(trials: list[Trial], ledger: Ledger) -> list[State]:
    return [ledger.trial(trial.id).state() for trial in trials]


def test_every_trial_once_and_again_nothing(trials: list[Trial], ledger: Ledger, behave: Behave) -> None:
    ran = behave({})
    assert drain(trials, ledger)[0] == worker.FINISHED
    assert ran == [0, 1, 2, 3, 4]
    assert drain(trials, ledger)[0] == worker.FINISHED
    assert ran == [0, 1, 2, 3, 4]


def test_a_trial_that_somebody_has_is_left_to_them(trials: list[Trial], ledger: Ledger, behave: Behave) -> None:
    ran = behave({})
    assert ledger.trial(trials[2].id).try_claim(trials[2].config()) is not None
    assert drain(trials, ledger)[0] == worker.FINISHED
    assert ran == [0, 1, 3, 4]


def test_trials_whose_baseline_is_being_made_elsewhere_come_last(
    trials: list[Trial], ledger: Ledger, behave: Behave
) -> None:
    ran = behave({})
    assert ledger.baseline(trials[0].baseline_id).try_claim(trials[0].baseline_config()) is not None
    drain(trials, ledger)
    assert ran == [1, 2, 3, 4, 0]


def test_a_failure_stops_no_other_trial_and_is_not_tried_again_at_once(
    trials: list[Trial], ledger: Ledger, behave: Behave
) -> None:
    ran = behave({0: ValueError("no"), 2: ValueError("no"), 4: ValueError("no")})
    code, said = drain(trials, ledger)
    assert code == worker.FINISHED
    assert ran == [0, 1, 2, 3, 4]
    assert states(trials, ledger) == [State.FAILED, State.DONE, State.FAILED, State.DONE, State.FAILED]
    assert "failed: ValueError: no" in said


def test_two_failures_in_a_row_end_the_task(trials: list[Trial], ledger: Ledger, behave: Behave) -> None:
    ran = behave(dict.fromkeys(range(5), RuntimeError("CUDA error: an illegal memory access was encountered")))
    code, said = drain(trials, ledger)
    assert code == worker.SICK
    assert ran == [0, 1]
    assert "may be sick" in said


def test_diverging_trials_do_not_make_a_node_sick(trials: list[Trial], ledger: Ledger, behave: Behave) -> None:
    ran = behave(dict.fromkeys(range(4), FloatingPointError("training diverged")))
    assert drain(trials, ledger)[0] == worker.FINISHED
    assert ran == [0, 1, 2, 3, 4]


def test_a_trial_that_is_given_back_after_we_passed_it_is_run(
    trials: list[Trial], ledger: Ledger, behave: Behave, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = behave({})
    other = ledger.trial(trials[0].id).try_claim(trials[0].config())
    assert other is not None
    run_trial = worker.run_trial

    def run(trial: Trial, ledger: Ledger, data_root: Path) -> bool:
        if trial.seed == 4:  # the last one we come to: the other owner is cancelled meanwhile
            with pytest.raises(stop.Stopped), other.running():
                raise stop.Stopped("cancelled")
        return run_trial(trial, ledger, data_root)

    monkeypatch.setattr(worker, "run_trial", run)
    assert drain(trials, ledger)[0] == worker.FINISHED
    assert ran == [1, 2, 3, 4, 0]


def test_data_are_brought_only_for_a_trial_that_runs(trials: list[Trial], ledger: Ledger, behave: Behave) -> None:
    behave({})
    calls: list[int] = []

    def data() -> Path:
        calls.append(1)
        return Path("data")

    assert worker.drain(trials, ledger, data) == worker.FINISHED
    assert worker.drain(trials, ledger, data) == worker.FINISHED
    assert len(calls) == 1


def test_a_trial_that_failed_too_often_is_left_alone_until_it_is_forgiven(
    trials: list[Trial], ledger: Ledger, behave: Behave
) -> None:
    ran = behave({1: ValueError("no")})
    for _ in range(MAX_FAILURES + 2):
        drain(trials, ledger)
    assert ran.count(1) == MAX_FAILURES
    ledger.trial(trials[1].id).forgive()
    drain(trials, ledger)
    assert ran.count(1) == MAX_FAILURES + 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_ends_the_task_at_once(trials: list[Trial], ledger: Ledger, behave: Behave, number: int) -> None:
    hidden = RuntimeError("could not save")
    hidden.__cause__ = OSError(number, "no room")
    ran = behave({1: hidden})
    assert drain(trials, ledger)[0] == worker.DISK_FULL
    assert ran == [0, 1]
    assert not worker.disk_is_full(OSError(errno.ENOENT, "no such file"))


def test_a_stop_leaves_the_rest_to_others(trials: list[Trial], ledger: Ledger, behave: Behave) -> None:
    ran = behave({1: stop.Stopped("preempted")})
    with pytest.raises(stop.Stopped, match="preempted"):
        drain(trials, ledger)
    assert ran == [0, 1]
    assert states(trials, ledger)[:2] == [State.DONE, State.LOST]
    stop.request("between two trials")
    with pytest.raises(stop.Stopped, match="between"):
        drain(trials, ledger)
    assert ran == [0, 1]
