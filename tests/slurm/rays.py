"""Sweeps of the ray backend on a real cluster: slow ones, their processes, and what must be left of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from suite.ledger import State, Work
from tests.slurm.dev_cluster import DevCluster, until
from tests.slurm.sweeps import ClusterSweep, prepare

DEFAULTS = """
defaults:
  network: lenet5
  data: digits
  baseline: {epochs: 1, batch_size: 128}
  retrain: {epochs: 2, batch_size: 128}
  holdout: 64
  runtime: {log_steps: 2, checkpoint_seconds: 0.5}
"""
FOUR = DEFAULTS + "grid:\n  - {method: [{name: slq, bits: 3, partition: magnitude}], seed: [0, 1, 2, 3]}\n"
SLOW = 0.5  # seconds a step: a trial of FOUR then trains for 9 seconds, its baseline for 5
PATIENCE = 600  # seconds; on two slow processors that do other things, Ray on four nodes takes minutes to start


def start_slowly(folder: Path, cluster: DevCluster) -> ClusterSweep:
    """Four slow trials, submitted to two nodes of two processors, of which at least two are training now."""
    sweep = prepare(folder, cluster, FOUR, step_seconds=SLOW, nodes=2, cpus=2)
    sweep.submit("--backend", "ray")
    until(lambda: len(training(sweep)) >= 2, "two trials are training", PATIENCE)
    return sweep


def works(sweep: ClusterSweep) -> list[Work]:
    return [sweep.ledger.trial(trial.id) for trial in sweep.sweep.trials]


def training(sweep: ClusterSweep) -> list[Work]:
    """Trials that have saved a checkpoint and go on."""
    return [work for work in works(sweep) if work.state() is State.RUNNING and work.checkpoint.exists()]


def processes(job: str) -> Iterator[Path]:
    """All of the job, Slurm's own ones on its nodes not included."""
    for folder in Path("/proc").glob("[0-9]*"):
        if f"SLURM_JOB_ID={job}\0" in variables(folder):
            yield folder


def variables(process: Path) -> str:
    try:
        return (process / "environ").read_text(errors="replace")
    except OSError:
        return ""


def find(job: str, name: str, *containing: str) -> int:
    """The job's one process of that name with all these texts in its environment."""
    found = [
        int(folder.name)
        for folder in processes(job)
        if name in (folder / "cmdline").read_text() and all(text in variables(folder) for text in containing)
    ]
    assert len(found) == 1, found
    return found[0]


def left(job: str) -> list[Path]:
    return [*processes(job), *Path("/tmp").glob(f"slq-{job}-*")]


def assert_nothing_left(sweep: ClusterSweep, job: str) -> None:
    until(lambda: not left(job), "no process and no folder of the job is left", 30)
    assert not list(sweep.root.glob("**/head.json")), "the token of an ended Ray is of no use to anybody"


def assert_runs(cluster: DevCluster, job: str, *states: str) -> None:
    """So the job's runs ended; accounting lags a little behind."""
    until(lambda: cluster.states(job) == list(states), f"the runs of {job} ended {', '.join(states)}", 60)


def assert_tried(sweep: ClusterSweep, times: Callable[[int], bool]) -> None:
    assert all(times(len(work.attempts())) for work in works(sweep)), [len(work.attempts()) for work in works(sweep)]
