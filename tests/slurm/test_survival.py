"""What becomes of a sweep on a cluster when its tasks are preempted, killed, cancelled, or lose their node, memory or disk.

Each scenario is a sweep of its own. In the end every trial has its result, bit for bit that of a run that nothing disturbed, and no
trial was worked on by two at a time. The scenarios run at once, on nodes of their own where they break something: they spend their
time waiting for Slurm.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from suite.claim import owner_of
from suite.files import write_atomic
from suite.ledger import Attempt, Ledger
from suite.sweep import load_sweep
from tests.slurm.dev_cluster import DevCluster, until
from tests.slurm.steps import Steps
from tests.slurm.sweeps import (
    ClusterSweep,
    assert_one_after_the_other,
    assert_same,
    prepare,
    recorded,
    start_here,
    undisturbed,
)

pytestmark = pytest.mark.slow

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
TWO = ONE + "  - method: {name: slq, bits: 2}\n"  # of the same baseline: one of them waits for it
HELD = 40  # steps of a task: the trial is then behind its baseline, and before its end
SETTINGS = {
    "gpu_nodes": 0,
    "cpus": 8,
    "memory": 16000,
    "memory_limit": 1,
    "extra": "PartitionName=abrupt Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0",
}
SECONDS = 900  # for each thing that is waited for, on a machine that is busy with other things


@dataclass(frozen=True)
class Place:
    """Where a scenario takes place."""

    folder: Path
    cluster: DevCluster
    reference: Ledger  # of the trials in `TWO`, undisturbed

    def prepare(self, text: str = ONE, **settings: Any) -> ClusterSweep:
        usual: dict[str, Any] = {"time": "00:30:00", "signal_seconds": 20, "held": HELD, "extra": {"nodelist": "n2"}}
        return prepare(self.folder, self.cluster, text, **(usual | settings))

    def begin(self, text: str = ONE, **settings: Any) -> ClusterSweep:
        """A sweep that is submitted, and at work on all of its trials."""
        sweep = self.prepare(text, **settings)
        sweep.submit()
        until_trains(sweep)
        return sweep

    def check(self, sweep: ClusterSweep) -> None:
        """All is done, as if nothing had happened."""
        sweep.wait(SECONDS)
        assert_same(sweep.ledger, self.reference, sweep.sweep)
        assert_one_after_the_other(sweep.ledger, sweep.sweep)
        count = len(sweep.sweep.trials)
        assert sweep.status().startswith(f"{count} of {count} trials done")
        assert not [work.path for work in sweep.ledger.trials() if work.checkpoint.exists()]


def until_trains(sweep: ClusterSweep, attempt: int = 1) -> None:
    """Wait until this attempt of each trial trains."""
    until(lambda: all(_trains(each, attempt) for each in attempts(sweep)), "all trials train", SECONDS)


def _trains(tried: list[Attempt], number: int) -> bool:
    event = tried[-1].newest("train") if len(tried) >= number and tried[-1].is_live() else None
    return event is not None and event["step"] > 10


def attempts(sweep: ClusterSweep) -> list[list[Attempt]]:
    """Of each trial."""
    return [sweep.ledger.trial(trial.id).attempts() for trial in sweep.sweep.trials]


def ends(sweep: ClusterSweep) -> list[list[str]]:
    """How each attempt of each trial said that it ended."""
    return [[_end(attempt) for attempt in tried] for tried in attempts(sweep)]


def _end(attempt: Attempt) -> str:
    end = attempt.newest("end") or {"outcome": "silent"}
    return " ".join(filter(None, [end["outcome"], end.get("error")]))


def repeated(sweep: ClusterSweep) -> int:
    """Training steps that were done more than once."""
    events = [recorded(sweep.ledger.trial(trial.id)) for trial in sweep.sweep.trials]
    return sum(len(each) - len({event["step"] for event in each}) for each in events)


def task(sweep: ClusterSweep) -> str:
    """Slurm's id of the newest submission's first array task."""
    return sweep.submissions[-1].job_ids()[0]


def until_stopped(sweep: ClusterSweep) -> None:
    """Wait until no trial is at work."""
    until(lambda: not any(tried[-1].is_live() for tried in attempts(sweep)), "the trials stop", SECONDS)


def until_over(sweep: ClusterSweep) -> None:
    """Wait until none of the newest submission's jobs waits or runs."""
    until(lambda: not sweep.cluster.queue(sweep.job()), "the job is over", SECONDS)
    until(lambda: "RUNNING" not in sweep.cluster.states(task(sweep)), "accounting knows it", SECONDS)


def kill(sweep: ClusterSweep) -> None:
    owner = owner_of(attempts(sweep)[0][-1].path)
    assert owner is not None
    os.kill(owner.pid, signal.SIGKILL)


@contextmanager
def occupied(cluster: DevCluster, node: str) -> Iterator[None]:
    """A job of high priority has the node for itself."""
    job = cluster.sbatch("sleep 3600", "--partition=high", f"--nodelist={node}", "--exclusive")
    try:
        cluster.wait(job, "RUNNING", seconds=SECONDS)
        yield
    finally:
        cluster.command("scancel", job)


WARNED, TERMINATED = "interrupted preempted or out of time (SIGUSR2)", "interrupted terminated (SIGTERM)"


def preempted(place: Place, end: str, told: str, text: str = ONE, partition: str = "low") -> None:
    """It saves, goes back to the queue by itself, and goes on where it was, without repeating a step."""
    sweep = place.begin(text, partition=partition, extra={"nodelist": "n1"})
    count = len(sweep.sweep.trials)
    with occupied(place.cluster, "n1"):
        assert f"0 of {count} trials done, {count} interrupted" in (said := sweep.status()), said
        assert re.search(told, said), said
        sweep.steps.release()
    place.check(sweep)
    assert ends(sweep) == [[end, "done"]] * count
    assert repeated(sweep) == 0
    assert len(sweep.submissions) == 1
    for each in sweep.submissions[0].job_ids():
        until(lambda job=each: place.cluster.states(job)[-1] == "COMPLETED", f"{each} has ended well", SECONDS)  # type: ignore[misc]


def preempted_with_a_warning(place: Place) -> None:
    preempted(place, WARNED, r"preempted or out of time \(SIGUSR2\)", TWO)


def preempted_with_sigterm_only(place: Place) -> None:
    """As on clusters where a preempted job gets no signal of its own choice."""
    conf = Path(place.cluster.env["SLURM_CONF"])
    conf.write_text(conf.read_text().replace("SlurmctldParameters=preempt_send_user_signal", ""))
    place.cluster.command("scontrol", "reconfigure")
    preempted(place, TERMINATED, "requeued|preempted")


def preempted_without_grace(place: Place) -> None:
    """Time to save is what Slurm leaves to every job that it ends: KillWait, five seconds here."""
    preempted(place, TERMINATED, "preempted", partition="abrupt")


def out_of_time(place: Place) -> None:
    """A trial that needs longer than the time limit of its job, which is a minute, goes on in the same job."""
    sweep = place.prepare(held=None, step_seconds=0.7, time="00:01:00", signal_seconds=5)
    sweep.submit()
    until(lambda: attempts(sweep)[0][1:], "it goes on", SECONDS)
    place.check(sweep)
    (said,) = ends(sweep)
    assert said == [WARNED] * (len(said) - 1) + ["done"]
    assert repeated(sweep) == 0
    assert len(sweep.submissions) == 1


def requeued_by_hand(place: Place) -> None:
    sweep = place.begin()
    place.cluster.command("scontrol", "requeue", task(sweep))
    until_stopped(sweep)
    assert "0 of 1 trials done, 1 interrupted" in sweep.status()
    sweep.steps.release()
    place.check(sweep)
    assert ends(sweep) == [[TERMINATED, "done"]]
    assert repeated(sweep) == 0


def node_lost(place: Place) -> None:
    """All processes of the node are gone at once. Slurm notices, and runs the tasks elsewhere."""
    sweep = place.begin(TWO, extra={}, exclude="n1,n2")
    node = place.cluster.command("squeue", "--noheader", f"--jobs={task(sweep)}", "--format=%N").strip()
    place.cluster.kill_node(node)
    assert "0 of 2 trials done, 2 interrupted" in sweep.status()
    until(lambda: "NODE_FAIL" in place.cluster.states(task(sweep)), "Slurm notices", SECONDS)
    assert "0 of 2 trials done, 2 interrupted" in (said := sweep.status()), said
    assert f"node failure of {node}" in said
    sweep.steps.release()
    place.check(sweep)
    assert ends(sweep) == [["silent", "done"]] * 2
    assert place.cluster.node_state(node).startswith("down")
    place.cluster.start_node(node)
    until(lambda: place.cluster.node_state(node) == "idle", "the node is back", SECONDS)


def killed(place: Place) -> None:
    """Its batch script sends it back to the queue, but not for ever; then the next submission goes on."""
    sweep = place.begin(max_crashes=1)
    kill(sweep)
    crashes = sweep.submissions[0].path / f"crashes-{task(sweep)}.txt"
    until(crashes.exists, "its batch script notices", SECONDS)
    assert "0 of 1 trials done, 1 interrupted" in (said := sweep.status()), said
    assert "killed (SIGKILL)" in said
    until_trains(sweep, 2)
    kill(sweep)
    until_over(sweep)
    assert [line.split()[1] for line in crashes.read_text().splitlines()] == ["137", "137"]
    assert "0 of 1 trials done, 1 lost" in (said := sweep.status()), said
    assert "killed (SIGKILL)" in said
    sweep.steps.release()
    assert "1 to run" in sweep.submit()
    place.check(sweep)
    assert ends(sweep) == [["silent", "silent", "done"]]


def cancelled(place: Place) -> None:
    sweep = place.begin()
    place.cluster.command("scancel", sweep.job())
    until_over(sweep)
    assert "0 of 1 trials done, 1 lost" in (said := sweep.status()), said
    assert "cancelled by root" in said
    assert "attempt 1, lost" in sweep.slq("logs", sweep.sweep.trials[0].id)
    sweep.steps.release()
    assert "1 to run" in sweep.submit()
    place.check(sweep)
    assert ends(sweep) == [[TERMINATED, "done"]]
    assert repeated(sweep) == 0
    assert "attempt 2, done" in (said := sweep.slq("logs", sweep.sweep.trials[0].id)), said
    assert "resuming at stage 1" in said


def out_of_memory(place: Place) -> None:
    sweep = place.prepare(held=None, step_megabytes=25, max_crashes=0)
    sweep.submit()
    until_over(sweep)
    assert "0 of 1 trials done, 1 lost" in (said := sweep.status()), said
    assert "\n  out of memory (SIGKILL)" in said
    sweep.write_site(extra={"nodelist": "n2"})
    sweep.submit()
    place.check(sweep)
    assert ends(sweep) == [["silent", "done"]]


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file: Path) -> None:
    """Let a file take what is left of its disk."""
    assert subprocess.run(["dd", "if=/dev/zero", f"of={file}", "bs=1k"], capture_output=True).returncode != 0


def disk_full(place: Place) -> None:
    """Without requeues: whether a line about the crash still fits on the disk, which decides about them, is chance."""
    sweep = place.prepare(max_crashes=0)
    filler = sweep.root / "filler"
    with small_disk(sweep.root):
        sweep.submit()
        until_trains(sweep)
        fill(filler)
        sweep.steps.release()
        until_over(sweep)
        assert "\n  disk full" in (said := sweep.status()), said
        assert place.cluster.accounting(task(sweep), "exitcode") == [("74:0",)]
        filler.unlink()
        sweep.submit()
        place.check(sweep)
        assert len(attempts(sweep)[0]) == 2


# Those of a line run one after the other, for they need the same node, or change the cluster.
LINES: tuple[tuple[Callable[[Place], None], ...], ...] = (
    (preempted_with_a_warning, preempted_with_sigterm_only, preempted_without_grace),
    (out_of_time,),
    (node_lost,),
    (killed,),
    (requeued_by_hand, cancelled),
    (out_of_memory, disk_full),
)
SCENARIOS = [scenario for line in LINES for scenario in line]
Outcomes = dict[Callable[[Place], None], Future[None]]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return undisturbed(tmp_path_factory.mktemp("undisturbed") / "x", TWO)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest,
    start_cluster: Callable[..., AbstractContextManager[DevCluster]],
    reference: Ledger,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Outcomes]:
    """All scenarios that are to be tested, begun."""
    wanted = {item.callspec.params.get("scenario") for item in request.session.items if hasattr(item, "callspec")}
    folder = tmp_path_factory.mktemp("survival")
    with ExitStack() as stack:
        cluster = stack.enter_context(start_cluster(**SETTINGS))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in cluster.env.items():
            patch.setenv(name, value)
        begun: Outcomes = {}
        for line in LINES:
            one = stack.enter_context(ThreadPoolExecutor(1))
            for scenario in line:
                if scenario in wanted:
                    begun[scenario] = one.submit(scenario, Place(folder / scenario.__name__, cluster, reference))
        yield begun


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_survives(scenario: Callable[[Place], None], outcomes: Outcomes) -> None:
    outcomes[scenario].result()


@pytest.mark.parametrize("write", [torch.save, save_file], ids=["torch", "safetensors"])
def test_a_full_disk_is_told_as_one_whoever_writes(write: Callable[..., object], tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk"):
        fill(tmp_path / "disk" / "filler")
        with pytest.raises(OSError, match="No space left") as error:
            write_atomic(tmp_path / "disk" / "file", lambda file: write({"weight": torch.zeros(10**6)}, file))
        assert error.value.errno == errno.ENOSPC
        assert [path.name for path in (tmp_path / "disk").iterdir()] == ["filler"]


def test_two_runs_of_one_job_after_a_network_cut(reference: Ledger, tmp_path: Path) -> None:
    """Slurm starts a job anew while its earlier run still works: the later one has the trials, the earlier one notices and ends."""
    with _at_work(tmp_path, 0) as (first_steps, earlier), _at_work(tmp_path, 1) as (second_steps, later):
        first_steps.release()
        said, _ = earlier.communicate(timeout=SECONDS)
        assert earlier.returncode == 0, said
        assert "the task ends" in said
        second_steps.release()
        said, _ = later.communicate(timeout=SECONDS)
        assert later.returncode == 0, said
    sweep, ledger = load_sweep(tmp_path / "sweep.yaml"), Ledger(tmp_path / "runs", "sweep")
    assert_same(ledger, reference, sweep)
    first, second = ([_end(attempt) for attempt in ledger.trial(trial.id).attempts()] for trial in sweep.trials)
    assert len(first) == 2
    assert first[0].startswith("superseded")
    assert (first[1], second) == ("done", ["done"])


@contextmanager
def _at_work(folder: Path, restart: int) -> Iterator[tuple[Steps, subprocess.Popen[str]]]:
    """A run of job 7 that is at work on its first trial, and held there."""
    steps = Steps(folder / f"steps-{restart}", held=HELD)
    job = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restart)}
    ledger, process = start_here(folder, TWO, **job, **steps.install())
    trial = ledger.trial(load_sweep(folder / "sweep.yaml").trials[0].id)
    try:
        until(lambda: _trains(trial.attempts(), restart + 1), f"run {restart} trains", SECONDS)
        yield steps, process
    finally:
        process.kill()
        process.communicate()
