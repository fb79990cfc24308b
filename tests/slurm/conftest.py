"""Fixtures for tests on a real Slurm cluster, which they start and remove.

A module that needs other settings than the default overrides `cluster`, and `slurm_env` follows:

    @pytest.fixture(scope="module")
    def cluster(start_cluster):
        with start_cluster(max_array=11, grace=3) as cluster:
            yield cluster
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from suite.ledger import Ledger
from tests.slurm.dev_cluster import DevCluster, dev_cluster, why_not
from tests.slurm.rays import FOUR, start_slowly
from tests.slurm.sweeps import ClusterSweep, undisturbed


@pytest.fixture(scope="session")
def start_cluster() -> Callable[..., AbstractContextManager[DevCluster]]:
    """Starts clusters; settings are those of slurm/dev-cluster, in lower case. Skips where there can be none."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    return dev_cluster


@pytest.fixture(scope="session")
def cluster(start_cluster: Callable[..., AbstractContextManager[DevCluster]]) -> Iterator[DevCluster]:
    """A cluster with the default settings, one per test process."""
    with start_cluster() as running:
        yield running


@pytest.fixture
def slurm_env(cluster: DevCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevCluster]:
    """`cluster`, with this process's Slurm commands pointed at it; afterwards no job is left and everything is up again."""
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    yield cluster
    cluster.restore()


@pytest.fixture
def slow_sweep(tmp_path: Path, slurm_env: DevCluster) -> ClusterSweep:
    """`FOUR`, submitted to the ray backend, two of them training."""
    return start_slowly(tmp_path / "slow", slurm_env)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """`FOUR`, undisturbed."""
    return undisturbed(tmp_path_factory.mktemp("here") / "four", FOUR)
