"""The process that hands trials to the Ray of an allocation; it runs on the first node, beside Ray's head.

It is a process of its own, so that the task that started it can always end it, and Submitit's signal handling is not Ray's.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from suite.claim import slurm_job
from suite.config import Trial
from suite.errors import UserError
from suite.launch.early import Early, was_stopped_early
from suite.launch.meeting import Meeting
from suite.launch.pack import DIED, NO_SPACE, STOP_FILE, Errors, pack
from suite.launch.plan import is_missing
from suite.launch.submission import Submission
from suite.launch.worker import DISK_FULL
from suite.ledger import Ledger, State

POLL = 0.5
MAX_DEATHS = 3  # times that a trial's worker process may die in one run of the job
REFUSED = 2  # exit code


@dataclass(frozen=True)
class Drive:
    """What the driver is told, as JSON on its command line."""

    submission: str
    root: str
    sweep: str
    data_root: str
    gpus_per_trial: float
    scheduler: str
    meeting: str
    address: str
    nodes: int
    start_limit: float  # seconds for all nodes to come up

    def command(self) -> list[str]:
        return [sys.executable, "-m", "suite.launch.ray_driver", json.dumps(asdict(self))]


def main() -> None:
    """Entry point."""
    drive = Drive(**json.loads(sys.argv[1]))
    try:
        errors = run(drive)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(REFUSED)
    for trial, message in errors.items():
        print(f"not done: {trial}: {message}", flush=True)
    if any(message.startswith(NO_SPACE) for message in errors.values()):
        sys.exit(DISK_FULL)


def run(drive: Drive) -> Errors:
    """Bring the submission's trials to their ends, as far as nobody else does; returns what went wrong."""
    import ray

    ray.init(address=drive.address, log_to_driver=False, logging_level=logging.ERROR)
    nodes = _await_nodes(drive)
    trials = Submission.at(Path(drive.submission)).whole_trials()
    _refuse_what_fits_nowhere(trials, drive.gpus_per_trial, nodes)
    return pack_all(trials, Ledger(Path(drive.root), drive.sweep), drive)


def _await_nodes(drive: Drive) -> list[dict[str, Any]]:
    """The living nodes once all are in. Raises `RuntimeError` with what the missing ones say."""
    import ray

    end = time.monotonic() + drive.start_limit
    meeting = Meeting(Path(drive.meeting))
    while True:
        living = [node for node in ray.nodes() if node["Alive"]]
        if len(living) >= drive.nodes:
            return living
        failures = meeting.failures()
        if failures or time.monotonic() > end:
            said = "".join(f"\n--- node {rank}:\n{text}" for rank, text in failures.items())
            raise RuntimeError(f"{len(living)} of {drive.nodes} nodes came up within {drive.start_limit:g} s{said}")
        time.sleep(POLL)


def _refuse_what_fits_nowhere(trials: Iterable[Trial], gpus: float, nodes: list[dict[str, Any]]) -> None:
    """Ray would wait for ever for a node that is large enough."""
    offers = [(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)) for node in nodes]
    for trial in trials:
        if not any(cpus >= trial.threads and there >= gpus for cpus, there in offers):
            has = ", ".join(sorted({f"{cpus:g} CPUs and {there:g} GPUs" for cpus, there in offers}))
            raise UserError(
                f"{trial.id} needs {trial.threads} CPUs and {gpus:g} GPUs on one node; the nodes of the job have {has}: "
                "ask for more in the site's profile"
            )


def pack_all(trials: Sequence[Trial], ledger: Ledger, drive: Drive) -> Errors:
    """Run what is missing until all is done, running elsewhere, or given up. A trial whose worker process dies is tried again."""
    errors: Errors = {}
    deaths: Counter[str] = Counter()
    early = Early.of(drive.scheduler, Path(drive.meeting) / "stopped-early")
    storage = Path(os.environ[STOP_FILE]).with_name("tune")
    while True:
        left = [trial for trial in trials if trial.id not in errors]
        missing = [trial for trial in left if _is_wanted(trial, ledger)]
        if missing:
            data_root, gpus = Path(drive.data_root), drive.gpus_per_trial
            said = pack(missing, ledger, data_root, storage, cpus=_threads, gpus=gpus, early=early)
            died = [trial for trial, message in said.items() if message == DIED]
            deaths.update(died)
            errors |= {trial: said[trial] for trial in said if trial not in died or deaths[trial] >= MAX_DEATHS}
        elif any(ledger.trial(trial).state() is State.RUNNING for trial in deaths if trial not in errors):
            time.sleep(POLL)  # the claim of a process that died on another node has yet to expire
        else:
            return errors


def _is_wanted(trial: Trial, ledger: Ledger) -> bool:
    """Whether it is missing, and has not been given up by the scheduler in an earlier run of this job."""
    work = ledger.trial(trial.id)
    attempt = work.newest_attempt()
    given_up = attempt is not None and attempt.job() == slurm_job()[0] and was_stopped_early(work)
    return is_missing(work, trial.canonical()) and not given_up


def _threads(trial: Trial) -> int:
    return trial.threads


if __name__ == "__main__":
    main()
