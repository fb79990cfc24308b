"""Cancel the jobs of a sweep, or the one that runs a trial. Only jobs that have the name of a submission are touched."""

from __future__ import annotations

from collections.abc import Sequence

from suite.errors import UserError
from suite.launch import queue
from suite.launch.command import NoAnswerError
from suite.launch.queue import Job
from suite.launch.submission import Submission, alone, submissions
from suite.ledger import Ledger, Work


def cancel_all(ledger: Ledger) -> list[str]:
    """Cancel all that waits or runs of the sweep, with two calls of Slurm; returns the ids of the jobs.

    A submission whose job is not known is closed, too. Should its sbatch be heard later, its job is found here by its name again.

    Raises:
        UserError: if Slurm does not answer or refuses; then nothing is recorded, and the same command may be given again.
    """
    with alone(ledger):
        past = submissions(ledger)
        found = {job.id.partition("_")[0]: job.name for job in _live(past)}
        _scancel(list(found))
        for each in past:
            if not each.closed and (each.job_name in found.values() or each.job_id is None):
                each.close("cancelled")
    return list(found)


def cancel_trial(ledger: Ledger, work: Work) -> str:
    """Cancel the array task that runs this trial now; returns its id. Other tasks of the array may take the trial up again.

    Raises:
        UserError: if no array task runs it, or Slurm does not answer or refuses.
    """
    attempt = work.newest_attempt()
    job = attempt.job() if attempt and attempt.is_live() else ""
    owner = next((each for each in submissions(ledger) if job and each.job_id == job.partition("_")[0]), None)
    if owner is None:
        raise UserError(f"{work.id} does not run in a job of this sweep; without a trial, slq cancel cancels all jobs")
    if owner.backend == "ray":
        raise UserError(f"job {job} runs this trial together with others; without a trial, slq cancel cancels all jobs")
    if job not in {each.id for each in _live([owner])}:
        raise UserError(f"job {job}, which ran {work.id}, is over; see: slq status")
    _scancel([job])
    return job


def _live(found: Sequence[Submission]) -> list[Job]:
    """Jobs of these submissions that wait or run. The controller is asked, and by names: it knows even those that we do not."""
    try:
        return queue.live([each.job_name for each in found])
    except NoAnswerError as error:
        raise UserError(f"nothing was cancelled, as Slurm does not answer: {error}") from None


def _scancel(jobs: Sequence[str]) -> None:
    try:
        if jobs:
            queue.ask(["scancel", *jobs])
    except NoAnswerError as error:
        raise UserError(f"not all jobs were cancelled: {error}; give the same command again") from None
