"""The array backend: what is missing is cut into chunks, each a job array whose tasks drain their chunk's trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from suite.config import Trial
from suite.launch.site import Site
from suite.launch.site_check import ArrayLimits
from suite.launch.submission import Submission
from suite.ledger import Ledger

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

FEWEST = 8  # array tasks that even a short sweep is spread over, so that it does not run one trial after the other


@dataclass(frozen=True)
class ArrayTask:
    """What Submitit runs in each array task. It knows where to look and nothing else: progress is in the ledger."""

    submission: str
    root: str
    sweep: str
    data_root: str
    scratch: str | None  # environment variable that names the node's own disk, if data are to be staged there

    def __call__(self) -> None:
        from suite.launch.frozen import check_running
        from suite.launch.signals import watched
        from suite.launch.worker import FINISHED, drain, say
        from suite.stop import Stopped

        with watched() as signals:
            submission = Submission.at(Path(self.submission))
            check_running(Path(submission.intent["code"]["path"]))
            trials = submission.whole_trials()
            try:
                code = drain(trials, Ledger(Path(self.root), self.sweep), lambda: self._data(trials))
            except Stopped as reason:
                say(f"stopped: {reason}")
                signals.leave()
        if code != FINISHED:
            raise SystemExit(code)

    def _data(self, trials: Sequence[Trial]) -> Path:
        from suite.launch.worker import local_data

        return local_data({trial.data for trial in trials}, Path(self.data_root), self.scratch)

    def checkpoint(self) -> DelayedSubmission:
        """Submitit's protocol: what the requeued job runs. The same; it finds its resume point when it starts."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True)
class Chunk:
    """The part of a plan that one `sbatch` call submits."""

    trials: tuple[Trial, ...]
    tasks: int
    parallel: int  # of its tasks, how many may run at once


def cut(trials: Sequence[Trial], seconds: float | None, site: Site, limits: ArrayLimits) -> list[Chunk]:
    """Chunks of at most MaxArraySize tasks; `seconds` is the whole work if it is known, so that short trials share tasks.

    Trials are dealt out in turn, so that those that make a baseline, which come first, start first in every chunk. There are no
    more chunks than tasks that may run at once, as each chunk runs at least one.
    """
    most = (site.max_parallel or len(trials)) * limits.max_array_size
    tasks = min(_tasks(len(trials), seconds, site), limits.max_submit or len(trials), most)
    count = math.ceil(tasks / limits.max_array_size)
    sizes, shares = _split(tasks, count), _split(min(site.max_parallel or tasks, tasks), count)
    return [Chunk(tuple(trials[i::count]), sizes[i], shares[i]) for i in range(count)]


def _tasks(trials: int, seconds: float | None, site: Site) -> int:
    """One a trial, or fewer if all the work is known to be short."""
    if seconds is None:
        return trials
    return min(trials, max(FEWEST, math.ceil(seconds / (60 * site.task_minutes))))


def _split(total: int, parts: int) -> list[int]:
    """`total` in nearly equal parts, none below one."""
    return [max(1, total // parts + (i < total % parts)) for i in range(parts)]
