"""The ray backend on a real cluster: packed over nodes, warned, cancelled, and with parts of it killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from suite.files import read_json
from suite.ledger import Ledger, State, Work
from tests.slurm.dev_cluster import DevCluster, until
from tests.slurm.sweeps import ClusterSweep, assert_one_after_the_other, assert_same, prepare, undisturbed

pytestmark = pytest.mark.slow

DEFAULTS = """
defaults:
  network: lenet5
  data: digits
  baseline: {epochs: 1, batch_size: 128}
  retrain: {epochs: 2, batch_size: 128}
  holdout: 64
  runtime: {log_steps: 2, checkpoint_seconds: 0.5}
"""
EIGHT = DEFAULTS + "grid:\n  - {method: [{name: kmeans, bits: 3}, {name: slq, bits: 3}], seed: [0, 1, 2, 3]}\n"
FOUR = DEFAULTS + "grid:\n  - {method: [{name: slq, bits: 3, partition: magnitude}], seed: [0, 1, 2, 3]}\n"
SLOW = 0.5  # seconds a step: a trial of FOUR then trains for 9 seconds, its baseline for 5
PATIENCE = 240  # seconds; on two processors that do other things, Ray on four nodes takes a minute to start


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return undisturbed(tmp_path_factory.mktemp("here") / "eight", EIGHT)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return undisturbed(tmp_path_factory.mktemp("here") / "four", FOUR)


@pytest.fixture
def slow_sweep(tmp_path: Path, slurm_env: DevCluster) -> ClusterSweep:
    """Four slow trials, submitted to two nodes of two processors, of which at least two are training now."""
    sweep = prepare(tmp_path / "slow", slurm_env, FOUR, step_seconds=SLOW, nodes=2, cpus=2)
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


def nodes(sweep: ClusterSweep) -> set[str]:
    """Where trials were run."""
    return {attempt.provenance()["slurm"]["SLURMD_NODENAME"] for work in works(sweep) for attempt in work.attempts()}


def gpus(sweep: ClusterSweep) -> set[str]:
    """What trials saw of them."""
    return {attempt.provenance()["cuda_visible_devices"] for work in works(sweep) for attempt in work.attempts()}


def assert_tried(sweep: ClusterSweep, times: Callable[[int], bool]) -> None:
    assert all(times(len(work.attempts())) for work in works(sweep)), [len(work.attempts()) for work in works(sweep)]


def test_two_rays_share_a_cluster_and_do_every_trial_once(
    tmp_path: Path, slurm_env: DevCluster, eight: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # somebody else's
    with_gpus = prepare(tmp_path / "gpus", slurm_env, EIGHT, nodes=2, cpus=2, gpus=2, partition="gpu")
    with_gpus.submit("--backend", "ray", "--gpus-per-trial", "0.5")
    without = prepare(tmp_path / "cpus", slurm_env, EIGHT, nodes=4, cpus=1)
    without.submit("--backend", "ray")
    for sweep in (with_gpus, without):
        sweep.wait(PATIENCE)
        slurm_env.wait(sweep.job(), "COMPLETED")
        assert_tried(sweep, lambda times: times == 1)
        assert_same(sweep.ledger, eight, sweep.sweep)
        assert_nothing_left(sweep, sweep.job())
    assert nodes(with_gpus) == {"n1", "n2"}
    assert len(nodes(without)) > 1
    assert gpus(with_gpus) <= {"0", "1"}
    assert gpus(without) == {""}


def test_warned_saves_goes_back_to_the_queue_and_goes_on(
    slow_sweep: ClusterSweep, slurm_env: DevCluster, four: Ledger
) -> None:
    job, at_work = slow_sweep.job(), training(slow_sweep)
    slurm_env.command("scancel", "--signal=USR2", job)
    slow_sweep.wait(PATIENCE)
    assert_runs(slurm_env, job, "REQUEUED", "COMPLETED")
    for work in at_work:
        first, *_ = work.attempts()
        end = first.newest("end")
        assert end is not None
        assert end["outcome"] == "interrupted", "it stopped by itself"
        assert end["error"] == "preempted or out of time (SIGUSR2)"
        assert "resuming at" in work.attempts()[1].log()
    assert_tried(slow_sweep, lambda times: times <= 2)
    assert_same(slow_sweep.ledger, four, slow_sweep.sweep)
    assert_one_after_the_other(slow_sweep.ledger, slow_sweep.sweep)
    assert_nothing_left(slow_sweep, job)


def test_cancelled_saves_and_leaves_nothing(slow_sweep: ClusterSweep, slurm_env: DevCluster) -> None:
    job, at_work = slow_sweep.job(), training(slow_sweep)
    slurm_env.command("scancel", job)
    assert_nothing_left(slow_sweep, job)
    for work in at_work:
        assert work.state() is State.LOST, "nobody has to wait for its claim to expire"
        assert work.why_failed() == "terminated (SIGTERM)"
    assert_runs(slurm_env, job, "CANCELLED")


def test_a_killed_trial_and_a_killed_node_cost_only_the_work_since_the_last_checkpoint(
    slow_sweep: ClusterSweep, slurm_env: DevCluster, four: Ledger
) -> None:
    job, victim = slow_sweep.job(), training(slow_sweep)[0]
    attempt = victim.newest_attempt()
    assert attempt is not None
    os.kill(read_json(attempt.path / "claim.json")["owner"]["pid"], signal.SIGKILL)
    os.kill(find(job, "raylet/raylet", f"/slq-{job}-1/"), signal.SIGKILL)
    slow_sweep.wait(PATIENCE)
    assert_runs(slurm_env, job, "COMPLETED")  # the job itself has not noticed
    assert len(victim.attempts()) == 2
    assert_same(slow_sweep.ledger, four, slow_sweep.sweep)
    assert_one_after_the_other(slow_sweep.ledger, slow_sweep.sweep)
    assert_nothing_left(slow_sweep, job)


def test_the_first_task_is_killed_and_the_job_goes_back_to_the_queue(
    slow_sweep: ClusterSweep, slurm_env: DevCluster, four: Ledger
) -> None:
    job = slow_sweep.job()
    os.kill(find(job, "-m\0submitit.core._submit\0", "SLURM_PROCID=0\0", "SLURM_STEP_ID=0\0"), signal.SIGKILL)
    slow_sweep.wait(PATIENCE)
    assert_runs(slurm_env, job, "REQUEUED", "COMPLETED")
    assert_same(slow_sweep.ledger, four, slow_sweep.sweep)
    assert_one_after_the_other(slow_sweep.ledger, slow_sweep.sweep)
    assert_nothing_left(slow_sweep, job)


def test_a_trial_that_fits_on_no_node_is_refused_at_once(tmp_path: Path, slurm_env: DevCluster) -> None:
    # a profile that says that the partition hands out GPUs unasked, which it does not
    sweep = prepare(tmp_path / "large", slurm_env, FOUR, nodes=1, cpus=1, gpus=1, gpu_style="none")
    sweep.submit("--backend", "ray")
    slurm_env.wait(sweep.job(), "FAILED", seconds=PATIENCE)
    assert "needs 1 CPUs and 1 GPUs on one node; the nodes of the job have 1 CPUs and 0 GPUs" in sweep.output()
    assert [work.attempts() for work in works(sweep)] == [[]] * 4
    assert_nothing_left(sweep, sweep.job())
