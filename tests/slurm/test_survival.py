"""What happens to a sweep on a cluster when its tasks are preempted, killed, cancelled, or lose their node, memory or disk.

Each scenario is a sweep of its own. In the end every trial has its result, bit for bit that of a run that nothing disturbed, and no
trial was worked on by two at a time. All scenarios of a cluster run at once, on nodes of their own where they break something: they
spend their time waiting for Slurm.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from suite.claim import owner_of
from suite.ledger import Attempt, Ledger
from tests.slurm.dev_cluster import DevCluster, until
from tests.slurm.sweeps import (
    ClusterSweep,
    assert_one_after_the_other,
    assert_same,
    prepare,
    recorded,
    undisturbed,
)

ONE = """
defaults:
  network: lenet5
  data: digits
  holdout: 64
  baseline: {epochs: 2, batch_size: 128}
  retrain: {epochs: 4, batch_size: 128, optimizer: adam, learning_rate: 0.001}
  runtime: {log_steps: 1, checkpoint_seconds: 0.5}
trials:
  - method: {name: slq, bits: 3}
"""
TWO = ONE + "  - method: {name: slq, bits: 2}\n"  # of one baseline: one of them waits for it
HELD = 40  # steps: the first trial is then in its first stage, behind its baseline, and the second one is, too


@dataclass(frozen=True)
class Place:
    """Where a scenario takes place."""

    folder: Path
    cluster: DevCluster
    reference: Ledger  # of the trials in `TWO`, undisturbed

    def prepare(self, text: str = ONE, **settings: Any) -> ClusterSweep:
        usual: dict[str, Any] = {"time": "00:20:00", "signal_seconds": 20, "held": HELD}
        return prepare(self.folder, self.cluster, text, **(usual | settings))

    def submit(self, text: str = ONE, **settings: Any) -> ClusterSweep:
        """A sweep that is submitted, and at work on all of its trials."""
        sweep = self.prepare(text, **settings)
        sweep.submit()
        until_trains(sweep)
        return sweep

    def check(self, sweep: ClusterSweep) -> None:
        """All is done, as if nothing had happened."""
        sweep.wait()
        assert_same(sweep.ledger, self.reference, sweep.sweep)
        assert_one_after_the_other(sweep.ledger, sweep.sweep)


def until_trains(sweep: ClusterSweep, attempt: int = 1) -> None:
    """Wait until this attempt of each trial trains."""
    until(lambda: all(_step(sweep, trial.id, attempt) > 10 for trial in sweep.sweep.trials), "all trials train", 120)


def _step(sweep: ClusterSweep, trial: str, number: int) -> int:
    attempt = sweep.ledger.trial(trial).newest_attempt()
    event = attempt.newest("train") if attempt and attempt.number == number and attempt.is_live() else None
    return int(event["step"]) if event else 0


def attempts(sweep: ClusterSweep) -> list[list[Attempt]]:
    return [sweep.ledger.trial(trial.id).attempts() for trial in sweep.sweep.trials]


def repeated(sweep: ClusterSweep) -> int:
    """Training steps that were done more than once."""
    events = [recorded(sweep.ledger.trial(trial.id)) for trial in sweep.sweep.trials]
    return sum(len(each) - len({event["step"] for event in each}) for each in events)


@contextmanager
def occupied(cluster: DevCluster, node: str) -> Iterator[None]:
    """A job of high priority has the node for itself."""
    job = cluster.sbatch("sleep 600", "--partition=high", f"--nodelist={node}", "--exclusive")
    cluster.wait(job, "RUNNING", seconds=90)
    try:
        yield
    finally:
        cluster.command("scancel", job)


def dump(name, sweep):
    import time
    print(f"##### {time.strftime('%X')} {name}\n{sweep.status()}", flush=True)
    for j in sweep.submissions[-1].job_ids():
        print(j, sweep.cluster.accounting(j, "state", "exitcode", "reason", "start", "end"))
    for f in sweep.submissions[-1].path.glob("crashes*"):
        print(f.name, f.read_text())
    for a in attempts(sweep):
        print([(x.newest("end"), x.newest("train") and x.newest("train")["step"]) for x in a])
    print(sweep.slq("logs", sweep.sweep.trials[0].id).stdout, flush=True)


def preempted_with_a_warning(place: Place) -> None:
    sweep = place.submit(TWO, partition="low", extra={"nodelist": "n1"})
    with occupied(place.cluster, "n1"):
        dump("preempted warn", sweep)
        sweep.steps.release()
    place.check(sweep)
    dump("preempted warn done", sweep)
    print("repeated", repeated(sweep))


def preempted_with_sigterm_only(place: Place) -> None:
    sweep = place.submit(TWO, partition="low", extra={"nodelist": "n1"})
    with occupied(place.cluster, "n1"):
        dump("preempted term", sweep)
        sweep.steps.release()
    place.check(sweep)
    dump("preempted term done", sweep)
    print("repeated", repeated(sweep))


def preempted_without_grace(place: Place) -> None:
    sweep = place.submit(TWO, partition="abrupt", extra={"nodelist": "n2"})
    with occupied(place.cluster, "n2"):
        dump("preempted abrupt", sweep)
        sweep.steps.release()
    place.check(sweep)
    dump("preempted abrupt done", sweep)
    print("repeated", repeated(sweep))


def out_of_time(place: Place) -> None:
    sweep = place.submit(step_seconds=0.6, held=None, time="00:01:00", signal_seconds=10, extra={"nodelist": "n2"})
    until(lambda: len(attempts(sweep)[0]) > 1, "again", 120)
    dump("timelimit", sweep)
    place.check(sweep)
    dump("timelimit done", sweep)
    print("repeated", repeated(sweep))


def requeued_by_hand(place: Place) -> None:
    sweep = place.submit(extra={"nodelist": "n2"})
    place.cluster.command("scontrol", "requeue", f"{sweep.job()}_0")
    until(lambda: not attempts(sweep)[0][0].is_live(), "stopped")
    dump("requeue", sweep)
    sweep.steps.release()
    place.check(sweep)
    dump("requeue done", sweep)
    print("repeated", repeated(sweep))


def node_lost(place: Place) -> None:
    sweep = place.submit(TWO, exclude="n1,n2")
    node = place.cluster.command("squeue", "-h", "-j", f"{sweep.job()}_0", "-o", "%N").strip()
    place.cluster.kill_node(node)
    dump(f"node {node} killed", sweep)
    until(lambda: place.cluster.queue().get(f"{sweep.job()}_0") != "RUNNING", "noticed", 90)
    dump("node noticed", sweep)
    place.cluster.start_node(node)
    sweep.steps.release()
    place.check(sweep)
    dump("node done", sweep)


def kill(sweep: ClusterSweep) -> None:
    owner = owner_of(attempts(sweep)[0][-1].path)
    assert owner
    os.kill(owner.pid, signal.SIGKILL)


def killed(place: Place) -> None:
    sweep = place.submit(extra={"nodelist": "n2"}, max_crashes=1)
    kill(sweep)
    until(lambda: place.cluster.queue().get(f"{sweep.job()}_0") != "RUNNING", "noticed", 30)
    dump("killed", sweep)
    until_trains(sweep, 2)
    kill(sweep)
    until(lambda: not place.cluster.queue(sweep.job()), "over", 30)
    dump("killed twice", sweep)
    sweep.steps.release()
    print(sweep.submit())
    place.check(sweep)
    dump("killed done", sweep)


def cancelled(place: Place) -> None:
    sweep = place.submit(extra={"nodelist": "n2"})
    place.cluster.command("scancel", sweep.job())
    until(lambda: not place.cluster.queue(sweep.job()), "over", 30)
    dump("cancelled", sweep)
    sweep.steps.release()
    print(sweep.submit())
    place.check(sweep)
    dump("cancelled done", sweep)
    print("repeated", repeated(sweep))


def out_of_memory(place: Place) -> None:
    node = {"nodelist": "n2"}
    sweep = place.prepare(held=None, step_megabytes=25, extra=node, max_crashes=0)
    sweep.submit()
    until(lambda: not place.cluster.queue(sweep.job()), "over", 120)
    dump("oom", sweep)
    sweep.write_site(extra=node)
    print(sweep.submit())
    place.check(sweep)
    dump("oom done", sweep)


def disk_full(place: Place) -> None:
    sweep = place.prepare(extra={"nodelist": "n2"})
    sweep.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(sweep.root)], check=True)
    try:
        sweep.submit()
        until_trains(sweep)
        subprocess.run(["dd", "if=/dev/zero", f"of={sweep.root}/filler", "bs=1k"], capture_output=True)
        sweep.steps.release()
        until(lambda: not place.cluster.queue(sweep.job()), "over", 60)
        print(subprocess.run(["df", str(sweep.root)], capture_output=True, text=True).stdout)
        dump("disk", sweep)
        (sweep.root / "filler").unlink()
        print(sweep.submit())
        place.check(sweep)
        dump("disk done", sweep)
    finally:
        subprocess.run(["umount", "-l", str(sweep.root)], check=True)


WARNING = (
    preempted_with_a_warning,
    out_of_time,
    requeued_by_hand,
    node_lost,
    killed,
    cancelled,
    out_of_memory,
    disk_full,
)
NO_WARNING = (preempted_with_sigterm_only, preempted_without_grace)


@pytest.fixture(scope="module")
def stories(request, start_cluster, tmp_path_factory):
    """Every selected scenario, running."""
    wanted = [
        i.callspec.params["scenario"]
        for i in request.session.items
        if i.path == request.path and hasattr(i, "callspec")
    ]
    base = tmp_path_factory.mktemp("survival")
    with ExitStack() as stack:
        reference = undisturbed(base / "reference", TWO)
        pool = stack.enter_context(ThreadPoolExecutor(len(wanted)))
        futures = {}
        for names, settings in (
            (WARNING, {"preempt_signal": 1}),
            (
                NO_WARNING,
                {
                    "preempt_signal": 0,
                    "extra": "PartitionName=abrupt Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0",
                },
            ),
        ):
            if not set(names) & set(wanted):
                continue
            cluster = stack.enter_context(start_cluster(gpu_nodes=0, cpus=8, memory=16000, memory_limit=1, **settings))
            for each in names:
                if each in wanted:
                    futures[each] = pool.submit(each, Place(base / each.__name__, cluster, reference))
        print("all submitted", time.strftime("%X"))
        yield futures


@pytest.mark.slow
@pytest.mark.parametrize("scenario", WARNING + NO_WARNING, ids=lambda each: each.__name__)
def test_survives(scenario, stories) -> None:
    stories[scenario].result()
