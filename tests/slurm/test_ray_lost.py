"""The ray backend on a real cluster: warned, and with parts of it killed; the next run goes on where it was."""

from __future__ import annotations

import os
import signal

import pytest

from suite.files import read_json
from suite.ledger import Ledger
from tests.slurm.dev_cluster import DevCluster
from tests.slurm.rays import (
    PATIENCE,
    assert_nothing_left,
    assert_runs,
    assert_tried,
    find,
    training,
)
from tests.slurm.sweeps import ClusterSweep, assert_one_after_the_other, assert_same

pytestmark = pytest.mark.slow


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
