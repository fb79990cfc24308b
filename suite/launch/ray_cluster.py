"""A Ray of our own on the nodes of an allocation: one `ray start --block` per task, on what Slurm gave the task of its node.

Ray isolates nothing by itself. Here the address and the port are chosen and looked at first, the token is ours, the temporary
folder is new, worker ports are any that are free; so several Rays, and several nodes of one, may share a host. `ray stop` is never
called: it would end every Ray of the host.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import suite
from suite.claim import Owner
from suite.files import read_json, write_json
from suite.launch.allocation import MIB, Share
from suite.launch.meeting import Head
from suite.launch.pack import NODE_DATA, SETTINGS, STOP_FILE

OBJECT_STORE = 100 * MIB  # trials exchange nothing through it
LONGEST = 107 - 68  # bytes left for a node's folder in the path of a Unix socket, 68 is what we and Ray append
PATIENT = {  # Ray's own limits are for a quiet node; the first import of everything from a busy network disk takes longer
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_gcs_rpc_server_connect_timeout_s": "60",
    "RAY_py_gcs_connect_timeout_s": "120",
}
PREFIX = "slq-"
SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # of Linux's prctl
PATIENCE = 10.0  # seconds for killed processes to be gone


def own_address(environment: Mapping[str, str]) -> str:
    """This node's address as the other nodes of the job know it, for the node on which the job's steps are launched.

    That is where their output goes, so they reach it; if it is the loopback address, all nodes are on this host.
    """
    launched = environment.get("SLURM_LAUNCH_NODE_IPADDR", "")
    if launched and not launched.startswith("127.") and _is_ours(launched):
        return launched
    return address_towards("192.0.2.1")  # nobody's: for documentation


def address_towards(other: str) -> str:
    """The address of the interface that leads to another one. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((other, 9))
        except OSError:  # no network but the loopback
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _is_ours(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def free_port(address: str) -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def listens(head: Head) -> bool:
    """Whether anybody answers where the head should be."""
    with suppress(OSError), socket.create_connection((head.host, head.port), timeout=2.0):
        return True
    return False


@contextmanager
def node_folder(scratch: Path, name: str) -> Iterator[Path]:
    """A new folder on the node's own disk, removed at the end; and what killed jobs left there is removed first."""
    parent = scratch if len(os.fsencode(scratch / (PREFIX + name))) <= LONGEST else Path("/tmp")
    _remove_left_over(parent)
    folder = parent / (PREFIX + name)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:  # it may be another user's
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        write_json(folder / "owner.json", asdict(Owner.current()))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_over(parent: Path) -> None:
    """Remove folders of ours whose owner, a process of this machine, is dead."""
    for file in parent.glob(f"{PREFIX}*/owner.json"):
        with suppress(OSError, TypeError, ValueError):
            if file.stat().st_uid == os.getuid() and Owner(**read_json(file)).is_dead():
                shutil.rmtree(file.parent, ignore_errors=True)


def environment(token: str, folder: Path, data_root: Path) -> dict[str, str]:
    """Variables for all processes of a node: no setting for another Ray comes in, RAY_ADDRESS above all; the code is ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    code = [str(Path(suite.__file__).parent.parent), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {
        **SETTINGS,
        **PATIENT,
        "RAY_AUTH_MODE": "token",  # explicit: else it depends on a file in the home directory
        "RAY_AUTH_TOKEN": token,
        "RAY_memory_monitor_refresh_ms": "0",  # it watches the whole machine's memory; here the limit is Slurm's
        "PYTHONPATH": os.pathsep.join(code),
        "PYTHONSAFEPATH": "1",  # the folder a job happens to start in is no place for code
        STOP_FILE: str(folder / "stop"),
        NODE_DATA: str(data_root),
    }


def head_options(head: Head) -> list[str]:
    options = ["--head", f"--node-ip-address={head.host}", f"--port={head.port}", "--include-dashboard=false"]
    if importlib.util.find_spec("grpc"):  # then Ray also serves remote clients, on a port that two heads would share
        options.append(f"--ray-client-server-port={free_port(head.host)}")
    return options


def worker_options(head: Head) -> list[str]:
    return [f"--address={head.address}", f"--node-ip-address={address_towards(head.host)}"]


def start_node(
    options: Sequence[str], share: Share, variables: Mapping[str, str], folder: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Start Ray on this node, with its files in `folder`; it lives as long as the returned process, or this one."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *options]
    command += [f"--temp-dir={folder}", f"--num-cpus={share.cpus}", f"--num-gpus={share.gpus}"]
    command += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    command += [f"--object-store-memory={OBJECT_STORE}"]
    if share.memory is not None:
        command.append(f"--memory={max(share.memory - OBJECT_STORE, MIB)}")
    return start_sheltered(command, variables, folder, log)


def is_up(folder: Path) -> bool:
    """Whether Ray with its files in `folder` has started: writing this file is the last that `ray start` does."""
    return (folder / "ray_current_cluster").exists()


def start_sheltered(
    command: Sequence[str], variables: Mapping[str, str], folder: Path, log: Path | None
) -> subprocess.Popen[bytes]:
    """Start a process that Slurm's signals do not reach, nor its descendants: who started it decides when it ends."""
    with (log or Path(os.devnull)).open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(variables),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output if log else None,
            stderr=subprocess.STDOUT if log else None,
            preexec_fn=_shelter,
        )


def _shelter() -> None:
    """Slurm sends its signals to all processes of a step, and Ray's own end at once: the trials in them could not save any more.

    Ignoring is inherited by all that a process starts, and so is blocking, which also holds where Ray installs a handler.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def adopt_orphans() -> None:
    """Have all descendants whose parent dies become children of this process, so that `end_descendants` finds them."""
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1)


def end_descendants() -> None:
    """Kill all that this process and its descendants have started, and wait until it is gone. Nothing in Ray needs saving."""
    end = time.monotonic() + PATIENCE
    while (family := descendants(os.getpid())) and time.monotonic() < end:
        for process in family:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
        _reap()


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def descendants(process: int) -> list[int]:
    """All processes below this one, zombies included."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found = list(children.get(process, []))
    for each in found:  # which grows
        found += children.get(each, [])
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Every process of this machine with its parent."""
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _text(folder / "stat").rpartition(")")[2].split():
            yield int(folder.name), int(fields[1])


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # the process has ended
        return ""


def tail(file: Path, lines: int = 30) -> str:
    """The last lines of a log."""
    return "\n".join(_text(file).splitlines()[-lines:])
