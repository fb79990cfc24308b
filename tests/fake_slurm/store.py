"""The state of the fake cluster: a folder with a JSON file for each task. Only the controller changes a task once it is submitted.

tasks/<job>_<index>.json, tasks/<job>.json      array tasks and single jobs
jobs/<job>/{slurm_script, environment.json}     what sbatch was given
steps/<raw id>.<restarts>/<step>.json           written by srun
requests/*.json                                 from the commands to the controller, which removes them when it has acted
calls.jsonl                                     a line for each command: {"time", "argv", "task"}
slots, max_array, fail, ...                     settings, if they are to change while the cluster runs
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Task = dict[str, Any]

SETTINGS = {
    "slots": "2",  # tasks that run at once
    "max_array": "1001",  # MaxArraySize
    "max_submit": "",  # tasks that may be pending or running at once, "" for no limit
    "fail": "",  # commands that fail as if their daemon were down: sacct, sbatch, ..., or slurmctld, slurmdbd;
    #              sbatch-lost: the job is submitted, but sbatch says that the answer did not come
    "kill_wait": "2",  # seconds between SIGTERM and SIGKILL
    "grace": "2",  # seconds between the warning and the end, when preempted or out of time by `fake-slurm`
    "preempt_send_user_signal": "1",  # warn of preemption with the signal of --signal; "0", or without --signal: SIGTERM
    "requeue_delay": "0.3",  # seconds after which a requeued task may start again
    "minute": "60",  # seconds in a minute of --time and --signal: less makes limits come sooner
}
NODES = {"n1": 2, "n2": 2, "n3": 0, "n4": 0}  # and their GPUs
CPUS, MEMORY = 4, 4000  # of a node; MiB
PARTITIONS = {"main": list(NODES), "low": list(NODES), "high": list(NODES), "gpu": ["n1", "n2"]}
LIVE = ("PENDING", "RUNNING", "COMPLETING")
MARK = "FAKE_SLURM_TASK"  # in the environment of all processes of a task: <state folder>/<key>/


def folder() -> Path:
    return Path(os.environ["FAKE_SLURM"]).absolute()


def setting(name: str) -> str:
    """From the state folder, else from the environment (FAKE_SLURM_SLOTS ...), else the default."""
    try:
        return (folder() / name).read_text().strip()
    except FileNotFoundError:
        return os.environ.get(f"FAKE_SLURM_{name.upper()}", SETTINGS[name])


def write(path: Path, value: Any) -> None:
    """Atomically: readers see the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def save(task: Task) -> None:
    write(folder() / "tasks" / f"{task['key']}.json", task)


def _read_all(path: Path) -> list[Any]:
    found = []
    for file in path.glob("[!.]*.json"):
        try:
            found.append(json.loads(file.read_text()))
        except FileNotFoundError:  # a request that was served meanwhile
            continue
    return found


def tasks() -> list[Task]:
    """All tasks, ordered by job and index."""
    return sorted(_read_all(folder() / "tasks"), key=order)


def order(task: Task) -> tuple[int, int]:
    return task["array"], task["index"] if task["index"] is not None else -1


def steps(task: Task) -> list[dict[str, Any]]:
    """What srun has noted of the steps of a task's run."""
    return sorted(_read_all(step_folder(task)), key=lambda step: int(step["number"]))


def step_folder(task: Task) -> Path:
    return folder() / "steps" / f"{task['job']}.{task['restarts']}"


@contextmanager
def locked() -> Iterator[None]:
    """One process at a time hands out job ids, places a request, starts or ends the controller."""
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def next_job_id() -> int:
    """Call it with the lock. The first id depends on the time: Submitit names its files by job id, so none should come again."""
    path = folder() / "last_job_id"
    last = int(path.read_text()) if path.exists() else int(time.time() * 10) % 10**8 + 10**7
    path.write_text(str(last + 1))
    return last + 1


def ask(verb: str, **details: Any) -> None:
    """Have the controller do something, and wait until it has. It is started if it does not run."""
    path = folder() / "requests" / f"{time.time_ns():020}-{os.getpid()}.json"
    with locked():
        write(path, {"verb": verb, **details})
        controller = _start_controller() or int((folder() / "controller.pid").read_text())
        os.kill(controller, signal.SIGUSR1)
    while path.exists():
        time.sleep(0.005)
        if not controller_runs() and path.exists():
            path.unlink(missing_ok=True)
            sys.exit(f"the fake's controller ended; see {folder() / 'controller.log'}")


def _controller_lock() -> int | None:
    """Held by the controller as long as it lives; None if it does."""
    descriptor = os.open(folder() / "controller.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def controller_runs() -> bool:
    descriptor = _controller_lock()
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def _start_controller() -> int | None:
    """Start the controller, which inherits the lock and blocked signals; its process id, None if it runs already."""
    descriptor = _controller_lock()
    if descriptor is None:
        return None
    os.set_inheritable(descriptor, True)
    log = os.open(folder() / "controller.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-SE", str(Path(__file__).parent), "slurmctld"],
        {name: value for name, value in os.environ.items() if name != MARK},
        file_actions=[(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
        setsid=True,
        setsigmask=[signal.SIGUSR1, signal.SIGCHLD],
    )
    for opened in (descriptor, log, null):
        os.close(opened)
    (folder() / "controller.pid").write_text(str(pid))
    return pid


def processes(variable: str, prefix: str) -> list[int]:
    """Processes that were started with an environment variable that begins so."""
    wanted = f"{variable}={prefix}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # ended, or somebody else's
            continue
        if environment.startswith(wanted) or b"\0" + wanted in environment:
            found.append(int(entry.name))
    return found


def kill_all(prefix: str) -> None:
    """Kill all processes with this mark, and those that they start meanwhile."""
    while found := processes(MARK, prefix):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.002)
