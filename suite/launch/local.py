"""Run a plan on this machine: Ray Tune packs the missing trials on a bounded number of worker processes.

Tune is a packer here, never the record: it is told which trials to run and forgets them; outcomes are in the ledger.
"""

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
from typing import Any

from suite.config import Trial
from suite.errors import UserError
from suite.launch.plan import Plan, Standing, make_plan
from suite.ledger import Ledger
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


Errors = dict[str, str]  # trial id -> what went wrong


def run_local(
    sweep: Sweep, ledger: Ledger, data_root: Path, workers: Workers, *, retry_failed: bool
) -> tuple[Plan, Errors]:
    """Run what is missing until nothing is missing or only failures are left; returns the last plan and what went wrong.

    A trial is tried once per call. Trials that another process is running are waited for, and taken over if it dies.
    """
    errors: Errors = {}
    while True:
        plan = make_plan(sweep, ledger, retry_failed=retry_failed)
        missing = [trial for trial in plan.missing if trial.id not in errors]
        if missing:
            errors |= _run(missing, ledger, data_root, workers)
        elif any(entry.standing == Standing.RUNNING for entry in plan.entries):
            time.sleep(POLL)
        else:
            return plan, errors


def _run(trials: list[Trial], ledger: Ledger, data_root: Path, workers: Workers) -> Errors:
    """Run these trials in worker processes."""
    with _ray(workers) as storage:
        from ray import tune  # only now: Ray reads its environment when it is imported

        work = tune.with_parameters(_work, ledger=ledger, data_root=data_root)
        results = tune.Tuner(
            tune.with_resources(work, {"cpu": 1, "gpu": workers.gpus}),
            param_space={"trial": tune.grid_search([trial.model_dump_json() for trial in trials])},
            tune_config=tune.TuneConfig(max_concurrent_trials=workers.count, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=str(storage), name="pack", verbose=0),
        ).fit()
    reports = [result.metrics for result in results if result.metrics]
    said = {report["trial"]: report["error"] for report in reports if "trial" in report}
    died = "its worker process ended without a word: killed, or out of memory; run again"
    return {trial.id: error for trial in trials if (error := said.get(trial.id, died))}


def _work(config: dict[str, Any], ledger: Ledger, data_root: Path) -> None:
    """One trial in a worker process, which goes on to its next one after an error."""
    from ray import tune

    from suite.trial import run_trial

    trial = Trial.model_validate_json(config["trial"])
    try:
        run_trial(trial, ledger, data_root)
        message = ""
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
    tune.report({"trial": trial.id, "error": message})


@contextmanager
def _ray(workers: Workers) -> Iterator[Path]:
    """A Ray of our own on the loopback address, with a token nobody else has; yields a folder for Tune's temporary files."""
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that is given no GPU sees none
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C reaches us as KeyboardInterrupt
        "RAY_AIR_NEW_OUTPUT": "0",  # its new output ignores verbose=0
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    }
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
