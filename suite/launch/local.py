"""Run a plan on this machine: Ray Tune packs the missing trials on a bounded number of worker processes."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from suite.config import Trial
from suite.errors import UserError
from suite.launch.pack import SETTINGS, Errors, pack
from suite.launch.plan import Plan, Standing, make_plan
from suite.ledger import Ledger, State
from suite.sweep import Sweep

POLL = 1.0  # seconds between looks at trials that another process is running


@dataclass(frozen=True)
class Workers:
    """How many trials run at once, and the share of a GPU each is given (0: none)."""

    count: int
    gpus: float = 0.0

    @staticmethod
    def of_machine(count: int | None, gpus: float | None) -> Workers:
        """Defaults: with GPUs a worker and a whole GPU for each of them, else a worker for each processor.

        Raises:
            UserError: if a trial is to have more GPUs than there are.
        """
        import torch

        there = torch.cuda.device_count()
        if gpus is None:
            gpus = min(1.0, there / count) if count else min(1.0, there)
        if gpus > there:
            raise UserError(f"--gpus {gpus:g} is more than this machine's {there}; allowed: 0 to {there}")
        return Workers(count or (int(there / gpus) if gpus else usable_processors()), gpus)


def usable_processors() -> int:
    """Processors this process may run on (a container or an allocation may own fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_local(sweep: Sweep, ledger: Ledger, data_root: Path, workers: Workers) -> tuple[Plan, Errors]:
    """Run what is missing until nothing is missing or only failures are left; returns the last plan and what went wrong.

    A trial is tried once per call. Trials that another process is running are waited for, and taken over if it dies.
    """
    errors: Errors = {}
    while True:
        plan = make_plan(sweep, ledger)
        missing = [trial for trial in plan.missing if trial.id not in errors]
        if missing:
            errors |= _run(missing, ledger, data_root, workers)
        elif running := [entry.work for entry in plan.entries if entry.standing == Standing.RUNNING]:
            while all(work.state() is State.RUNNING for work in running):  # less to read than for a plan
                time.sleep(POLL)
        else:
            return plan, errors


def _run(trials: list[Trial], ledger: Ledger, data_root: Path, workers: Workers) -> Errors:
    """Run these trials in worker processes."""
    with _ray(workers) as storage:
        return pack(trials, ledger, data_root, storage, cpus=lambda _: 1, gpus=workers.gpus, at_once=workers.count)


@contextmanager
def _ray(workers: Workers) -> Iterator[Path]:
    """A Ray of our own on the loopback address, with a token nobody else has; yields a folder for Tune's temporary files."""
    os.environ |= {**SETTINGS, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    import ray

    temporary = Path(tempfile.mkdtemp(prefix="slq-"))  # short: the paths of Unix sockets are limited to 107 bytes
    try:
        ray.init(
            address="local",
            num_cpus=workers.count,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100 * 2**20,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(temporary),
        )
        yield temporary / "tune"
    finally:
        ray.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)
