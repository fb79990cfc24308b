"""Where each trial of a sweep is: what its files say and what Slurm says of the jobs, put together. Changes nothing.

The files come first: a result is a result, an error is an error. Slurm adds who will still run what, and why an attempt that
stopped without a word did so. What Slurm does not say is unknown; nothing is concluded from silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from suite.claim import owner_of
from suite.launch.cause import cause, crash, of_job, tail
from suite.launch.plan import given_up
from suite.launch.queue import Job, Report, look
from suite.launch.submission import Submission, submissions
from suite.ledger import Attempt, Ledger, State, Work

COMMON = "waiting for resources or priority"  # what sacct does not say, since it is the rule
REASONS = {
    "JobArrayTaskLimit": "as many tasks run as may at once",
    "BeginTime": "queued again, may start in a moment",
    "JobHeldUser": "held by its user, see scontrol release",
    "JobHeldAdmin": "held by an administrator",
    "Dependency": "waits for another job",
    "DependencyNeverSatisfied": "waits for a job that failed, and will never start",
    "ReqNodeNotAvail": "the nodes asked for are down or reserved",
    "PartitionDown": "the partition is down",
    "launch_failed_requeued_held": "held, as its start failed on a node; see scontrol release",
}


class Place(StrEnum):
    """Of one trial. The words of `State` mean the same here; `lost` is what no job will go on with."""

    DONE = "done"
    RUNNING = "running"
    QUEUED = "queued"  # not begun; a job that waits or runs will come to it
    INTERRUPTED = "interrupted"  # stopped before its end; a job that waits or runs will go on with it
    FAILED = "failed"
    LOST = "lost"
    UNKNOWN = "unknown"  # depends on jobs of which Slurm says nothing
    NEW = "new"
    UNREADABLE = "unreadable"  # its folder is damaged: it is left alone until that is mended


@dataclass(frozen=True)
class Where:
    place: Place
    why: str = ""
    job: Job | None = None  # that runs it, or ran it last


@dataclass(frozen=True)
class Group:
    """A submission and what is known of its jobs."""

    submission: Submission
    jobs: tuple[Job, ...]  # those that Slurm knows
    source: str  # of this knowledge, see `Report`

    @property
    def waiting(self) -> int:
        return sum(job.is_waiting() for job in self.jobs)

    @property
    def running(self) -> int:
        return sum(job.is_running() for job in self.jobs)

    @property
    def ended(self) -> int:
        return sum(job.ended_well() or job.is_lost() for job in self.jobs)

    @property
    def lost(self) -> int:
        return sum(job.is_lost() for job in self.jobs)

    @property
    def unknown(self) -> int:
        """Jobs that Slurm does not know, or of which it says what we do not understand."""
        return self.submission.tasks - self.waiting - self.running - self.ended

    def is_live(self) -> bool:
        return self.waiting + self.running > 0

    def reason(self) -> str:
        """Why its waiting jobs wait: what most of them are said to wait for."""
        reasons = Counter(job.reason for job in self.jobs if job.is_waiting())
        return waits_for(reasons.most_common(1)[0][0]) if reasons else ""

    def causes(self) -> Counter[str]:
        """Why jobs of it did not end well."""
        return Counter(of_job(job) for job in self.jobs if job.is_lost())

    def ahead(self) -> Where:
        """What becomes of a trial of it that nobody runs now."""
        if self.submission.closed:
            return Where(Place.NEW)
        if self.waiting:
            return Where(Place.QUEUED, self.reason())
        if self.running:
            return Where(Place.QUEUED, "for the next task that is free")
        if self.unknown:
            return Where(Place.UNKNOWN, self.why_unknown())
        return Where(Place.NEW)

    def why_unknown(self) -> str:
        if self.submission.job_id is None:
            return "whether there is a job is not known, its submission was cut off; slq submit looks for it"
        if not self.source:
            return "Slurm does not answer"
        if self.source == "squeue":
            return "without accounting Slurm does not say how jobs ended"
        return f"Slurm knows nothing of {self.unknown} of its {self.submission.tasks} jobs"


def waits_for(reason: str) -> str:
    """Slurm's reason why a job waits, for people."""
    return f"{REASONS[reason]} ({reason})" if reason in REASONS else reason or COMMON


@dataclass(frozen=True)
class Submitted:
    """All submissions of a sweep and what Slurm says of them at one moment."""

    groups: tuple[Group, ...] = ()
    report: Report = field(default_factory=Report)

    @cached_property
    def _ahead(self) -> dict[str, Where]:
        """What lies ahead of each trial that was submitted: the best that any of its submissions promises."""
        order = [Place.QUEUED, Place.UNKNOWN, Place.NEW]
        found: dict[str, Where] = {}
        for group in self.groups:
            ahead = group.ahead()
            for trial in group.submission.trials:
                found[trial] = min(found.get(trial, ahead), ahead, key=lambda where: order.index(where.place))
        return found

    def ahead(self, trial: str) -> Where:
        return self._ahead.get(trial, Where(Place.NEW))

    def expected(self) -> set[str]:
        """Trials that a waiting or running job will come to."""
        return {trial for trial, ahead in self._ahead.items() if ahead.place is Place.QUEUED}

    def states(self) -> dict[str, tuple[str, int]]:
        """State and restarts of each job, for telling whether anything happened."""
        return {job.id: (job.state, job.restarts) for job in self.report.jobs.values()}

    def group_of(self, job: str) -> Group | None:
        """The submission that a job or array task belongs to."""
        return self._by_id.get(job.partition("_")[0]) if job else None

    @cached_property
    def _by_id(self) -> dict[str, Group]:
        return {identity: group for group in self.groups if (identity := group.submission.job_id)}


def ask(ledger: Ledger, asker: Callable[[Mapping[str, str]], Report] = look) -> Submitted:
    """One call of Slurm for all submissions of the sweep; none if there are none."""
    return gather(submissions(ledger), asker)


def gather(found: Iterable[Submission], asker: Callable[[Mapping[str, str]], Report] = look) -> Submitted:
    """One call of Slurm for these submissions."""
    found = list(found)
    names = {job: submission.job_name for submission in found if (job := submission.job_id)}
    report = asker(names) if names else Report()
    return Submitted(tuple(_group(submission, report) for submission in found), report)


def _group(submission: Submission, report: Report) -> Group:
    jobs = (report.jobs.get(identity) for identity in submission.job_ids())
    return Group(submission, tuple(job for job in jobs if job is not None), report.source)


def output_of(ledger: Ledger, job: str) -> list[Path]:
    """Where a job or array task of the sweep wrote its standard output and error, as far as it has begun; no call of Slurm."""
    main = job.partition("_")[0]
    owner = next((each for each in submissions(ledger) if job and each.job_id == main), None)
    return [log for log in owner.logs(job) if log.exists()] if owner else []


def where(work: Work, state: State, submitted: Submitted) -> Where:
    """Where a trial is, from its state in the ledger, which the caller has looked up."""
    match state:
        case State.NEW:
            return submitted.ahead(work.id)
        case State.RUNNING:
            return _running(work, submitted)
        case State.FAILED:
            return Where(Place.FAILED, _why_failed(work))
        case State.LOST:
            return _stopped(work, submitted)
        case _:
            return Where(Place.DONE)


def _why_failed(work: Work) -> str:
    """What the attempt said itself: there is nothing that Slurm could add."""
    attempt = work.newest_attempt()
    return cause(None, attempt.newest("end")) if attempt else ""


def _running(work: Work, submitted: Submitted) -> Where:
    """Its claim is alive. If Slurm says that the run of its job is over, the claim only has not expired yet."""
    attempt = work.newest_attempt()
    job, run = _job(attempt, submitted) if attempt else (None, None)
    if run is not None and not run.is_live():
        return _stopped(work, submitted)
    return Where(Place.RUNNING, job=run or job)


def _stopped(work: Work, submitted: Submitted) -> Where:
    attempt = work.newest_attempt()
    job, why = (_job(attempt, submitted)[0], why_stopped(attempt, submitted)) if attempt else (None, "")
    if given_up(work, State.LOST):
        return Where(Place.FAILED, f"{why}; so often in a row that it is left alone until slq retry", job)
    ahead = submitted.ahead(work.id)
    if ahead.place is Place.UNKNOWN:
        return Where(Place.UNKNOWN, f"{why}; {ahead.why}" if why else ahead.why, job)
    return Where(Place.INTERRUPTED if ahead.place is Place.QUEUED else Place.LOST, why, job)


def _job(attempt: Attempt, submitted: Submitted) -> tuple[Job | None, Job | None]:
    """The job that an attempt ran in, and the run of it, as far as Slurm knows them."""
    owner = owner_of(attempt.path)
    job = submitted.report.jobs.get(owner.job) if owner and owner.job else None
    return job, job.run(owner.restart) if job and owner else None


def why_stopped(attempt: Attempt, submitted: Submitted) -> str:
    """Why an attempt that is not done ended; "" if nothing is known of it, as for one that was killed outside of Slurm."""
    owner, end = owner_of(attempt.path), attempt.newest("end")
    group = submitted.group_of(owner.job) if owner else None
    if owner is None or group is None:
        return cause(None, end) if end else ""
    _, run = _job(attempt, submitted)
    last = attempt.newest()
    code = crash(group.submission.path / f"crashes-{owner.job}.txt", run, last["t"] if last else 0.0)
    return cause(run, end, _tail(group.submission.logs(owner.job)), code)


def _tail(logs: Iterable[Path]) -> str:
    return "\n".join(tail(log) for log in logs)
