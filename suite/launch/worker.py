"""What a task on a compute node does: claim the next trial of its submission that nobody has, run it, until none is left."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from suite import stop
from suite.claim import SupersededError, owner_of, slurm_job
from suite.config import Trial
from suite.data.staging import stage
from suite.launch.plan import is_missing
from suite.ledger import Ledger, State, Work
from suite.trial import run_trial

FINISHED, SICK, DISK_FULL = 0, 70, 74  # exit codes of a task; 70 and 74 are EX_SOFTWARE and EX_IOERR of sysexits.h
IN_A_ROW = (
    2  # trials that may fail one after the other until the node is taken for sick: else it would fail the whole sweep
)


def say(text: str) -> None:
    """A line in the output of the task."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)


def drain(trials: Sequence[Trial], ledger: Ledger, data_root: Callable[[], Path]) -> int:
    """Run what is still to do of these trials, each at most once, until nothing is left; returns the task's exit code.

    A trial that fails has recorded why; the task goes on to the next one.

    Args:
        data_root: called when the first trial is about to run; may bring data to the node.

    Raises:
        stop.Stopped: if a stop was asked for; the trial at hand has saved and released its claim.
    """
    root, failed = cache(data_root), 0
    for trial in _each_once(trials, ledger):
        stop.check()
        say(f"trial {trial.id}")
        try:
            run_trial(trial, ledger, root())
            failed = 0
        except SupersededError as error:
            say(f"left to another: {error}")
            if _we_are_past(ledger.trial(trial.id)):
                say("it is a later run of this very job: Slurm took this node for dead, so the task ends")
                return FINISHED
        except Exception as error:
            say(f"failed: {type(error).__name__}: {error}")
            if disk_is_full(error):
                return DISK_FULL
            failed += not isinstance(error, FloatingPointError)  # to diverge is the trial's own fault
            if failed == IN_A_ROW:
                say(f"{IN_A_ROW} trials failed one after the other: this node may be sick, so the task ends")
                return SICK
    return FINISHED


def local_data(datasets: Iterable[str], data_root: Path, scratch: str | None) -> Path:
    """Where trials on this node read from: its own disk, named by the variable `scratch`, if the site has data staged there."""
    folder = os.environ.get(scratch) if scratch else None
    if scratch and not folder:
        say(f"no data is staged: ${scratch} is not set on this node")
    return stage(sorted(datasets), data_root, Path(folder) if folder else None, say)


def _each_once(trials: Sequence[Trial], ledger: Ledger) -> Iterator[Trial]:
    """Pass over the trials until nothing is left to claim: others may have given one back that was passed before."""
    seen: set[str] = set()
    found = True
    while found:
        found = False
        for trial in _pending([trial for trial in trials if trial.id not in seen], ledger):
            found = True
            seen.add(trial.id)
            yield trial


def _pending(trials: Sequence[Trial], ledger: Ledger) -> Iterator[Trial]:
    """Trials that may be claimed, those that would have to wait for somebody's baseline last."""
    waiting = []
    for trial in trials:
        if not is_missing(ledger.trial(trial.id), trial.canonical()):
            continue
        if any(ledger.baseline(identity).state() is State.RUNNING for identity in trial.start_ids):
            waiting.append(trial)
        else:
            yield trial
    for trial in waiting:
        if is_missing(ledger.trial(trial.id), trial.canonical()):
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
