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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from suite import stop
from suite.claim import slurm_job
from suite.errors import UserError
from suite.files import write_atomic
from suite.launch.allocation import Share
from suite.launch.meeting import Head, Meeting
from suite.launch.ray_cluster import (
    adopt_orphans,
    end_descendants,
    environment,
    free_port,
    head_options,
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
from suite.ledger import Ledger, State

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

POLL = 0.25  # seconds
START_LIMIT = 300.0  # seconds for Ray to come up on a node, and for all nodes to be in
PORTS = 3  # ports to try for the head: another process may take one between our look and its start
MARGIN = 30.0  # seconds of the warning that are kept for ending Ray and asking Slurm to requeue
TERMINATION_GRACE = (
    20.0  # seconds for trials to save after SIGTERM; Slurm's KillWait, after which it kills, is 30 by default
)
GONE = 10  # times in a row that nobody listens where the head was, until a task takes it for gone
CRASHED = 134  # exit code if Ray died under us, as of a process that aborted: the batch script requeues the job


@dataclass(frozen=True)
class RayPack:
    """What Submitit runs on each node. It knows where to look and nothing else: progress is in the ledger."""

    submission: str
    root: str
    sweep: str
    data_root: str
    gpus_per_trial: float = 0.0
    grace: float = (
        60.0  # seconds for trials to save after the warning; must be less than the time that the warning leaves
    )
    scratch: str = "/tmp"  # a folder on the node's own disk; may name variables

    @staticmethod
    def of(submission: Submission, ledger: Ledger, data_root: str, site: Site, gpus_per_trial: float) -> RayPack:
        """For a submission to a site."""
        if not site.srun and site.nodes > 1:
            raise UserError("the ray backend needs srun to start something on each of several nodes; set srun = true")
        grace = max(site.signal_seconds - MARGIN, site.signal_seconds / 2)
        scratch = f"${site.scratch}" if site.scratch else "/tmp"
        where = (str(submission.path), str(ledger.root), ledger.sweep, data_root)
        return RayPack(*where, gpus_per_trial, grace, scratch)

    def __call__(self) -> None:
        adopt_orphans()
        rank = int(os.environ["SLURM_PROCID"])
        meeting = Meeting.of_this_run(Path(self.submission))
        scratch = Path(os.path.expandvars(self.scratch))
        with watched() as signals:
            with node_folder(scratch, f"{slurm_job()[0]}-{rank}") as folder, everything_ended():
                task = Task(self, rank, meeting, folder, _grace(self.grace, signals.came))
                code = task.lead() if rank == 0 else task.follow()
            if rank == 0 and stop.requested():
                signals.leave()
        if code:
            raise SystemExit(code)

    def checkpoint(self) -> DelayedSubmission:
        """Submitit's protocol: what the requeued job runs. The same; trials find their resume points when they start."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


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


def say(text: str) -> None:
    """A line in the output of the task."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)


@dataclass(frozen=True)
class Task:
    """One task of the allocation at work."""

    pack: RayPack
    rank: int
    meeting: Meeting
    folder: Path
    grace: Callable[[], float]

    def lead(self) -> int:
        """Start the head and the driver, wait for the driver; returns the exit code."""
        try:
            ray, head = self._start_head()
            if ray is None:
                return 0
            self.meeting.announce(head)
            say(f"Ray's head listens on {head.address}")
            driver = start_sheltered(
                self._drive(head).command(), environment(head.token, self.folder), self.folder, log=None
            )
            return self._supervise(ray, driver)
        finally:
            self.meeting.end()

    def _start_head(self) -> tuple[subprocess.Popen[bytes] | None, Head]:
        """The head once it listens; None if a stop was asked for before."""
        host, log = own_address(os.environ), self.meeting.log(self.rank)
        for _ in range(PORTS):
            head = Head(host, free_port(host), secrets.token_hex(32))
            ray = start_node(head_options(head), Share.of(os.environ), head.token, self.folder, log)
            end = time.monotonic() + START_LIMIT
            while ray.poll() is None and time.monotonic() < end:
                if stop.requested():
                    return None, head
                if listens(head):
                    return ray, head
                time.sleep(POLL)
            end_descendants()
        raise RuntimeError(f"Ray's head did not come up on {host}, at {PORTS} ports; it says:\n{tail(log)}")

    def _drive(self, head: Head) -> Drive:
        pack, nodes = self.pack, int(os.environ["SLURM_JOB_NUM_NODES"])
        where = (pack.submission, pack.root, pack.sweep, pack.data_root, pack.gpus_per_trial)
        return Drive(*where, str(self.meeting.path), head.address, nodes, START_LIMIT)

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
        while self._running() and time.monotonic() < begin + self.grace():
            time.sleep(POLL)
        say(f"stopped after {time.monotonic() - begin:.1f} s: {stop.requested()}")

    def _running(self) -> bool:
        """Whether a trial of the submission is being run by this job."""
        ledger, (job, _) = Ledger(Path(self.pack.root), self.pack.sweep), slurm_job()
        works = (ledger.trial(identity) for identity in Submission.at(Path(self.pack.submission)).trials)
        return any(
            work.state() is State.RUNNING and (attempt := work.newest_attempt()) is not None and attempt.job() == job
            for work in works
        )

    def _pass_on(self, reason: str) -> None:
        """To the trials of this node."""
        write_atomic(self.folder / "stop", lambda file: file.write_text(reason))

    def follow(self) -> int:
        """Join the head's Ray and stay until the first task has ended it, or is gone; returns the exit code."""
        head = self._await_head()
        if head is None:
            return 0
        log = self.meeting.log(self.rank)
        ray = start_node(worker_options(head), Share.of(os.environ), head.token, self.folder, log)
        missed = 0
        while not self.meeting.has_ended() and missed < GONE:
            if reason := stop.requested() or self.meeting.asked_to_stop():
                self._pass_on(reason)
            if ray.poll() is not None:
                return self._failed(f"Ray has ended with exit code {ray.returncode}:\n{tail(log)}")
            missed = 0 if listens(head) else missed + 1
            time.sleep(POLL)
        return 0

    def _await_head(self) -> Head | None:
        """Where the head is; None if a stop was asked for before, or the first task has ended."""
        end = time.monotonic() + START_LIMIT
        while time.monotonic() < end:
            if head := self.meeting.head():
                return head
            if stop.requested() or self.meeting.has_ended():
                return None
            time.sleep(POLL)
        self._failed(f"heard nothing of Ray's head in {START_LIMIT:g} s")
        return None

    def _failed(self, text: str) -> int:
        """Tell the first task, which goes on without this node; the job itself has not failed."""
        say(text)
        self.meeting.report_failure(self.rank, text)
        return 0
