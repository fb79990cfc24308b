"""A Ray of our own: what it is started with, how its tasks meet, and that nothing of it is left; without Slurm."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from suite import stop
from suite.claim import Owner
from suite.config import Trial
from suite.errors import UserError
from suite.files import write_json
from suite.launch import pack, ray_cluster
from suite.launch.allocation import MIB, Share
from suite.launch.meeting import Head, Meeting
from suite.launch.ray_slurm import RayPack, refuse_unfit
from suite.launch.site import Site
from suite.ledger import Ledger, State
from tests.slurm.steps import Steps
from tests.test_launch import wait_until

HEAD = Head("127.0.0.1", 1, "secret")
PATIENCE = 600.0


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "64"}, Share(4, 0, None)),
        ({"SLURM_CPUS_ON_NODE": "3", "SLURM_MEM_PER_NODE": "1000"}, Share(3, 0, 1000 * MIB)),
        ({"SLURM_CPUS_PER_TASK": "3", "SLURM_MEM_PER_CPU": "500"}, Share(3, 0, 1500 * MIB)),
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_NODE": "0"}, Share(1, 0, None)),
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_GPUS_ON_NODE": "2", "SLURM_MEM_PER_GPU": "70"}, Share(1, 2, 140 * MIB)),
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_STEP_GPUS": "2,3", "CUDA_VISIBLE_DEVICES": "0,1"}, Share(1, 2, None)),
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_GPUS_ON_NODE": "4", "CUDA_VISIBLE_DEVICES": "1"}, Share(1, 1, None)),
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_GPUS_ON_NODE": "4", "CUDA_VISIBLE_DEVICES": ""}, Share(1, 0, None)),
        (
            {"SLURM_CPUS_PER_TASK": "1", "CUDA_VISIBLE_DEVICES": "0,1"},
            Share(1, 0, None),
        ),  # left over from a login shell
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, Share(1, 0, None)),
    ],
)
def test_the_share_of_a_node_is_what_slurm_gave_and_not_what_the_node_has(given: dict[str, str], share: Share) -> None:
    assert Share.of(given) == share


def test_a_requeued_run_does_not_meet_its_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first = Meeting.of_this_run(tmp_path)
    first.announce(HEAD)
    first.ask_to_stop("preempted")
    assert Meeting.of_this_run(tmp_path).head() == HEAD
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = Meeting.of_this_run(tmp_path)
    assert again.head() is None
    assert again.asked_to_stop() is None
    again.announce(HEAD)
    assert first.head() is None, "the token of a killed run does not stay"
    assert again.head() == HEAD


def test_the_token_is_for_its_owner_and_gone_at_the_end(tmp_path: Path) -> None:
    meeting = Meeting(tmp_path)
    previous = os.umask(0)
    try:
        meeting.announce(HEAD)
    finally:
        os.umask(previous)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not meeting.has_ended()
    meeting.end()
    assert meeting.has_ended()
    assert "secret" not in "".join(each.read_text() for each in tmp_path.iterdir())


def test_failures_are_told_by_node(tmp_path: Path) -> None:
    meeting = Meeting(tmp_path)
    assert meeting.failures() == {}
    meeting.report_failure(12, "no room")
    meeting.report_failure(3, "no network")
    assert meeting.failures() == {12: "no room", 3: "no network"}


def test_the_port_is_free_and_the_address_ours() -> None:
    port = ray_cluster.free_port("127.0.0.1")
    head = Head("127.0.0.1", port, "")
    assert not ray_cluster.listens(head)
    with socket.create_server(("127.0.0.1", port)):
        assert ray_cluster.listens(head)
    assert ray_cluster.address_towards("127.0.0.1") == "127.0.0.1"
    ours = ray_cluster.own_address({})
    socket.inet_aton(ours)  # an address, not a name
    assert ray_cluster.own_address({"SLURM_LAUNCH_NODE_IPADDR": ours}) == ours
    assert ray_cluster.own_address({"SLURM_LAUNCH_NODE_IPADDR": "192.0.2.77"}) == ours, "another node's"
    assert ray_cluster.own_address({"SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1"}) == ours


def test_a_nodes_folder_is_private_and_removed(tmp_path: Path) -> None:
    short = Path("/tmp") / f"t{os.getpid()}"
    short.mkdir()
    try:
        with ray_cluster.node_folder(short, "1-0") as folder:
            assert folder == short / "slq-1-0"
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            with ray_cluster.node_folder(short, "1-0") as other:
                assert other != folder, "it may be another user's"
        assert not list(short.iterdir())
        killed = short / "slq-9-0"
        killed.mkdir()
        write_json(killed / "owner.json", {**asdict(Owner.current()), "born": "0"})
        with ray_cluster.node_folder(short, "1-0") as folder, ray_cluster.node_folder(short, "2-0"):
            assert not killed.exists(), "what a dead process left is removed"
            assert folder.exists(), "what a living one uses is not"
    finally:
        short.rmdir()


def test_a_folder_too_deep_for_unix_sockets_is_not_used(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    with ray_cluster.node_folder(deep, f"{os.getpid()}-0") as folder:
        assert folder.parent == Path("/tmp")


def test_no_setting_for_another_ray_and_no_code_but_ours_comes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/somebody/else")
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    variables = ray_cluster.environment("ours", tmp_path, Path("/data"))
    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["RAY_AUTH_TOKEN"] == "ours"
    assert "RAY_ADDRESS" not in variables
    assert "RAY_AUTH_TOKEN_PATH" not in variables
    there = tmp_path / "suite"
    there.mkdir()
    (there / "__init__.py").write_text("")
    shown = subprocess.run(
        [sys.executable, "-m", "suite.launch.ray_driver", "{}"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(Path(ray_cluster.__file__).parent) in shown.stderr, "not the package in the current folder"


SHELTERED = """
import os, signal, subprocess, sys, time
from pathlib import Path
from suite.launch.ray_cluster import adopt_orphans, descendants, end_descendants, start_sheltered

child = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
log = Path(sys.argv[1])
adopt_orphans()
process = start_sheltered([sys.executable, "-c", child], os.environ, log.parent, log)
while len(log.read_text().splitlines()) < 1:
    time.sleep(0.05)
inner = int(log.read_text())
print(process.pid, inner, flush=True)
if sys.argv[2] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
for number in (signal.SIGUSR2, signal.SIGTERM):
    os.kill(process.pid, number)
    os.kill(inner, number)
time.sleep(0.5)
states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in (process.pid, inner)]
assert "Z" not in states, "signals ended them"
assert sorted(descendants(os.getpid())) == sorted([process.pid, inner])
os.kill(process.pid, signal.SIGKILL)
process.wait()
assert descendants(os.getpid()) == [inner], "an orphan is lost"
end_descendants()
assert descendants(os.getpid()) == []
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "die"])
def test_signals_do_not_reach_what_is_sheltered_and_nothing_outlives_its_starter(tmp_path: Path, end: str) -> None:
    command = [sys.executable, "-c", SHELTERED, str(tmp_path / "log"), end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    child, inner = map(int, done.stdout.split())
    try:
        assert done.returncode == (-signal.SIGKILL if end else 0), done.stderr
        wait_until(lambda: not is_alive(child), 10)
        if not end:
            assert not is_alive(inner)
    finally:
        if is_alive(inner):  # in Ray, the inner ones end by themselves when the outer one is gone
            os.kill(inner, signal.SIGKILL)


def is_alive(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_stop_file_stops_a_trial_which_saves(
    tmp_path: Path, ledger: Ledger, make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stop"
    monkeypatch.setenv(pack.STOP_FILE, str(file))
    monkeypatch.setattr(pack, "WATCH", 0.01)
    trial = make_trial({"name": "slq", "bits": 3}, retrain={"epochs": 200, "batch_size": 128})
    said: list[str] = []
    runner = threading.Thread(target=lambda: said.append(pack._run(trial, ledger, Path("data"))))
    try:
        runner.start()
        work = ledger.trial(trial.id)
        wait_until(lambda: (attempt := work.newest_attempt()) is not None and attempt.newest("train"))
        file.write_text("the node is needed")
        runner.join()
        assert said == ["stopped: the node is needed"]
        assert work.state() is State.LOST
        assert work.checkpoint.exists()
        attempts = len(work.attempts())
        assert pack._run(trial, ledger, Path("data")) == "stopped: the node is needed"
        assert len(work.attempts()) == attempts, "nothing is begun any more"
    finally:
        stop.clear()


def test_a_profile_that_ray_can_do_nothing_with_is_refused() -> None:
    with pytest.raises(UserError, match="set srun = true"):
        refuse_unfit(Site(srun=False, nodes=2))
    refuse_unfit(Site(srun=False, nodes=1))
    with pytest.raises(UserError, match="leave 3 minutes or more"):
        refuse_unfit(Site(time="00:04:00", signal_seconds=90))
    refuse_unfit(Site(time="00:05:00", signal_seconds=90))


TASK = """
import json, os, signal, sys
from suite.launch.ray_slurm import RayPack

def requeue(number, frame):  # as Submitit's handler does
    print("requeued", flush=True)
    sys.exit(255)

signal.signal(signal.SIGUSR2, requeue)
signal.signal(signal.SIGTERM, requeue)
RayPack(**json.loads(sys.argv[1]))()
"""


class Allocation:
    """Two tasks as Slurm would start them, on this host."""

    def __init__(self, folder: Path, trials: list[Trial], environment: dict[str, str]) -> None:
        self.environment = environment
        self.ledger = Ledger(folder / "runs", "x")
        self.submission = self.ledger.path / "submissions" / "token"
        self.submission.mkdir(parents=True)
        intent = {"schema": 1, "trials": [trial.id for trial in trials]}
        write_json(self.submission / "submission.json", intent)
        write_json(self.submission / "trials.json", {"schema": 1, "trials": [trial.config() for trial in trials]})
        self.job = str(os.getpid())

    def run(self, restarts: int = 0) -> list[subprocess.Popen[str]]:
        where = (str(self.submission), str(self.ledger.root), "x", "data")
        told = json.dumps(asdict(RayPack(*where, 0.0, "none", 30.0, None, False)))
        slurm = {"SLURM_JOB_ID": self.job, "SLURM_RESTART_COUNT": str(restarts), "SLURM_JOB_NUM_NODES": "2"}
        slurm |= {"SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_NODE": "1000"}
        return [
            subprocess.Popen(
                [sys.executable, "-c", TASK, told],
                env={**os.environ, **self.environment, **slurm, "SLURM_PROCID": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(2)
        ]

    def left(self) -> list[Path]:
        return [p for p in Path("/proc").glob("[0-9]*") if f"SLURM_JOB_ID={self.job}\0" in _variables(p)]


def _variables(process: Path) -> str:
    try:
        return (process / "environ").read_text(errors="replace")
    except OSError:
        return ""


@pytest.mark.slow
def test_two_tasks_pack_trials_are_warned_and_go_on(
    tmp_path: Path, make_trial: Callable[..., Trial], ledger: Ledger
) -> None:
    """The whole of it without Slurm: two nodes on this host."""
    from suite.trial import run_trial

    runtime = {"log_steps": 2, "checkpoint_seconds": 0.001}
    trials = [
        make_trial({"name": "slq", "bits": 3}, seed=seed, retrain={"epochs": 4, "batch_size": 128}, runtime=runtime)
        for seed in range(2)
    ]
    steps = Steps(tmp_path / "steps", held=40)
    allocation = Allocation(tmp_path, trials, steps.install())
    works = [allocation.ledger.trial(trial.id) for trial in trials]
    tasks = allocation.run()
    try:
        wait_until(lambda: all(work.checkpoint.exists() for work in works) or tasks[0].poll() is not None, PATIENCE)
        for task in tasks:
            task.send_signal(signal.SIGUSR2)
        said = [task.communicate(timeout=PATIENCE)[0] for task in tasks]
        assert [task.returncode for task in tasks] == [255, 0], said
        assert "requeued" in said[0]
        assert not allocation.left()
        ends = [work.attempts()[0].newest("end") for work in works]
        assert [end and end["outcome"] for end in ends] == ["interrupted"] * 2

        steps.release()
        tasks = allocation.run(restarts=1)
        said = [task.communicate(timeout=PATIENCE)[0] for task in tasks]
        assert [task.returncode for task in tasks] == [0, 0], said
        assert not allocation.left()
        assert [len(work.attempts()) for work in works] == [2, 2]
        for trial, work in zip(trials, works, strict=True):
            run_trial(trial, ledger, Path("data"))
            assert work.model.read_bytes() == ledger.trial(trial.id).model.read_bytes()

        tasks = allocation.run(restarts=2)
        said = [task.communicate(timeout=PATIENCE)[0] for task in tasks]
        assert "nothing is left to do" in said[0]
        assert "Ray" not in said[0], "nor started"
    finally:
        for process in allocation.left():
            os.kill(int(process.name), signal.SIGKILL)
