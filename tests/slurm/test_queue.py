"""What is read from a real Slurm: every way a job can end, daemons that are away, and cancelling."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from suite.launch.cancel import cancel_all
from suite.launch.cause import cause, of_job
from suite.launch.queue import Job, Report, live, look
from suite.launch.submission import submissions
from suite.launch.usage import bill
from suite.ledger import Ledger
from tests.slurm.dev_cluster import DevCluster, until
from tests.submitted import Scene

pytestmark = pytest.mark.slow

FOREVER = "while :; do sleep 0.2; done"
EAT = "python3 -c 'import time; eaten = bytearray(400 * 2**20); time.sleep(600)'"


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., AbstractContextManager[DevCluster]]) -> Iterator[DevCluster]:
    with start_cluster(memory_limit=1, grace=2) as running:
        yield running


class Ends:
    """Jobs that end in all ways, by name."""

    def __init__(self, cluster: DevCluster) -> None:
        self.cluster, self.ids = cluster, dict[str, str]()

    def start(self, name: str, script: str, *flags: str) -> str:
        self.ids[name] = self.cluster.sbatch(script, f"--job-name=slq-{name}", *flags)
        return self.ids[name]

    def report(self) -> Report:
        return look({job: f"slq-{name}" for name, job in self.ids.items()})

    def job(self, name: str, task: str = "") -> Job:
        return self.report().jobs[self.ids[name] + task]

    def ran(self, name: str) -> float:
        """Seconds, as far as Slurm has told."""
        job = self.report().jobs.get(self.ids[name])
        return job.elapsed if job else 0.0

    def all_over(self) -> bool:
        """Whether sacct knows the ends of all."""
        jobs = self.report().jobs.values()
        return {job.id.partition("_")[0] for job in jobs} == set(self.ids.values()) and not any(
            j.is_live() for j in jobs
        )

    def log(self, name: str) -> str:
        return self.cluster.output(self.ids[name])


@pytest.fixture(scope="module")
def ends(cluster: DevCluster) -> Iterator[Ends]:
    """Starts everything at once, since time limits and lost nodes take their time, and waits until all is over."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.env.items():
            patch.setenv(name, value)
        ends = Ends(cluster)
        once = f"if [ -z $SLURM_RESTART_COUNT ]; then {FOREVER}; fi"
        ends.start("time", FOREVER, "--time=1", "--nodelist=n4")
        ends.start("memory", EAT, "--mem=100", "--nodelist=n4")
        ends.start("task-memory", f"srun {EAT}", "--mem=100", "--nodelist=n4")
        ends.start("killed", "kill -9 $$")
        ends.start("task-killed", "srun bash -c 'kill -9 $$'")
        for code in (1, 70, 74):
            ends.start(f"code-{code}", f"exit {code}")
        ends.start("well", "true", "--array=0-3", "--time=30")
        ends.start("node", once, "--nodelist=n3")
        ends.start("preempted", once, "--partition=low", "--nodelist=n2", "--exclusive")
        ends.start("requeued", once, "--nodelist=n1")  # a dead node would leave one record for both runs
        ends.start("cancelled", FOREVER, "--array=0-1")
        ends.start("never", FOREVER, "--array=0-20:4%2", "--hold")
        for name in ("node", "preempted", "requeued"):
            cluster.wait(ends.ids[name], "RUNNING")
        cluster.wait(f"{ends.ids['cancelled']}_1", "RUNNING")
        until(lambda: ends.ran("requeued") >= 2, "the job to be requeued has run for a while")
        cluster.kill_node("n3")
        cluster.sbatch("true", "--partition=high", "--nodelist=n2", "--exclusive")
        cluster.command("scontrol", "requeue", ends.ids["requeued"])
        cluster.command("scancel", ends.ids["cancelled"], ends.ids["never"])
        until(lambda: cluster.node_state("n3").startswith("down"), "the loss of n3 is noticed")
        cluster.start_node("n3")
        until(lambda: not cluster.queue(), "all jobs are over", 180)
        until(ends.all_over, "and sacct knows")
        yield ends


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("time", "time limit reached"),
        ("memory", "out of memory (SIGKILL)"),
        ("task-memory", "out of memory (SIGKILL)"),
        ("killed", "killed (SIGKILL)"),
        ("task-killed", "killed (SIGKILL)"),
        ("code-1", "failed with exit code 1"),
        ("code-70", "sick node: trials failed there one after the other (exit code 70)"),
        ("code-74", "disk full (exit code 74)"),
    ],
)
def test_every_end_is_told_apart(ends: Ends, name: str, words: str) -> None:
    job = ends.job(name)
    assert job.is_lost()
    assert cause(job, log=ends.log(name)) == words


@pytest.mark.parametrize(
    ("name", "words"), [("node", "node failure of n3"), ("preempted", "preempted"), ("requeued", "requeued")]
)
def test_jobs_that_were_requeued_have_two_runs(ends: Ends, name: str, words: str) -> None:
    job = ends.job(name)
    assert job.ended_well()
    assert job.restarts == 1
    assert len(job.runs()) == 2
    first = job.run(0)
    assert first is not None
    assert of_job(first) == words
    assert first.end is not None
    assert job.start is not None
    assert first.end <= job.start


def test_cancelled_while_running_and_while_waiting(ends: Ends) -> None:
    user = cause(ends.job("cancelled", "_0"))
    assert user == f"cancelled by {os.environ.get('USER', 'root')}"
    assert [cause(ends.job("never", f"_{task}")) for task in range(0, 21, 4)] == [user] * 6
    assert f"{ends.ids['never']}_1" not in ends.report().jobs


def test_tasks_that_ended_well(ends: Ends) -> None:
    jobs = [ends.job("well", f"_{task}") for task in range(4)]
    assert all(job.ended_well() for job in jobs)
    assert {(job.limit, job.cpus, job.gpus) for job in jobs} == {(1800.0, 1, 0.0)}
    assert all(job.nodes for job in jobs)


def test_other_peoples_names_are_left_out(ends: Ends) -> None:
    assert not look({ends.ids["time"]: "slq-other"}).jobs


def test_while_it_waits_and_runs(slurm_env: DevCluster, ends: Ends) -> None:
    array = slurm_env.sbatch(FOREVER, "--job-name=slq-a", "--array=0-8%2", "--time=30", "--cpus-per-task=2")
    gpu = slurm_env.sbatch(FOREVER, "--job-name=slq-g", "--gres=gpu:2")
    slurm_env.wait(f"{array}_1", "RUNNING")
    slurm_env.wait(gpu, "RUNNING")
    names = {array: "slq-a", gpu: "slq-g"}
    until(lambda: sum(job.is_running() for job in look(names).jobs.values()) == 3, "sacct knows")
    report = look(names)
    assert report.source == "sacct"
    waiting = [job for job in report.jobs.values() if job.is_waiting()]
    assert {job.id for job in waiting} == {f"{array}_{task}" for task in range(2, 9)}
    running = report.jobs[f"{array}_0"]
    left = running.seconds_left()
    assert left is not None
    assert 1500 < left <= 1800
    assert (running.cpus, report.jobs[gpu].gpus) == (2, 2)
    until(lambda: look(names).jobs[f"{array}_5"].reason == "JobArrayTaskLimit", "the reason is known", seconds=300)


def test_without_the_accounting_daemon_and_without_the_controller(slurm_env: DevCluster, ends: Ends) -> None:
    array = slurm_env.sbatch(FOREVER, "--job-name=slq-a", "--array=0-3%1")
    brief = slurm_env.sbatch("true", "--job-name=slq-b")
    slurm_env.wait(f"{array}_0", "RUNNING")
    slurm_env.wait(brief, "COMPLETED")
    slurm_env.stop_accounting()
    names = {array: "slq-a", brief: "slq-b", ends.ids["time"]: "slq-time", "1": "slq-long-ago"}
    report = look(names)
    assert report.source == "squeue"
    assert "Connection refused" in report.problem
    states = {id_: (job.is_running(), job.is_waiting()) for id_, job in report.jobs.items() if id_.startswith(array)}
    assert states == {f"{array}_0": (True, False)} | {f"{array}_{task}": (False, True) for task in (1, 2, 3)}
    assert report.jobs[f"{array}_2"].reason == "JobArrayTaskLimit"
    assert report.jobs[brief].ended_well(), "the controller remembers it for a while"
    slurm_env.stop_controller()
    silent = look(names)
    assert (silent.jobs, silent.source) == ({}, "")
    assert "Unable to contact" in silent.problem
    slurm_env.start_controller()
    slurm_env.start_accounting()
    until(lambda: look(names).source == "sacct", "accounting is back")
    until(lambda: look(names).jobs[ends.ids["time"]].is_lost(), "with all that it knew")


def test_a_cluster_without_accounting(
    start_cluster: Callable[..., AbstractContextManager[DevCluster]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_cluster(accounting=0) as other:
        monkeypatch.setenv("SLURM_CONF", other.env["SLURM_CONF"])
        job = other.sbatch(f"if [ -z $SLURM_RESTART_COUNT ]; then {FOREVER}; fi; exit 74", "--job-name=slq-a")
        other.wait(job, "RUNNING")
        other.command("scontrol", "requeue", job)
        other.wait(job, "FAILED")
        report = look({job: "slq-a"})
    assert (report.source, report.problem) == ("squeue", "sacct: Slurm accounting storage is disabled")
    found = report.jobs[job]
    assert (found.restarts, found.run(0)) == (1, None)
    assert cause(found) == "disk full (exit code 74)"


def test_cancelling_a_sweep(slurm_env: DevCluster, tmp_path: Path) -> None:
    scene = Scene(Ledger(tmp_path, "short"), 6)
    array = slurm_env.sbatch(FOREVER, "--job-name=slq-a", "--array=0-4%2")
    lost = slurm_env.sbatch(FOREVER, "--job-name=slq-b")
    other = slurm_env.sbatch(FOREVER, "--job-name=of-somebody-else")
    scene.submit("a", array, range(5))
    scene.submit("b", None, range(5, 6), backend="ray")
    scene.submit("c", other, range(5, 6), backend="ray")
    slurm_env.wait(f"{array}_1", "RUNNING")
    slurm_env.wait(other, "RUNNING")
    assert {job.id for job in live(["slq-a", "slq-b"])} == {f"{array}_{task}" for task in range(5)} | {lost}
    assert set(cancel_all(scene.ledger)) == {array, lost}
    until(lambda: set(slurm_env.queue(array, lost, other)) == {other}, "only the other job is left")
    assert [each.closed for each in submissions(scene.ledger)] == ["cancelled", "cancelled", ""]
    assert cancel_all(scene.ledger) == []


def test_what_it_cost(slurm_env: DevCluster, ends: Ends, tmp_path: Path) -> None:
    scene = Scene(Ledger(tmp_path, "short"), 2)
    burn = "srun python3 -c 'import time\nwhile time.process_time() < 2: pass'"
    job = slurm_env.sbatch(burn, "--job-name=slq-a", "--array=0-1", "--cpus-per-task=2", "--gres=gpu:1")
    scene.submit("a", job, range(2))
    scene.submit("preempted", ends.ids["preempted"], range(1), backend="ray")
    until(lambda: slurm_env.states(job) == ["COMPLETED"] * 2, "sacct knows of the end")
    (_, array), (_, preempted) = bill(scene.ledger).rows
    assert array.runs == preempted.runs == 2
    assert array.cpu_hours == pytest.approx(2 * array.gpu_hours)
    assert array.gpu_hours * 3600 >= 4
    assert array.cpu_used * 3600 >= 4
    assert 0 < (array.efficiency or 0) <= 0.6, "one of its two CPUs was idle"
    first, second = ends.job("preempted").runs()
    assert preempted.cpu_hours == pytest.approx(4 * (first.elapsed + second.elapsed) / 3600), (
        "both runs, of a whole node"
    )
