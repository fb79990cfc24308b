"""What a task on a compute node does: claim the next trial of its submission that nobody has, run it, until none is left."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from suite import stop
from suite.claim import SupersededError, owner_of, slurm_job
from suite.config import Trial
from suite.launch.plan import is_missing
from suite.ledger import Ledger, State, Work

FINISHED, SICK, DISK_FULL = 0, 70, 74  # exit codes of a task; 70 and 74 are EX_SOFTWARE and EX_IOERR of sysexits.h
IN_A_ROW = (
    2  # trials that may fail one after the other before the node is taken for sick: else it would fail the whole sweep
)


def drain(trials: Sequence[Trial], ledger: Ledger, data_root: Path, say: Callable[[str], object]) -> int:
    """Run what is still to do of these trials, each at most once; returns the task's exit code.

    A trial that fails has recorded why; the task goes on to the next one.

    Raises:
        stop.Stopped: if a stop was asked for; the trial at hand has saved and released its claim.
    """
    from suite.trial import run_trial

    failed = 0
    for trial in _pending(trials, ledger):
        stop.check()
        say(f"trial {trial.id}")
        try:
            if run_trial(trial, ledger, data_root):
                failed = 0
        except SupersededError as error:
            say(f"left to another: {error}")
            if _we_are_past(ledger.trial(trial.id)):
                say("it is a later run of this very job: Slurm took this node for dead, so the task ends")
                return FINISHED
        except Exception as error:
            say(f"failed: {type(error).__name__}: {error}")
            failed += 1
            if disk_is_full(error):
                return DISK_FULL
            if failed == IN_A_ROW:
                say(f"{IN_A_ROW} trials failed one after the other: this node may be sick, so the task ends")
                return SICK
    return FINISHED


def _pending(trials: Sequence[Trial], ledger: Ledger) -> Iterator[Trial]:
    """Trials that may be claimed, those that would have to wait for somebody's baseline last."""
    waiting = []
    for trial in trials:
        if not is_missing(ledger.trial(trial.id)):
            continue
        if ledger.baseline(trial.baseline_id).state() is State.RUNNING:
            waiting.append(trial)
        else:
            yield trial
    for trial in waiting:
        if is_missing(ledger.trial(trial.id)):
            yield trial


def _we_are_past(work: Work) -> bool:
    """Whether the trial is with a later run of our own job, as after a network cut."""
    attempt, (job, restart) = work.newest_attempt(), slurm_job()
    owner = owner_of(attempt.path) if attempt else None
    return owner is not None and owner.job == job != "" and owner.restart > restart


def disk_is_full(error: BaseException | None) -> bool:
    """Whether the error, or one that led to it, is a full disk or an exhausted quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
