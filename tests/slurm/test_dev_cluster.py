"""slurm/dev-cluster behaves as the clusters it stands for: accounting, GPUs, preemption, lost nodes, daemons that go away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from tests.slurm.dev_cluster import DevCluster, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., AbstractContextManager[DevCluster]]) -> Iterator[DevCluster]:
    with start_cluster(max_array=11, node_timeout=5, grace=2) as running:
        yield running


def test_a_job_runs_and_is_accounted_for(slurm_env: DevCluster) -> None:
    job = slurm_env.sbatch("echo hello from $SLURMD_NODENAME", "--nodelist=n3")
    slurm_env.wait(job, "COMPLETED")
    until(lambda: slurm_env.states(job) == ["COMPLETED"], "sacct knows of the end")
    assert slurm_env.output(job) == "hello from n3\n"


def test_a_gpu_job_sees_its_gpu_only(slurm_env: DevCluster) -> None:
    script = "echo $CUDA_VISIBLE_DEVICES $ROCR_VISIBLE_DEVICES; until [ -e $OUT/done ]; do sleep 0.1; done"
    flags = ("--gres=gpu:1", "--nodelist=n1", f"--export=ALL,OUT={slurm_env.directory}")
    jobs = [slurm_env.sbatch(script, *flags) for _ in range(2)]
    until(lambda: all(map(slurm_env.output, jobs)), "both jobs have said which GPU they see")
    (slurm_env.directory / "done").touch()
    assert sorted(map(slurm_env.output, jobs)) == ["0\n", "1\n"]
    cpu_job = slurm_env.sbatch('echo "${CUDA_VISIBLE_DEVICES-none}"', "--nodelist=n4")
    slurm_env.wait(cpu_job, "COMPLETED")
    assert slurm_env.output(cpu_job) == "none\n"


PREEMPTED = """
echo run ${SLURM_RESTART_COUNT:-0}
if [ -n "$SLURM_RESTART_COUNT" ]; then exit; fi
srun bash -c 'trap "echo warned" USR2; echo ready; while :; do sleep 0.1; done'
"""


def test_preemption_warns_then_requeues(slurm_env: DevCluster) -> None:
    low = slurm_env.sbatch(PREEMPTED, "--partition=low", "--nodelist=n1", "--exclusive", "--signal=USR2@90")
    until(lambda: "ready" in slurm_env.output(low), "the job to be preempted runs")
    high = slurm_env.sbatch("true", "--partition=high", "--nodelist=n1", "--exclusive")
    slurm_env.wait(high, "COMPLETED")
    slurm_env.wait(low, "COMPLETED")
    first, _, rest = slurm_env.output(low).partition("DUE TO PREEMPTION")
    assert "warned" in first.splitlines()
    assert "run 1" in rest.splitlines()
    until(lambda: slurm_env.states(low) == ["PREEMPTED", "COMPLETED"], "sacct tells the preemption")


DAEMON = "(setsid sleep 1000 &)\n"  # leaves its parents: Slurm loses sight of it


def test_a_lost_node_is_noticed_and_its_job_requeued(slurm_env: DevCluster) -> None:
    script = f"{DAEMON}echo run; srun sleep $((SLURM_RESTART_COUNT ? 0 : 1000))"
    job = slurm_env.sbatch(script, "--nodelist=n2")
    until(lambda: slurm_env.output(job) == "run\n", "the job runs")
    assert _processes_below(slurm_env.directory, "SLURMD_NODENAME=n2")
    slurm_env.kill_node("n2")
    until(lambda: not _processes_below(slurm_env.directory, "SLURMD_NODENAME=n2"), "its processes are gone")
    assert slurm_env.run("status", check=False).returncode == 1
    until(lambda: slurm_env.node_state("n2").startswith("down"), "the loss is noticed")
    assert slurm_env.state(job) == "PENDING"
    slurm_env.start_node("n2")
    slurm_env.wait(job, "COMPLETED")
    assert slurm_env.output(job) == "run\nrun\n"
    until(lambda: slurm_env.states(job) == ["NODE_FAIL", "COMPLETED"], "sacct tells the loss of the node")


def test_work_goes_on_without_accounting(slurm_env: DevCluster) -> None:
    slurm_env.stop_accounting()
    job = slurm_env.sbatch("true")
    slurm_env.wait(job, "COMPLETED")
    assert slurm_env.try_command("sacct", "-j", job).returncode != 0
    slurm_env.start_accounting()
    until(lambda: slurm_env.states(job) == ["COMPLETED"], "what happened meanwhile has reached accounting")


def test_a_running_job_survives_a_restart_of_the_controller(slurm_env: DevCluster) -> None:
    job = slurm_env.sbatch("until [ -e $OUT/go ]; do sleep 0.1; done", f"--export=ALL,OUT={slurm_env.directory}")
    slurm_env.wait(job, "RUNNING")
    slurm_env.stop_controller()
    assert slurm_env.try_command("squeue").returncode != 0
    (slurm_env.directory / "go").touch()
    slurm_env.start_controller()
    slurm_env.wait(job, "COMPLETED")


def test_stop_and_start_keep_job_ids_and_accounting(slurm_env: DevCluster) -> None:
    before = slurm_env.sbatch("true")
    slurm_env.wait(before, "COMPLETED")
    until(lambda: slurm_env.states(before) == ["COMPLETED"], "sacct knows of the end")
    assert slurm_env.run("status").returncode == 0
    slurm_env.run("stop")
    assert slurm_env.run("status", check=False).returncode == 1
    slurm_env.run("start")
    after = slurm_env.sbatch("true")
    assert int(after) > int(before) > 1
    assert slurm_env.states(before) == ["COMPLETED"]


def test_array_indices_end_below_the_maximum(slurm_env: DevCluster) -> None:
    job = slurm_env.sbatch("echo $SLURM_ARRAY_TASK_ID", "--array=9-10")
    slurm_env.wait(f"{job}_10", "COMPLETED")
    assert slurm_env.output(f"{job}_10") == "10\n"
    assert "Invalid job array" in slurm_env.try_command("sbatch", "--array=11", "--wrap=true").stderr


def test_two_clusters_side_by_side_and_nothing_left_of_the_second(
    slurm_env: DevCluster, start_cluster: Callable[..., AbstractContextManager[DevCluster]]
) -> None:
    job = slurm_env.sbatch("sleep 1000")
    slurm_env.wait(job, "RUNNING")
    with start_cluster(nodes=1, gpu_nodes=0, accounting=0) as other:
        other.wait(other.sbatch(f"{DAEMON}sleep 1000"), "RUNNING")
        assert len(slurm_env.queue()) == len(other.queue()) == 1
        until(lambda: _processes_below(other.directory, "SLURMD_NODENAME=n1"), "the job has begun")
    assert not _processes_below(other.directory)
    assert not other.directory.exists()
    assert slurm_env.queue() == {job: "RUNNING"}


def test_nodes_can_be_hosts_by_name(start_cluster: Callable[..., AbstractContextManager[DevCluster]]) -> None:
    if subprocess.run(["unshare", "--uts", "--mount", "true"], check=False).returncode:
        pytest.skip("no namespaces in this container")
    with start_cluster(nodes=2, gpu_nodes=0, accounting=0, hostnames=1) as other:
        assert other.command("srun", "--nodelist=n2", "hostname") == "n2\n"
        assert other.command("srun", "--nodelist=n2", "getent", "hosts", "n1", "n2").startswith("127.0.0.1 ")


STARTER = """
from tests.slurm.dev_cluster import dev_cluster
with dev_cluster(nodes=1, gpu_nodes=0, accounting=0) as cluster:
    print(cluster.directory, flush=True)
    input()
"""


def test_killed_tests_leave_no_cluster(start_cluster: object) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        directory = Path(starter.stdout.readline().strip())
        assert _processes_below(directory)
        starter.kill()
    until(lambda: not directory.exists(), "its cluster is gone")
    assert not _processes_below(directory)


def test_mistakes_are_named(slurm_env: DevCluster) -> None:
    assert "no node 'n9': n1 n2 n3 n4" in slurm_env.run("kill-node", "n9", check=False).stderr
    elsewhere = DevCluster(slurm_env.directory, slurm_env.settings | {"SLURM_DEV_DIR": f"{slurm_env.directory}/other"})
    assert "is in use: set SLURM_DEV_PORT" in elsewhere.run("start", check=False).stderr
    assert "no cluster at" in elsewhere.run("status", check=False).stderr
    changed = DevCluster(slurm_env.directory, slurm_env.settings | {"SLURM_DEV_CPUS": "2"})
    assert "other settings" in changed.run("start", check=False).stderr


def _processes_below(directory: Path, variable: str = "") -> list[str]:
    """Processes that have a cluster, and maybe another variable, in their environment: its daemons and jobs, those of a node."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            variables = environ.read_bytes().decode(errors="replace").split("\0")
            if f"SLURM_CONF={directory}/etc/slurm.conf" in variables and (not variable or variable in variables):
                found.append(environ.parent.name)
    return found
