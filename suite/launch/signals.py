"""Slurm's signals to a running task, and how the task answers: save, then go back to the queue or leave.

* The warning (SIGUSR2: time is nearly over, or the task is preempted) asks the work to stop. When it has saved, Submitit's own
  handler is called: it asks the task's callable for its checkpoint, requeues the job and ends the process.
* SIGTERM comes with `scancel`, with `scontrol requeue`, and with preemption where Slurm sends no warning. Only in the last case,
  and when time is over, must the task requeue itself; Slurm is asked which it was.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

from suite import stop
from suite.claim import slurm_job
from suite.launch.command import NoAnswerError
from suite.launch.queue import ask
from suite.launch.slurm_time import seconds

WARNING, TERMINATION = signal.SIGUSR2, signal.SIGTERM  # the first is Submitit's choice
REASONS = {WARNING: "preempted or out of time (SIGUSR2)", TERMINATION: "terminated (SIGTERM)"}
TERMINATED = 128 + TERMINATION  # exit code
UNANSWERED = 75  # exit code (EX_TEMPFAIL) if the controller was silent; the batch script then tries to requeue the job
PAUSES = (2, 4, 8)  # seconds between calls of a silent controller; less in all than Slurm leaves before it kills


@dataclass
class Signals:
    """Which signals came, and the handlers that were there before."""

    before: dict[int, Any] = field(default_factory=dict)
    came: list[int] = field(default_factory=list)

    def _on(self, number: int, frame: FrameType | None) -> None:
        self.came.append(number)
        stop.request(REASONS[signal.Signals(number)])

    def leave(self) -> NoReturn:
        """End the process as the signals ask: after requeueing the job (by Submitit's handler), or just so.

        A warned job that is cancelled before it has saved stays cancelled, so after SIGTERM Slurm is always asked.
        """
        for pause in PAUSES:
            try:
                if TERMINATION not in self.came or must_requeue():
                    self.before[WARNING](WARNING, None)
                sys.exit(TERMINATED)
            except (NoAnswerError, subprocess.SubprocessError) as error:
                print(f"Slurm does not answer ({error}); asking again in {pause} s", flush=True)
                time.sleep(pause)
        sys.exit(UNANSWERED)


@contextmanager
def watched() -> Iterator[Signals]:
    """Turn both signals into requests to stop while the body runs; only in the main thread."""
    signals = Signals()
    for number in REASONS:
        signals.before[number] = signal.signal(number, signals._on)
    try:
        yield signals
    finally:
        for each, handler in signals.before.items():
            signal.signal(each, handler)
        stop.clear()


def must_requeue() -> bool:
    """Whether this job was preempted, or its time is over, so that it has to go back to the queue by itself.

    Raises:
        NoAnswerError: if Slurm does not say.
    """
    job, _ = slurm_job()
    shown = ask(["scontrol", "--oneliner", "show", "job", job])
    return was_preempted(shown) or time_is_over(shown)


def was_preempted(shown: str) -> bool:
    """From the text of `scontrol show job`."""
    found = re.search(r"\bPreemptTime=(\S+)", shown)
    return found is not None and found[1] not in ("None", "Unknown")


def time_is_over(shown: str) -> bool:
    """From the text of `scontrol show job`."""
    run, limit = (re.search(rf"\b{name}=(\S+)", shown) for name in ("RunTime", "TimeLimit"))
    return run is not None and limit is not None and (seconds(run[1]) or 0) >= (seconds(limit[1]) or float("inf"))
