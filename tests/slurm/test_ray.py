"""The ray backend on a real cluster: packed over nodes, cancelled, refused. tests/slurm/test_ray_lost.py loses parts of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.ledger import Ledger, State
from tests.slurm.dev_cluster import DevCluster
from tests.slurm.rays import (
    DEFAULTS,
    FOUR,
    PATIENCE,
    assert_nothing_left,
    assert_runs,
    assert_tried,
    training,
    works,
)
from tests.slurm.sweeps import ClusterSweep, assert_same, prepare, undisturbed

pytestmark = pytest.mark.slow

EIGHT = DEFAULTS + "grid:\n  - {method: [{name: kmeans, bits: 3}, {name: slq, bits: 3}], seed: [0, 1, 2, 3]}\n"


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return undisturbed(tmp_path_factory.mktemp("here") / "eight", EIGHT)


def nodes(sweep: ClusterSweep) -> set[str]:
    """Where trials were run."""
    return {attempt.provenance()["slurm"]["SLURMD_NODENAME"] for work in works(sweep) for attempt in work.attempts()}


def gpus(sweep: ClusterSweep) -> set[str]:
    """What trials saw of them."""
    return {attempt.provenance()["cuda_visible_devices"] for work in works(sweep) for attempt in work.attempts()}


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


def test_cancelled_saves_and_leaves_nothing(slow_sweep: ClusterSweep, slurm_env: DevCluster) -> None:
    job, at_work = slow_sweep.job(), training(slow_sweep)
    slurm_env.command("scancel", job)
    assert_nothing_left(slow_sweep, job)
    for work in at_work:
        assert work.state() is State.LOST, "nobody has to wait for its claim to expire"
        assert work.why_failed() == "terminated (SIGTERM)"
    assert_runs(slurm_env, job, "CANCELLED")


def test_a_trial_that_fits_on_no_node_is_refused_at_once(tmp_path: Path, slurm_env: DevCluster) -> None:
    # a profile that says that the partition hands out GPUs unasked, which it does not
    sweep = prepare(tmp_path / "large", slurm_env, FOUR, nodes=1, cpus=1, gpus=1, gpu_style="none")
    sweep.submit("--backend", "ray")
    slurm_env.wait(sweep.job(), "FAILED", seconds=PATIENCE)
    assert "needs 1 CPUs and 1 GPUs on one node; the nodes of the job have 1 CPUs and 0 GPUs" in sweep.output()
    assert [work.attempts() for work in works(sweep)] == [[]] * 4
    assert_nothing_left(sweep, sweep.job())
