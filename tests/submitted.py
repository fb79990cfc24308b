"""Sweeps that were submitted, written file by file, so that tests can put them into any state without running anything."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from suite.config import Trial
from suite.launch.queue import Job, Report
from suite.launch.submission import Submission
from suite.ledger import Ledger, Work
from suite.sweep import Sweep
from tests.conftest import SHORT

Event = dict[str, Any]
ELSEWHERE = "n1:another boot"  # the machine of an owner of whose life only its claim tells


def trial(seed: int, **settings: Any) -> Trial:
    return Trial.model_validate({**SHORT, "method": {"name": "kmeans", "bits": 3}, "seed": seed, **settings})


@dataclass
class Scene:
    """A sweep of so many trials in a ledger, and what Slurm says of its jobs."""

    ledger: Ledger
    count: int
    jobs: dict[str, Job] = field(default_factory=dict)
    calls: int = 0

    def __post_init__(self) -> None:
        self.trials = tuple(trial(seed) for seed in range(self.count))
        self.sweep = Sweep(self.ledger.sweep, "", self.trials)

    def work(self, seed: int) -> Work:
        return self.ledger.trial(self.trials[seed].id)

    def submit(
        self, token: str, job: str | None, seeds: range, tasks: int | None = None, backend: str = "array", **intent: Any
    ) -> Submission:
        """A submission of these trials, with an array task for each of them unless told otherwise."""
        path = self.ledger.path / "submissions" / token
        (path / "log").mkdir(parents=True)
        count = 1 if backend == "ray" else tasks or len(seeds)
        written = {"schema": 1, "token": token, "job_name": f"slq-{token}", "backend": backend, "site": "here"}
        written |= {"created": time.time(), "tasks": count, "trials": [self.trials[seed].id for seed in seeds]}
        (path / "submission.json").write_text(json.dumps({**written, "gpus": 0, "cpus": 1, **intent}))
        submission = Submission.at(path)
        if job is not None:
            submission.set_job_id(job)
        return submission

    def slurm(self, identity: str, token: str, state: str, **facts: Any) -> Job:
        """Let Slurm say this of a job or array task."""
        self.jobs[identity] = Job(identity, f"slq-{token}", state, **facts)
        return self.jobs[identity]

    def ask(self, names: object, *, steps: bool = False) -> Report:
        self.calls += 1
        return Report(dict(self.jobs), "sacct")

    def attempt(self, seed: int, job: str = "", *events: Event, restart: int = 0, live: bool = True) -> None:
        """The next attempt at a trial."""
        write_attempt(self.work(seed), job, *events, restart=restart, live=live)

    def done(self, seed: int, **result: Any) -> None:
        write_result(self.work(seed), **result)


def write_attempt(work: Work, job: str, *events: Event, restart: int = 0, live: bool = True) -> None:
    path = work.path / "attempts" / str(len(work.attempts()) + 1)
    path.mkdir(parents=True)
    owner = {"host": ELSEWHERE, "pid": 1, "born": "1", "job": job, "restart": restart}
    (path / "claim.json").write_text(json.dumps({"owner": owner, "expires": time.time() + (100 if live else -1)}))
    (path / "events.jsonl").write_text("".join(json.dumps({"t": 0.0, **event}) + "\n" for event in events))
    (path / "log.txt").write_text("")


def write_result(work: Work, **result: Any) -> None:
    work.path.mkdir(parents=True, exist_ok=True)
    (work.path / "result.json").write_text(json.dumps({"schema": 1, **result}))


def start(t: float = 0.0) -> Event:
    return {"event": "start", "attempt": 1, "t": t}


def end(outcome: str, error: str = "", t: float = 0.0) -> Event:
    return {"event": "end", "outcome": outcome, "error": error, "t": t}


def point(step: int, steps: int, t: float = 0.0, **fields: Any) -> Event:
    """A point of the training curve."""
    return {"event": "train", "step": step, "steps": steps, "loss": 0.25, "accuracy": 0.9, "t": t, **fields}
