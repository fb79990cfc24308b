"""Plan, show, commit: what would be submitted is a value that can be shown; committing it is safe at any time, and twice.

The order around each `sbatch` is: write the intent, call, write the job id. What a crash leaves between the two is resolved by the
job's unique name at the next call. Nothing here has to be exact for correctness: trials are claimed when they run.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from suite.config import Trial
from suite.errors import UserError
from suite.launch.frozen import Frozen, freeze
from suite.launch.plan import Plan, make_plan, write_plan
from suite.launch.ray_slurm import RayPack
from suite.launch.site import Site
from suite.launch.site_check import array_limits
from suite.launch.slurm import ArrayTask, Chunk, cut
from suite.launch.submission import Backend, Submission, create, intended
from suite.launch.whereabouts import ask
from suite.ledger import Ledger
from suite.sweep import Sweep

if TYPE_CHECKING:
    from suite.launch.sbatch import Executor

LOCK = 120  # seconds to wait for another submission of the sweep
ATTEMPTS = 4  # calls of sbatch while the controller does not answer
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

    @property
    def trials(self) -> list[Trial]:
        return [trial for chunk in self.chunks for trial in chunk.trials]

    def estimate(self) -> str:
        """What it will cost, from finished trials of the same kinds."""
        seconds = self.plan.seconds(self.trials)
        if seconds is None:
            return "unknown until a trial has finished"
        count, unit = (self.site.gpus, "GPU-hours") if self.site.gpus else (self.site.cpus, "CPU-hours")
        return f"{seconds / 3600 * count:.2g} {unit}"

    def texts(self) -> list[str]:
        """What `sbatch` would be given for each chunk; writes nothing."""
        code = Frozen(self.ledger.path / "code" / "TREE", None, False, "TREE")
        unwritten = [intended(self.ledger, c.trials, self.backend, c.tasks, self.site, code) for c in self.chunks]
        return [_executor(s, self, chunk).text() for s, chunk in zip(unwritten, self.chunks, strict=True)]


def propose(
    sweep: Sweep, ledger: Ledger, site: Site, backend: Backend, gpus_per_trial: float | None = None
) -> Proposal:
    """Look at ledger and queue; changes nothing."""
    if gpus_per_trial is not None and backend != "ray":
        raise UserError("--gpus-per-trial is for --backend ray; in an array each task has the GPUs of the site profile")
    share = min(1.0, site.gpus) if gpus_per_trial is None else gpus_per_trial
    plan, covered = make_plan(sweep, ledger), ask(ledger).expected()
    missing = [trial for trial in plan.missing if trial.id not in covered]
    chunks = _chunks(missing, plan, site, backend) if missing else ()
    return Proposal(ledger, sweep, site, backend, plan, len(plan.missing) - len(missing), chunks, share)


def _chunks(missing: list[Trial], plan: Plan, site: Site, backend: Backend) -> tuple[Chunk, ...]:
    if backend == "ray":
        return (Chunk(tuple(missing), 1, 1),)
    return tuple(cut(missing, plan.seconds(missing), site, array_limits(site)))


def commit(proposal: Proposal, data_root: Path, *, allow_dirty: bool) -> Iterator[Submission]:
    """Submit the chunks one by one.

    Raises:
        UserError: if the code is not committed, somebody else is submitting this sweep, or sbatch refuses.
    """
    ledger = proposal.ledger
    write_plan(proposal.sweep, ledger)
    code = freeze(ledger.path, allow_dirty=allow_dirty)
    for chunk in proposal.chunks:
        submission = create(ledger, chunk.trials, proposal.backend, chunk.tasks, proposal.site, code)
        _call(submission, _executor(submission, proposal, chunk), _task(submission, proposal, data_root))
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
        return RayPack.of(submission, ledger, data, site, proposal.gpus_per_trial)
    scratch = site.scratch if site.stage_data else None
    return ArrayTask(str(submission.path), str(ledger.root), ledger.sweep, data, scratch)


def _call(submission: Submission, executor: Executor, task: Any) -> None:
    """Call sbatch until it says yes or no. A call that failed on its way may have been heard: its job is looked for first."""
    from suite.launch.sbatch import SubmissionError, call

    for attempt in range(ATTEMPTS):
        try:
            submission.set_job_id(call(executor, task))
            return
        except SubmissionError as error:
            message = str(error)
        if resolve([submission]):
            return
        if not any(words in message for words in TRANSIENT):
            submission.close(f"refused by sbatch: {message}")
            raise UserError(f"sbatch refused the job: {message}\nsee: slq site check {submission.site}")
        time.sleep(2.0 ** (attempt + 1))
    raise UserError(f"Slurm's controller does not answer: {message}\nsubmit again later; nothing will run twice")


def resolve(past: Sequence[Submission]) -> list[Submission]:
    """Find the jobs of intents that have no job id, by their unique names, and record them; returns those that were found."""
    unknown = {each.job_name: each for each in past if each.job_id is None and not each.closed}
    if not unknown:
        return []
    jobs = _jobs_named(list(unknown), since=min(each.created for each in unknown.values()))
    for name, job in jobs.items():
        unknown[name].set_job_id(job)
    return [unknown[name] for name in jobs]


def _jobs_named(names: list[str], since: float) -> dict[str, str]:
    """Job id of each name that Slurm knows: squeue has the live ones, sacct the ended ones too if there is accounting."""
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 60))
    wanted = f"--name={','.join(names)}"
    found = _ids(["squeue", "--noheader", wanted, "--format=%F|%j"])
    found |= _ids(["sacct", "-X", "-n", "-P", "--format=JobID,JobName", wanted, f"--starttime={start}"])
    return {name: job.partition("_")[0] for name, job in found.items() if name in names}


def _ids(command: list[str]) -> dict[str, str]:
    """Job ids by name from lines `id|name`; nothing if the command fails."""
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return {name: job for job, _, name in (line.partition("|") for line in output.splitlines())}


@contextmanager
def alone(ledger: Ledger) -> Iterator[None]:
    """Keep a second `slq submit` of the sweep waiting: two at once would be harmless, but would queue the same trials twice."""
    ledger.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(ledger.path / "submit.lock", timeout=LOCK):
            yield
    except Timeout:
        raise UserError(f"another slq submit has been at this sweep for {LOCK} s; wait for it, and try again") from None
