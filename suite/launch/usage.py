"""What a sweep cost on the cluster, and what of it came to something: from one call of sacct and the ledger.

For each submission and in total:

* **CPU-hours, GPU-hours**: processors and GPUs that Slurm gave, times how long, over all runs of all jobs; a job that was requeued
  has several runs. Jobs that run now count up to now.
* **hours**: the same in trials at work side by side. An array task is one; a Ray allocation is as many as trials fit on its CPUs.
* **in results**: hours of training that results rest on (`cost.wall_seconds` of results, which counts up to the checkpoints that
  were resumed from), of trials and of the baselines made on the way. For a trial of several attempts the newest come first.
* **under way**: hours of the attempts of trials that are neither done nor failed; some of it may turn out to be lost.
* **wasted**: the rest: starting up, waiting for somebody's baseline, work after the last checkpoint that was done again, failed
  trials, tasks that found nothing to do, idle places of a Ray allocation.
* **CPU efficiency**: processor time that was used (sacct's TotalCPU) over that given, of the runs that have ended and for which
  Slurm has it; it is lost with a node, for example.

Without accounting there are only the attempts in the ledger: their hours, from first to last event, times what a task asked for.
Starting up and idle places are not seen then, and the efficiency is that of finished trials.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import chain, islice
from typing import Any

from rich.table import Table

from suite.errors import UserError
from suite.launch.queue import Job, Report, look
from suite.launch.submission import Submission, submissions
from suite.ledger import BASELINES, Attempt, Event, Ledger, State, Work, in_words

HOUR = 3600.0


@dataclass(frozen=True)
class Usage:
    """Figures of one submission, or of several. All but `runs` are hours; see the text above."""

    runs: int = 0
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    hours: float = 0.0
    in_results: float = 0.0
    under_way: float = 0.0
    cpu_used: float = 0.0
    cpu_given: float = 0.0  # where `cpu_used` is known

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Usage)))

    @property
    def wasted(self) -> float:
        return max(0.0, self.hours - self.in_results - self.under_way)

    @property
    def wasted_share(self) -> float | None:
        return self.wasted / self.hours if self.hours else None

    @property
    def efficiency(self) -> float | None:
        return self.cpu_used / self.cpu_given if self.cpu_given else None


@dataclass(frozen=True)
class Bill:
    """The usage of a sweep."""

    rows: tuple[tuple[Submission, Usage], ...]
    problem: str = ""  # why there is no accounting; the figures are then the ledger's
    unreadable: tuple[str, ...] = ()  # what is wrong with the trials and baselines that are left out

    @property
    def total(self) -> Usage:
        return sum((usage for _, usage in self.rows), Usage())


@dataclass(frozen=True)
class Stint:
    """One attempt at a trial or baseline, in hours; `job` is that of the submission, without array task."""

    job: str
    hours: float
    in_results: float = 0.0
    under_way: float = 0.0
    cpu_used: float = 0.0
    threads: int = 1


def bill(ledger: Ledger, asker: Callable[..., Report] = look) -> Bill:
    """Usage of every submission of the sweep whose job is known."""
    known = [each for each in submissions(ledger) if each.job_id]
    if not known:
        return Bill(())
    report = asker({str(each.job_id): each.job_name for each in known}, steps=True)
    readable, unreadable = _read(_works(ledger, known))
    stints = _by_job(readable)
    if report.source == "sacct":
        rows = ((each, from_accounting(each, report.jobs, stints.get(str(each.job_id), []))) for each in known)
        return Bill(tuple(rows), unreadable=unreadable)
    rows = ((each, from_ledger(each, stints.get(str(each.job_id), []))) for each in known)
    return Bill(tuple(rows), report.problem, unreadable)


def from_accounting(submission: Submission, jobs: Mapping[str, Job], stints: Iterable[Stint]) -> Usage:
    """Of one submission, from Slurm's records and what the attempts in its jobs came to."""
    there = (jobs[identity] for identity in submission.job_ids() if identity in jobs)
    runs = [run for job in there for run in job.runs()]
    threads = max((stint.threads for stint in stints), default=1)
    whole = sum((_of_run(run, _places(submission, run, threads)) for run in runs), Usage())
    return whole + sum((Usage(in_results=each.in_results, under_way=each.under_way) for each in stints), Usage())


def _of_run(run: Job, places: float) -> Usage:
    hours = run.elapsed / HOUR
    known = run.end is not None and run.cpu_seconds > 0
    return Usage(
        runs=int(run.start is not None),
        cpu_hours=hours * run.cpus,
        gpu_hours=hours * run.gpus,
        hours=hours * places,
        cpu_used=run.cpu_seconds / HOUR if known else 0.0,
        cpu_given=hours * run.cpus if known else 0.0,
    )


def _places(submission: Submission, run: Job, threads: int) -> float:
    """How many trials fit at once."""
    return max(1.0, run.cpus / threads) if submission.backend == "ray" else 1.0


def from_ledger(submission: Submission, stints: Iterable[Stint]) -> Usage:
    """Of one submission, from its attempts alone."""
    array = submission.backend == "array"
    return sum((_of_stint(each, submission.intent, array) for each in stints), Usage())


def _of_stint(stint: Stint, intent: Mapping[str, Any], array: bool) -> Usage:
    cpus = intent["cpus"] if array else stint.threads
    return Usage(
        runs=1,
        cpu_hours=stint.hours * cpus,
        gpu_hours=stint.hours * intent["gpus"] if array else 0.0,
        hours=stint.hours,
        in_results=stint.in_results,
        under_way=stint.under_way,
        cpu_used=stint.cpu_used,
        cpu_given=stint.in_results * cpus if stint.cpu_used else 0.0,
    )


# The ledger's side


def _works(ledger: Ledger, known: Iterable[Submission]) -> Iterator[Work]:
    """The trials of these submissions, and all baselines of the root."""
    yield from (ledger.trial(each) for each in dict.fromkeys(chain.from_iterable(s.trials for s in known)))
    folder = ledger.root / BASELINES
    yield from (Work(path) for path in sorted(folder.iterdir()) if path.is_dir()) if folder.is_dir() else ()


def _read(works: Iterable[Work]) -> tuple[list[Stint], tuple[str, ...]]:
    """Their attempts, and what is wrong with those of which nothing can be read."""
    from suite.report.frame import DAMAGED  # imports pandas

    stints: list[Stint] = []
    problems: list[str] = []
    for work in works:
        try:
            stints += list(_stints(work))
        except DAMAGED as error:
            problems.append(f"{work.id}: {in_words(error)}")
    return stints, tuple(problems)


def _stints(work: Work) -> Iterator[Stint]:
    """The attempts that ran in jobs. What a result rests on is given to the newest attempt first, as far as its time goes."""
    result, attempts = work.result(), work.attempts()
    open_ = result is None and bool(attempts) and work.state() is not State.FAILED
    cost = result["cost"] if result else {"wall_seconds": 0.0, "cpu_seconds": 0.0}
    left, share = cost["wall_seconds"] / HOUR, cost["cpu_seconds"] / cost["wall_seconds"] if cost["wall_seconds"] else 0
    threads = work.config().get("threads", 1)
    for attempt in reversed(attempts):
        hours = _hours(attempt)
        kept = min(left, hours)
        left -= kept
        if job := attempt.job().partition("_")[0]:
            yield Stint(job, hours, kept, hours if open_ else 0.0, kept * share, threads)


def _hours(attempt: Attempt) -> float:
    """From its start to its newest event; what passed before a trial had its baseline is the baseline's own, or waiting."""
    first, newest = _begin(attempt), attempt.newest()
    return (newest["t"] - first["t"]) / HOUR if first and newest else 0.0


def _begin(attempt: Attempt) -> Event | None:
    """Its first event, or the second one if that names the baseline. Does not read a long file. Raises `UserError` for others."""
    path = attempt.path / "events.jsonl"
    try:
        with path.open("rb") as file:
            events: list[Event] = [json.loads(line) for line in islice(file, 2)]
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    if not all(isinstance(event, dict) for event in events):
        raise UserError(f"{path} is damaged (its first lines are no events); restore it")
    return next((event for event in events if event["event"] == "baseline"), events[0] if events else None)


def _by_job(stints: Iterable[Stint]) -> dict[str, list[Stint]]:
    found: dict[str, list[Stint]] = {}
    for stint in stints:
        found.setdefault(stint.job, []).append(stint)
    return found


# Showing


def table(made: Bill) -> Table:
    """For the terminal; hours with two digits."""
    shown = Table(box=None, padding=(0, 2), pad_edge=False, header_style="bold")
    for column in ("job", "backend"):
        shown.add_column(column)
    for column in ("runs", "GPU-hours", "CPU-hours", "hours", "in results", "under way", "wasted", "CPU efficiency"):
        shown.add_column(column, justify="right")
    for submission, usage in made.rows:
        shown.add_row(str(submission.job_id), submission.backend, *_cells(usage))
    shown.add_row("total", "", *_cells(made.total), style="bold")
    return shown


def _cells(usage: Usage) -> tuple[str, ...]:
    hours = (usage.gpu_hours, usage.cpu_hours, usage.hours, usage.in_results, usage.under_way)
    return (str(usage.runs), *map(_number, hours), _share(usage.wasted_share), _share(usage.efficiency))


def _number(hours: float) -> str:
    return f"{hours:.0f}" if hours >= 100 else f"{hours:.2g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
