"""Forty trials as job arrays over four nodes with fake GPUs, on a cluster whose arrays may have five tasks only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise

import pytest

from suite.ledger import Attempt, State, Work
from tests.slurm.dev_cluster import DevCluster, until
from tests.slurm.sweeps import SECONDS, ClusterSweep, prepare

pytestmark = pytest.mark.slow

TASKS, CHUNKS, AT_ONCE = 12, 3, 7
FORTY = """
defaults:
  network: lenet5
  data: digits
  baseline: {epochs: 1, batch_size: 256}
  retrain: {epochs: 1, batch_size: 256}
  holdout: 64
grid:
  - method:
      - {name: full}
      - {name: kmeans, bits: 5}
      - {name: kmeans, bits: 4}
      - {name: kmeans, bits: 3}
      - {name: kmeans, bits: 2}
      - {name: kmeans, bits: 2, init: linear}
      - {name: kmeans, bits: 3, init: quantile}
      - {name: slq, bits: 3}
      - {name: mlq, bits: 2}
      - {name: mlq, bits: 2, compensation: false}
    seed: [0, 1, 2, 3]
"""


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., AbstractContextManager[DevCluster]]) -> Iterator[DevCluster]:
    with start_cluster(max_array=5, gpu_nodes=4) as running:
        yield running


@pytest.fixture(scope="module")
def finished(cluster: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> ClusterSweep:
    """The sweep after its jobs are over, once for all tests."""
    profile = {"partition": "gpu", "gpus": 1, "memory": "900M", "max_submit": TASKS, "max_parallel": AT_ONCE}
    made = prepare(tmp_path_factory.mktemp("forty") / "x", cluster, FORTY, **profile)
    assert len(made.sweep.trials) == 40
    said = made.submit()
    assert f"chunk 3 of {CHUNKS}: 13 trials, 4 array tasks, at most 2 at once" in said
    until(lambda: not cluster.queue(), f"all jobs are over\n{said}", SECONDS)
    return made


def works(finished: ClusterSweep) -> list[Work]:
    return [finished.ledger.trial(trial.id) for trial in finished.sweep.trials]


def attempts(finished: ClusterSweep) -> list[Attempt]:
    return [attempt for work in works(finished) for attempt in work.attempts()]


def test_every_trial_is_done_exactly_once(finished: ClusterSweep) -> None:
    for work in works(finished):
        assert work.state() is State.DONE, f"{work.id}: {work.why_failed()}\n{finished.output()}"
        assert [event["event"] for event in work.attempts()[0].events()].count("start") == 1
    assert len(attempts(finished)) == 40
    baselines = {trial.baseline_id for trial in finished.sweep.trials}
    assert [len(finished.ledger.baseline(identity).attempts()) for identity in baselines] == [1] * 4


def test_arrays_are_as_large_as_the_cluster_allows_and_no_larger(finished: ClusterSweep, cluster: DevCluster) -> None:
    assert [each.tasks for each in finished.submissions] == [TASKS // CHUNKS] * CHUNKS
    assert sum(len(each.trials) for each in finished.submissions) == 40
    tasks = [task for each in finished.submissions for task in each.job_ids()]
    until(lambda: [cluster.states(task) for task in tasks] == [["COMPLETED"]] * TASKS, "all tasks have ended well")


def test_the_limit_of_tasks_at_once_holds_for_all_arrays_together(finished: ClusterSweep, cluster: DevCluster) -> None:
    shares = []
    for each in finished.submissions:
        changes = [
            (time, change)
            for task in each.job_ids()
            for start, end in cluster.accounting(task, "start", "end")
            for time, change in ((start, 1), (end, -1))
        ]
        running, most = 0, 0
        for _, change in sorted(changes):  # at the same second an end, -1, comes first
            running += change
            most = max(most, running)
        shares.append(most)
    assert sum(shares) <= AT_ONCE
    assert max(shares) <= 3


def test_each_trial_sees_one_gpu_and_no_two_the_same_at_a_time(finished: ClusterSweep) -> None:
    used: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for attempt in attempts(finished):
        provenance, events = attempt.provenance(), attempt.events()
        device = provenance["cuda_visible_devices"]
        assert device in ("0", "1"), "as Slurm set it"
        assert device == provenance["slurm"]["SLURM_JOB_GPUS"]
        assert provenance["slurm"]["SLURM_GPUS_ON_NODE"] == "1"
        node = provenance["slurm"]["SLURMD_NODENAME"]
        used.setdefault((node, device), []).append((events[0]["t"], events[-1]["t"]))
    assert {node for node, _ in used} == set(finished.cluster.nodes), "all four nodes had work"
    for spans in used.values():
        for (_, end), (start, _) in pairwise(sorted(spans)):
            assert end <= start


def test_attempts_name_the_array_task_they_ran_in(finished: ClusterSweep) -> None:
    covered = {job: set(each.trials) for each in finished.submissions for job in each.job_ids()}
    for work in works(finished):
        (attempt,) = work.attempts()
        assert work.id in covered[attempt.job()], "a task runs trials of its own submission only"
        slurm = attempt.provenance()["slurm"]
        assert f"{slurm['SLURM_ARRAY_JOB_ID']}_{slurm['SLURM_ARRAY_TASK_ID']}" == attempt.job()
    tasks = Counter(attempt.job() for attempt in attempts(finished))
    assert sum(tasks.values()) == 40


def test_again_nothing_is_submitted(finished: ClusterSweep, cluster: DevCluster) -> None:
    assert "40 done); 0 to run" in finished.submit()
    assert len(finished.submissions) == CHUNKS
    assert cluster.queue() == {}
