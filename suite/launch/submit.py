"""Plan, show, commit: what would be submitted is a value that can be shown; committing it is safe at any time, and twice.

The order around each `sbatch` is: write the intent, call, write the job id. What a crash leaves between the two is resolved by the
job's unique name at the next call. Nothing here has to be exact for correctness: trials are claimed when they run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.config import Trial
from suite.errors import UserError
from suite.launch import early, queue
from suite.launch.command import NoAnswerError
from suite.launch.frozen import Frozen, freeze
from suite.launch.plan import Plan, make_plan, write_plan
from suite.launch.queue import live
from suite.launch.ray_slurm import RayPack, refuse_unfit
from suite.launch.site import Site
from suite.launch.site_check import array_limits
from suite.launch.slurm import ArrayTask, Chunk, cut
from suite.launch.submission import Backend, Submission, intended, submissions, write
from suite.launch.whereabouts import ask
from suite.ledger import Ledger
from suite.sweep import Sweep

if TYPE_CHECKING:
    from suite.launch.sbatch import Executor

PAUSES = (2.0, 4.0, 8.0, 16.0)  # seconds between calls of Slurm while the controller does not answer
OLD = 600.0  # seconds after which a job that Slurm does not know will not appear any more
LATER = "submit again later; nothing will run twice"
TRANSIENT = ("Unable to contact", "timed out", "Connection refused", "temporarily unable", "Zero Bytes")


@dataclass(frozen=True)
class Proposal:
    """What would be submitted, cut into one chunk per `sbatch` call."""

    ledger: Ledger
    sweep: Sweep
    site: Site
    backend: Backend
    plan: Plan
    queued: int  # missing trials that live jobs are going to run
    chunks: tuple[Chunk, ...]
    gpus_per_trial: float  # of the ray backend; a trial of an array has all of its task
    scheduler: early.Name  # of the ray backend
    probed: Mapping[str, float]  # seconds by trial id, if a probe has run

    @property
    def trials(self) -> list[Trial]:
        return [trial for chunk in self.chunks for trial in chunk.trials]

    def estimate(self) -> str:
        """What it will cost, from finished trials of the same kinds or a probe."""
        seconds = self.plan.seconds(self.trials, self.probed)
        if seconds is None:
            return "unknown until a trial has finished, or with --probe"
        count, unit = (self.site.gpus, "GPU-hours") if self.site.gpus else (self.site.cpus, "CPU-hours")
        return f"{seconds / 3600 * count:.2g} {unit}"

    def texts(self) -> list[str]:
        """What `sbatch` would be given for each chunk; writes nothing."""
        code = Frozen(self.ledger.path / "code" / "TREE", None, False, "TREE")
        unwritten = [intended(self.ledger, c.trials, self.backend, c.tasks, self.site, code) for c in self.chunks]
        return [_executor(s, self, chunk).text() for s, chunk in zip(unwritten, self.chunks, strict=True)]


def propose(
    sweep: Sweep,
    ledger: Ledger,
    site: Site,
    backend: Backend,
    gpus_per_trial: float | None = None,
    scheduler: early.Name = "none",
    probed: Mapping[str, float] | None = None,
) -> Proposal:
    """Look at ledger and queue; changes nothing.

    Raises:
        UserError: if the site cannot give what is asked for.
    """
    share = min(1.0, site.gpus) if gpus_per_trial is None else gpus_per_trial
    if backend == "ray":
        refuse_unfit(site)
    elif gpus_per_trial is not None or scheduler != "none":
        raise UserError(
            "--gpus-per-trial and --scheduler are for --backend ray; in an array a task runs one trial at a time"
        )
    _refuse_what_does_not_fit(sweep, site, share)
    plan, covered = make_plan(sweep, ledger), _covered(ledger)
    missing = [trial for trial in plan.missing if trial.id not in covered]
    chunks = _chunks(missing, plan.seconds(missing, probed), site, backend) if missing else ()
    return Proposal(
        ledger, sweep, site, backend, plan, len(plan.missing) - len(missing), chunks, share, scheduler, probed or {}
    )


def _refuse_what_does_not_fit(sweep: Sweep, site: Site, gpus: float) -> None:
    if gpus > site.gpus:
        raise UserError(f"--gpus-per-trial {gpus:g} is more than gpus = {site.gpus} of site {site.name}; raise that")
    threads = max(trial.threads for trial in sweep.trials)
    if threads > site.cpus:
        raise UserError(
            f"trials of {sweep.name} have {threads} threads, site {site.name} has cpus = {site.cpus}; raise that"
        )


def _covered(ledger: Ledger) -> set[str]:
    """Trials that a waiting or running job will come to. The controller is asked first: accounting lags behind by seconds."""
    past = [each for each in submissions(ledger) if not each.closed]
    try:
        alive = {job.name for job in live([each.job_name for each in past])}
    except NoAnswerError:
        return ask(ledger).expected()
    return {trial for each in past if each.job_name in alive for trial in each.trials}


def _chunks(missing: list[Trial], seconds: float | None, site: Site, backend: Backend) -> tuple[Chunk, ...]:
    if backend == "ray":
        return (Chunk(tuple(missing), 1, 1),)
    return tuple(cut(missing, seconds, site, array_limits(site)))


def commit(proposal: Proposal, data_root: Path, *, allow_dirty: bool) -> Iterator[Submission]:
    """Submit the chunks one by one.

    Raises:
        UserError: if the code is not committed, somebody else is submitting this sweep, or sbatch refuses.
    """
    ledger = proposal.ledger
    if not proposal.chunks:
        return
    code = freeze(ledger.path, allow_dirty=allow_dirty)
    write_plan(proposal.sweep, ledger)
    for chunk in proposal.chunks:
        submission = intended(ledger, chunk.trials, proposal.backend, chunk.tasks, proposal.site, code)
        executor, task = _executor(submission, proposal, chunk), _task(submission, proposal, data_root)
        write(submission, chunk.trials)
        _call(submission, executor, task)
        yield submission


def _executor(submission: Submission, proposal: Proposal, chunk: Chunk) -> Executor:
    """An array of one-node tasks, or one allocation of several nodes."""
    from suite.launch.sbatch import Executor

    if proposal.backend == "array":
        return Executor(submission, proposal.site, tasks=chunk.tasks, parallel=chunk.parallel)
    return Executor(submission, proposal.site, nodes=proposal.site.nodes)


def _task(submission: Submission, proposal: Proposal, data_root: Path) -> Any:
    """What runs there."""
    site, ledger = proposal.site, proposal.ledger
    data = site.data_root or str(data_root)
    if proposal.backend == "ray":
        return RayPack.of(submission, ledger, data, site, proposal.gpus_per_trial, proposal.scheduler)
    scratch = site.scratch if site.stage_data else None
    return ArrayTask(str(submission.path), str(ledger.root), ledger.sweep, data, scratch)


def _call(submission: Submission, executor: Executor, task: Any) -> None:
    """Call sbatch until it says yes or no. A call that failed on its way may have been heard: its job is looked for first."""
    from suite.launch.sbatch import SubmissionError, call

    pauses = iter(PAUSES)
    while True:
        try:
            submission.set_job_id(call(executor, task))
            return
        except SubmissionError as error:
            said = str(error)
        except UserError:
            submission.close("not submitted: there is no sbatch")
            raise
        may_pass = any(words in said for words in TRANSIENT)
        if may_pass:
            _pause(pauses, said)
        if _was_heard(submission, pauses, said):
            return
        if not may_pass:
            submission.close(f"refused by sbatch: {said}")
            raise UserError(f"sbatch refused the job: {said}\nsee: slq site check {submission.site}")


def _was_heard(submission: Submission, pauses: Iterator[float], said: str) -> bool:
    """Whether a call of sbatch that failed made the job all the same; as long as the controller is silent, nobody can know."""
    while True:
        try:
            return bool(_found([submission]))
        except NoAnswerError:
            _pause(pauses, said)


def _pause(pauses: Iterator[float], said: str) -> None:
    seconds = next(pauses, None)
    if seconds is None:
        raise UserError(f"Slurm's controller does not answer: {said}\n{LATER}")
    time.sleep(seconds)


def resolve(past: Sequence[Submission]) -> list[Submission]:
    """Find the jobs of intents that have no job id, by their unique names, and record them; returns those that were found.

    Of old ones that Slurm does not know no job was made; should it appear all the same, `slq cancel` finds it by its name.

    Raises:
        UserError: if the controller does not answer.
    """
    unknown = [each for each in past if each.job_id is None and not each.closed]
    try:
        found = _found(unknown)
    except NoAnswerError as error:
        raise UserError(f"Slurm's controller does not answer: {error}\n{LATER}") from None
    for each in unknown:
        if each not in found and time.time() - each.created > OLD:
            each.close("no job was made: its submission was cut off")
    return found


def _found(unknown: Sequence[Submission]) -> list[Submission]:
    """Those of these submissions of which Slurm knows the job; its id is recorded."""
    if not unknown:
        return []
    jobs = _jobs_named([each.job_name for each in unknown], since=min(each.created for each in unknown))
    found = [each for each in unknown if each.job_name in jobs]
    for each in found:
        each.set_job_id(jobs[each.job_name])
    return found


def _jobs_named(names: list[str], since: float) -> dict[str, str]:
    """Job id of each name that Slurm knows: the controller has the live ones, accounting, if there is any, the ended ones, too."""
    jobs = [(job.name, job.id) for job in live(names)]
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 60))
    options = ["-X", "-n", "-P", "--format=JobName,JobID", f"--name={','.join(names)}", f"--starttime={start}"]
    with suppress(NoAnswerError):
        lines = [line.rpartition("|") for line in queue.ask(["sacct", *options]).splitlines()]
        jobs = [*((name, job) for name, _, job in lines), *jobs]
    return {name: job.partition("_")[0] for name, job in jobs if name in names}
