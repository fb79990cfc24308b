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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from suite.claim import owner_of
from suite.ledger import Attempt, Ledger
from tests.slurm.dev_cluster import DevCluster, until
from tests.slurm.sweeps import (
    CHECKOUT,
    STEPS,
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
STEP = 0.12  # seconds: a trial takes a quarter of a minute

Steps = Callable[[], None]


@dataclass(frozen=True)
class Place:
    """Where a scenario takes place."""

    folder: Path
    cluster: DevCluster
    reference: Ledger  # of the trials in `TWO`, undisturbed

    def submitted(self, text: str = ONE, step_seconds: float = STEP, **site: object) -> ClusterSweep:
        """A sweep that is submitted and at work on all of its trials."""
        fields = {"time": "00:20:00", "signal_seconds": 20, **site}
        sweep = prepare(self.folder, self.cluster, text, step_seconds=step_seconds, **fields)
        sweep.submit()
        until_trains(sweep)
        return sweep

    def check(self, sweep: ClusterSweep) -> None:
        """All is done, as if nothing had happened."""
        sweep.wait()
        assert_same(sweep.ledger, self.reference, sweep.sweep)
        assert_one_after_the_other(sweep.ledger, sweep.sweep)


def until_trains(sweep: ClusterSweep, step: int = 10) -> None:
    """Wait until each trial is at work and past this step."""
    until(lambda: all(_step(sweep, trial.id) > step for trial in sweep.sweep.trials), "all trials train", 120)


def _step(sweep: ClusterSweep, trial: str) -> int:
    attempt = sweep.ledger.trial(trial).newest_attempt()
    event = attempt.newest("train") if attempt and attempt.is_live() else None
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
    print(f"##### {name}\n{sweep.status()}", flush=True)
    for j in sweep.submissions[-1].job_ids(): print(j, sweep.cluster.accounting(j, "state","exitcode","reason","start","end"))
    for f in sweep.submissions[-1].path.glob("crashes*"): print(f.name, f.read_text())
    for a in attempts(sweep): print([ (x.newest("end"), x.newest("train") and x.newest("train")["step"]) for x in a])
    print(sweep.slq("logs", sweep.sweep.trials[0].id).stdout, flush=True)


def preempted_with_a_warning(place: Place) -> None:
    sweep = place.submitted(TWO, partition="low", extra={"nodelist": "n1"})
    with occupied(place.cluster, "n1"):
        dump("preempted warn", sweep)
    place.check(sweep)
    dump("preempted warn done", sweep)
    print("repeated", repeated(sweep))


def preempted_with_sigterm_only(place: Place) -> None:
    sweep = place.submitted(TWO, partition="low", extra={"nodelist": "n1"})
    with occupied(place.cluster, "n1"):
        dump("preempted term", sweep)
    place.check(sweep)
    dump("preempted term done", sweep)
    print("repeated", repeated(sweep))


def preempted_without_grace(place: Place) -> None:
    sweep = place.submitted(TWO, partition="abrupt", extra={"nodelist": "n2"})
    with occupied(place.cluster, "n2"):
        dump("preempted abrupt", sweep)
    place.check(sweep)
    dump("preempted abrupt done", sweep)
    print("repeated", repeated(sweep))


def out_of_time(place: Place) -> None:
    sweep = place.submitted(ONE, step_seconds=0.6, time="00:01:00", signal_seconds=10, extra={"nodelist": "n2"})
    place.check(sweep)
    dump("timelimit done", sweep)
    print("repeated", repeated(sweep))


def requeued_by_hand(place: Place) -> None:
    sweep = place.submitted(extra={"nodelist": "n2"})
    place.cluster.command("scontrol", "requeue", f"{sweep.job()}_0")
    until(lambda: not attempts(sweep)[0][0].is_live(), "stopped")
    dump("requeue", sweep)
    place.check(sweep)
    dump("requeue done", sweep)
    print("repeated", repeated(sweep))


def node_lost(place: Place) -> None:
    sweep = place.submitted(TWO, exclude="n1,n2")
    owner = owner_of(attempts(sweep)[0][0].path)
    node = place.cluster.command("squeue", "-h", "-j", f"{sweep.job()}_0", "-o", "%N").strip()
    place.cluster.kill_node(node)
    dump("node killed", sweep)
    until(lambda: place.cluster.queue().get(f"{sweep.job()}_0") != "RUNNING", "noticed", 90)
    dump("node noticed", sweep)
    place.cluster.start_node(node)
    place.check(sweep)
    dump("node done", sweep)


def kill(sweep: ClusterSweep) -> None:
    owner = owner_of(attempts(sweep)[0][-1].path)
    os.kill(owner.pid, signal.SIGKILL)


def killed(place: Place) -> None:
    sweep = place.submitted(extra={"nodelist": "n2"}, max_crashes=1)
    kill(sweep)
    until(lambda: place.cluster.queue().get(f"{sweep.job()}_0") != "RUNNING", "noticed", 30)
    dump("killed", sweep)
    until_trains(sweep, 20)
    kill(sweep)
    until(lambda: not place.cluster.queue(sweep.job()), "over", 30)
    dump("killed twice", sweep)
    print(sweep.submit())
    place.check(sweep)
    dump("killed done", sweep)


def cancelled(place: Place) -> None:
    sweep = place.submitted(extra={"nodelist": "n2"})
    place.cluster.command("scancel", sweep.job())
    until(lambda: not place.cluster.queue(sweep.job()), "over", 30)
    dump("cancelled", sweep)
    print(sweep.submit())
    place.check(sweep)
    dump("cancelled done", sweep)
    print("repeated", repeated(sweep))


def out_of_memory(place: Place) -> None:
    fields = {"memory": "900M", "extra": {"nodelist": "n2"}, "max_crashes": 0}
    sweep = prepare(place.folder, place.cluster, ONE, step_seconds=STEP, step_megabytes=30, **fields)
    sweep.submit()
    until(lambda: sweep.job_id and attempts(sweep)[0] if False else True, "x")
    until(lambda: not place.cluster.queue(sweep.job()), "over", 60)
    dump("oom", sweep)
    sweep.write_site(memory="1200M", extra={"nodelist": "n2"})
    print(sweep.submit())
    place.check(sweep)
    dump("oom done", sweep)


def disk_full(place: Place) -> None:
    fields = {"extra": {"nodelist": "n2"}}
    sweep = prepare(place.folder, place.cluster, ONE, step_seconds=STEP, **fields)
    sweep.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(sweep.root)], check=True)
    try:
        sweep.submit()
        until_trains(sweep)
        subprocess.run(["dd", "if=/dev/zero", f"of={sweep.root}/filler", "bs=1k"], capture_output=True)
        until(lambda: not place.cluster.queue(sweep.job()), "over", 60)
        print(subprocess.run(["df", str(sweep.root)], capture_output=True, text=True).stdout)
        dump("disk", sweep)
        (sweep.root / "filler").unlink()
        print(sweep.submit())
        place.check(sweep)
        dump("disk done", sweep)
    finally:
        subprocess.run(["umount", "-l", str(sweep.root)], check=True)


WARNING = (preempted_with_a_warning, out_of_time, requeued_by_hand, node_lost, killed, cancelled, out_of_memory, disk_full)
NO_WARNING = (preempted_with_sigterm_only, preempted_without_grace)


@pytest.fixture(scope="module")
def stories(request, start_cluster, tmp_path_factory):
    """Every selected scenario, running."""
    wanted = [i.callspec.params["scenario"] for i in request.session.items if i.path == request.path and hasattr(i, "callspec")]
    base = tmp_path_factory.mktemp("survival")
    with ExitStack() as stack:
        reference = undisturbed(base / "reference", TWO)
        pool = stack.enter_context(ThreadPoolExecutor(len(wanted)))
        futures = {}
        for names, settings in ((WARNING, {"preempt_signal": 1}), (NO_WARNING, {"preempt_signal": 0, "extra": "PartitionName=abrupt Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0"})):
            if not set(names) & set(wanted): continue
            cluster = stack.enter_context(start_cluster(gpu_nodes=0, cpus=8, memory=16000, memory_limit=1, **settings))
            for each in names:
                if each in wanted:
                    futures[each] = pool.submit(each, Place(base / each.__name__, cluster, reference))
        yield futures
        pool.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("scenario", WARNING + NO_WARNING, ids=lambda each: each.__name__)
def test_survives(scenario, stories) -> None:
    stories[scenario].result()
