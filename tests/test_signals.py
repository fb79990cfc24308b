"""What a task makes of Slurm's signals and of Slurm's account of its job."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from suite import stop
from suite.launch import signals
from suite.launch.command import NoAnswerError
from suite.launch.signals import TERMINATED, UNANSWERED, Signals, time_is_over, was_preempted, watched

# from `scontrol --oneliner show job` of Slurm 22.05, shortened
RUNNING = (
    "JobId=5 JobName=x JobState=RUNNING RunTime=00:00:07 TimeLimit=00:30:00 "
    "PreemptEligibleTime=2026-01-05T10:00:00 PreemptTime=None"
)
PREEMPTED = RUNNING.replace("PreemptTime=None", "PreemptTime=2026-01-05T10:07:00")
OVER = RUNNING.replace("RunTime=00:00:07", "RunTime=00:30:01")
UNLIMITED = OVER.replace("TimeLimit=00:30:00", "TimeLimit=UNLIMITED")


@pytest.mark.parametrize(
    ("shown", "preempted", "over"),
    [
        (RUNNING, False, False),
        (PREEMPTED, True, False),
        (OVER, False, True),
        (UNLIMITED, False, False),
        ("", False, False),
    ],
)
def test_what_slurm_says_of_a_job(shown: str, preempted: bool, over: bool) -> None:
    assert was_preempted(shown) is preempted
    assert time_is_over(shown) is over


def answering(monkeypatch: pytest.MonkeyPatch, shown: str | Exception) -> None:
    def ask(command: list[str]) -> str:
        return _reply(shown)

    monkeypatch.setattr(signals, "ask", ask)


def left(watching: Signals) -> tuple[int, list[int]]:
    """Exit code, and the signals for which the former handler (Submitit's, which requeues) was called."""
    called: list[int] = []

    def requeue(number: int, frame: object) -> None:
        called.append(number)
        raise SystemExit(255)

    watching.before[signal.SIGUSR2] = requeue
    with pytest.raises(SystemExit) as end:
        watching.leave()
    return int(end.value.code or 0), called


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_asks_for_a_stop_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with watched() as watching:
        assert stop.requested() is None
        os.kill(os.getpid(), number)
        assert number.name in str(stop.requested())
        assert watching.came == [number]
    assert stop.requested() is None
    assert signal.getsignal(number) is before


def test_after_the_warning_alone_the_job_is_requeued_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, AssertionError("it asked"))
    assert left(Signals(came=[signal.SIGUSR2])) == (255, [signal.SIGUSR2])


@pytest.mark.parametrize("came", [[signal.SIGTERM], [signal.SIGUSR2, signal.SIGTERM]], ids=["alone", "after a warning"])
@pytest.mark.parametrize("shown", [PREEMPTED, OVER], ids=["preempted", "out of time"])
def test_termination_by_the_cluster_requeues(monkeypatch: pytest.MonkeyPatch, shown: str, came: list[int]) -> None:
    answering(monkeypatch, shown)
    assert left(Signals(came=came)) == (255, [signal.SIGUSR2])


@pytest.mark.parametrize("came", [[signal.SIGTERM], [signal.SIGUSR2, signal.SIGTERM]], ids=["alone", "after a warning"])
def test_what_the_user_cancels_stays_cancelled(monkeypatch: pytest.MonkeyPatch, came: list[int]) -> None:
    answering(monkeypatch, RUNNING)
    assert left(Signals(came=came)) == (TERMINATED, [])


@pytest.mark.parametrize("answers", [1, 2])
def test_a_silent_controller_is_asked_again(monkeypatch: pytest.MonkeyPatch, answers: int) -> None:
    monkeypatch.setattr(signals, "PAUSES", (0, 0))
    replies = iter([NoAnswerError("timed out")] * answers + [PREEMPTED])
    monkeypatch.setattr(signals, "ask", lambda command: _reply(next(replies)))
    expected = (255, [signal.SIGUSR2]) if answers == 1 else (UNANSWERED, [])
    assert left(Signals(came=[signal.SIGTERM])) == expected


def _reply(reply: str | Exception) -> str:
    if isinstance(reply, Exception):
        raise reply
    return reply


def test_a_requeue_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PAUSES", (0, 0))
    watching, tries = Signals(came=[signal.SIGUSR2]), []

    def fails_once(number: int, frame: object) -> None:
        tries.append(number)
        if len(tries) == 1:
            raise subprocess.CalledProcessError(1, "scontrol")
        raise SystemExit(255)

    watching.before[signal.SIGUSR2] = fails_once
    with pytest.raises(SystemExit) as end:
        watching.leave()
    assert (end.value.code, len(tries)) == (255, 2)
