"""The ray backend: one allocation of several nodes, a Ray of our own on them, and Tune that packs the trials on it.

Submitit runs `RayPack` once on every node. The first task starts Ray's head and the driver; the others join and wait for the end.
All tasks get Slurm's signals, Ray and the trials do not: each task passes a request to stop on to the trials of its node by a file,
the trials save and stop, Ray is ended, and the first task answers Slurm.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from suite import stop
from suite.claim import slurm_job
from suite.errors import UserError
from suite.files import write_atomic
from suite.launch import early
from suite.launch.allocation import Share
from suite.launch.meeting import Head, Meeting
from suite.launch.plan import is_missing
from suite.launch.ray_cluster import (
    adopt_orphans,
    end_descendants,
    environment,
    free_port,
    head_options,
    is_up,
    listens,
    node_folder,
    own_address,
    start_node,
    start_sheltered,
    tail,
    worker_options,
)
from suite.launch.ray_driver import Drive
from suite.launch.signals import TERMINATION, watched
from suite.launch.site import Site
from suite.launch.submission import Submission
from suite.launch.worker import local_data, say
from suite.ledger import Ledger, State, Work

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

POLL = 0.25  # seconds
START_LIMIT = 300.0  # seconds for Ray to come up on a node, and for all nodes to be in
TRIES = (
    3  # starts of Ray on a node: it has limits of its own on a busy node, and another process may take a port meanwhile
)
MARGIN = 30.0  # seconds of the warning that are kept for ending Ray and asking Slurm to requeue
SHORTEST = 180.0  # seconds from a job's start to its warning; Ray takes up to a minute to start, and Slurm may warn a minute early
STAGING_LIMIT = 3600.0  # seconds more where data are brought to the nodes before
TERMINATION_GRACE = 20.0  # seconds for trials to save after SIGTERM; Slurm kills after KillWait, by default 30
GONE = 10  # times in a row that nobody listens where the head was, until a task takes it for gone
CRASHED = 134  # exit code if Ray died under us, as of a process that aborted: the batch script requeues the job


@dataclass(frozen=True)
class RayPack:
    """What Submitit runs on each node. It knows where to look and nothing else: progress is in the ledger."""

    submission: str
    root: str
    sweep: str
    data_root: str
    gpus_per_trial: float
    scheduler: str  # of Tune, for trials that may be stopped early
    grace: float  # seconds for trials to save after the warning; less than the time that the warning leaves
    scratch: str | None  # environment variable that names the node's own disk
    stage: bool  # whether data are brought there

    @staticmethod
    def of(
        submission: Submission,
        ledger: Ledger,
        data_root: str,
        site: Site,
        gpus_per_trial: float,
        scheduler: early.Name = "none",
    ) -> RayPack:
        """For a submission to a site."""
        refuse_unfit(site)
        grace = max(site.signal_seconds - MARGIN, site.signal_seconds / 2)
        where = (str(submission.path), str(ledger.root), ledger.sweep, data_root)
        return RayPack(*where, gpus_per_trial, scheduler, grace, site.scratch, site.stage_data)

    def __call__(self) -> None:
        adopt_orphans()
        rank = int(os.environ["SLURM_PROCID"])
        with watched() as signals:
            code = self._take_part(rank, _grace(self.grace, signals.came))
            if rank == 0 and stop.requested():
                signals.leave()
        if code:
            raise SystemExit(code)

    def _take_part(self, rank: int, grace: Callable[[], float]) -> int:
        """Lead or follow; returns the exit code. When it returns, nothing that was started is left."""
        meeting = Meeting.of_this_run(Path(self.submission))
        disk = os.environ.get(self.scratch) if self.scratch else None
        with node_folder(Path(disk or "/tmp"), f"{slurm_job()[0]}-{rank}") as folder, everything_ended():
            try:
                data_root = self._data()
                task = Task(self, rank, meeting, folder, data_root, grace)
                return task.lead() if rank == 0 else task.follow()
            except stop.Stopped:
                return 0
            finally:
                if rank == 0:
                    meeting.end()

    def _data(self) -> Path:
        names = {trial.data for trial in Submission.at(Path(self.submission)).whole_trials()}
        return local_data(names, Path(self.data_root), self.scratch if self.stage else None)

    @property
    def start_limit(self) -> float:
        """Seconds for all nodes to come up."""
        return START_LIMIT + (STAGING_LIMIT if self.stage else 0)

    def checkpoint(self) -> DelayedSubmission:
        """Submitit's protocol: what the requeued job runs. The same; trials find their resume points when they start."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def refuse_unfit(site: Site) -> None:
    """Raises `UserError` if Ray cannot do anything useful with what the profile asks for."""
    if not site.srun and site.nodes > 1:
        raise UserError("the ray backend needs srun to start something on each of several nodes; set srun = true")
    if site.minutes * 60 - site.signal_seconds < SHORTEST:
        raise UserError(
            f"a time limit of {site.time} with a warning {site.signal_seconds} s before its end is too short for the ray "
            f"backend, which takes up to a minute to start: leave {SHORTEST / 60:g} minutes or more up to the warning"
        )


def _grace(warned: float, came: list[int]) -> Callable[[], float]:
    """Seconds for trials to save, once it is known which signals came."""
    return lambda: min(warned, TERMINATION_GRACE) if TERMINATION in came else warned


@contextmanager
def everything_ended() -> Iterator[None]:
    """Whatever happens in the body, no process that it started is left."""
    try:
        yield
    finally:
        end_descendants()


@dataclass(frozen=True)
class Task:
    """One task of the allocation at work."""

    pack: RayPack
    rank: int
    meeting: Meeting
    folder: Path
    data_root: Path
    grace: Callable[[], float]

    def lead(self) -> int:
        """Start the head and the driver, wait for the driver; returns the exit code."""
        if not any(map(is_missing, self._works())):
            say("nothing is left to do")
            return 0
        ray, head = self._start_head()
        self.meeting.announce(head)
        say(f"Ray's head listens on {head.address}")
        driver = start_sheltered(self._drive(head).command(), self._variables(head), self.folder, log=None)
        return self._supervise(ray, driver)

    def _variables(self, head: Head) -> dict[str, str]:
        return environment(head.token, self.folder, self.data_root)

    def _start(self, head: Head, options: Sequence[str], number: int) -> subprocess.Popen[bytes]:
        """Start Ray on this node for the so manieth time."""
        share, log = Share.of(os.environ), self.meeting.log(self.rank)
        return start_node(options, share, self._variables(head), self.folder / str(number), log)

    def _start_head(self) -> tuple[subprocess.Popen[bytes], Head]:
        """The head, once it is up. Raises `stop.Stopped` if a stop is asked for before."""
        host = own_address(os.environ)
        for number in range(TRIES):
            head = Head(host, free_port(host), secrets.token_hex(32))
            ray = self._start(head, head_options(head), number)
            end = time.monotonic() + START_LIMIT
            while ray.poll() is None and time.monotonic() < end:
                stop.check()
                if is_up(self.folder / str(number)):
                    return ray, head
                time.sleep(POLL)
            end_descendants()
        said = tail(self.meeting.log(self.rank))
        raise RuntimeError(f"Ray's head did not come up on {host} in {TRIES} tries; it says:\n{said}")

    def _drive(self, head: Head) -> Drive:
        pack, nodes = self.pack, int(os.environ["SLURM_JOB_NUM_NODES"])
        where = (pack.submission, pack.root, pack.sweep, pack.data_root, pack.gpus_per_trial, pack.scheduler)
        return Drive(*where, str(self.meeting.path), head.address, nodes, pack.start_limit)

    def _supervise(self, ray: subprocess.Popen[bytes], driver: subprocess.Popen[bytes]) -> int:
        """Wait for the driver, or for a stop and then for the trials; returns the exit code."""
        while driver.poll() is None:
            if stop.requested():
                self._let_trials_stop()
                return 0
            if ray.poll() is not None:
                say(f"Ray's head has died:\n{tail(self.meeting.log(self.rank))}")
                return CRASHED
            time.sleep(POLL)
        return driver.returncode if driver.returncode >= 0 else CRASHED

    def _let_trials_stop(self) -> None:
        """Ask the trials of all nodes to save and stop, and wait until they have, or for the grace."""
        self._pass_on(stop.requested() or "")
        self.meeting.ask_to_stop(stop.requested() or "")
        begin = time.monotonic()
        works = self._works()
        while any(map(_runs_here, works)) and time.monotonic() < begin + self.grace():
            time.sleep(POLL)
        say(f"stopped after {time.monotonic() - begin:.1f} s: {stop.requested()}")

    def _works(self) -> list[Work]:
        """The trials of the submission."""
        ledger = Ledger(Path(self.pack.root), self.pack.sweep)
        return [ledger.trial(identity) for identity in Submission.at(Path(self.pack.submission)).trials]

    def _pass_on(self, reason: str) -> None:
        """To the trials of this node."""
        write_atomic(self.folder / "stop", lambda file: file.write_text(reason))

    def follow(self) -> int:
        """Join the head's Ray and stay until the first task has ended it, or is gone; returns the exit code."""
        head = self._await_head()
        if head is None:
            return 0
        for number in range(TRIES):
            ray = self._start(head, worker_options(head), number)
            self._stay(head, ray)
            if ray.poll() is None or self.meeting.has_ended():
                return 0
            say(f"Ray has ended with exit code {ray.returncode}:\n{tail(self.meeting.log(self.rank))}")
            end_descendants()
        return self._failed(f"Ray has ended {TRIES} times; it says:\n{tail(self.meeting.log(self.rank))}")

    def _stay(self, head: Head, ray: subprocess.Popen[bytes]) -> None:
        """Until the first task has ended it all, or is gone, or Ray on this node has ended."""
        missed, passed_on = 0, False
        while not self.meeting.has_ended() and missed < GONE and ray.poll() is None:
            if (reason := stop.requested() or self.meeting.asked_to_stop()) and not passed_on:
                self._pass_on(reason)
                passed_on = True
            missed = 0 if listens(head) else missed + 1
            time.sleep(POLL)

    def _await_head(self) -> Head | None:
        """Where the head is; None if the first task has ended before, or nothing was heard of it."""
        end = time.monotonic() + self.pack.start_limit
        while time.monotonic() < end:
            if head := self.meeting.head():
                return head
            if self.meeting.has_ended():
                return None
            stop.check()
            time.sleep(POLL)
        self._failed(f"heard nothing of Ray's head in {self.pack.start_limit:g} s")
        return None

    def _failed(self, text: str) -> int:
        """Tell the first task, which goes on without this node; the job itself has not failed."""
        say(text)
        self.meeting.report_failure(self.rank, text)
        return 0


def _runs_here(work: Work) -> bool:
    """Whether the trial is being run by this job."""
    attempt = work.newest_attempt() if work.state() is State.RUNNING else None
    return attempt is not None and attempt.job() == slurm_job()[0]
