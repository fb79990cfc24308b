"""A real Slurm cluster for tests: `slurm/dev-cluster` in a directory and on ports of its own, gone at the end whatever happens."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from filelock import FileLock, Timeout

SCRIPT = Path(__file__).parents[2] / "slurm" / "dev-cluster"
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "sbatch", "sacct")
# Below the ports that the kernel gives out by itself, and beside 17000, where a developer's cluster may be running.
PORT_BLOCKS = range(10_000, 17_000, 500)


def why_not() -> str | None:
    """The reason why no cluster can be started here, None if one can."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"no Slurm here ({', '.join(missing)} missing): slurm/dev-cluster install"
    return None if os.geteuid() == 0 else "slurm/dev-cluster needs root"


@dataclass
class DevCluster:
    """A running cluster. Slurm commands reach it through `command` and its kin, or anything with `env` in its environment."""

    directory: Path
    settings: dict[str, str] = field(default_factory=dict)  # SLURM_DEV_* variables

    partitions: ClassVar[tuple[str, ...]] = ("main", "low", "high", "gpu")
    nodes: ClassVar[tuple[str, ...]] = ("n1", "n2", "n3", "n4")
    gpu_nodes: ClassVar[tuple[str, ...]] = ("n1", "n2")

    @property
    def env(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.directory / "etc" / "slurm.conf")}

    def run(self, *verb: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Call slurm/dev-cluster."""
        return _call([str(SCRIPT), *verb], {**os.environ, **self.settings}, check)

    def kill_node(self, name: str) -> None:
        self.run("kill-node", name)

    def start_node(self, name: str) -> None:
        self.run("start-node", name)

    def stop_accounting(self) -> None:
        self.run("stop-accounting")

    def start_accounting(self) -> None:
        self.run("start-accounting")

    def stop_controller(self) -> None:
        self.run("stop-controller")

    def start_controller(self) -> None:
        self.run("start-controller")

    def restart_controller(self) -> None:
        self.run("restart-controller")

    def try_command(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a Slurm command on this cluster, whatever its exit code."""
        return _call(list(command), self._clean_env(), check=False)

    def command(self, *command: str) -> str:
        return _call(list(command), self._clean_env(), check=True).stdout

    def sbatch(self, script: str, *flags: str) -> str:
        """Submit the lines of a shell script, which write to what `output` reads; returns the job id."""
        name = "%A_%a" if any(flag.startswith("--array") for flag in flags) else "%j"
        command = ["sbatch", "--parsable", f"--output={self.directory}/{name}.out", "--open-mode=append", *flags]
        return _call(command, self._clean_env(), check=True, text=f"#!/bin/bash\n{script}\n").stdout.strip()

    def output(self, job: str) -> str:
        """What all runs of a job ("12", "12_3") submitted by `sbatch` have written so far; "" if it has not begun."""
        path = self.directory / f"{job}.out"
        return path.read_text() if path.exists() else ""

    def queue(self, *jobs: str) -> dict[str, str]:
        """State by job id ("12", "12_3") of what squeue lists, of these jobs or of all."""
        lines = self.command("squeue", "--noheader", "--array", "--format=%i|%T").splitlines()
        states = dict(line.split("|", 1) for line in lines)
        return {job: state for job, state in states.items() if not jobs or job in jobs or job.split("_")[0] in jobs}

    def state(self, job: str) -> str:
        """What the controller says of one job, running or ended; "" if it does not know the job."""
        flags = ("--noheader", "--states=all", "--format=%T", f"--jobs={job}")
        return self.try_command("squeue", *flags).stdout.strip()

    def wait(self, job: str, *states: str, seconds: float = 60.0) -> None:
        """Wait until a job is in one of these states."""
        until(lambda: self.state(job) in states, f"job {job} is {' or '.join(states)}", seconds)

    def accounting(self, job: str, *fields: str) -> list[tuple[str, ...]]:
        """What sacct says of every run of a job, oldest first; requeued runs are listed too. Without fields: the states."""
        flags = (
            "--allocations",
            "--duplicates",
            "--noheader",
            "--parsable2",
            f"--format={','.join(fields or ('state',))}",
        )
        return [tuple(line.split("|")) for line in self.command("sacct", "-j", job, *flags).splitlines()]

    def states(self, job: str) -> list[str]:
        """The states of all runs of a job in accounting, oldest first: ["PREEMPTED", "COMPLETED"]."""
        return [row[0].split(" ")[0] for row in self.accounting(job)]

    def node_state(self, name: str) -> str:
        # All nodes: asked for one alone, Slurm 22.05 goes on answering with a state from before the loss.
        lines = self.command("sinfo", "--Node", "--noheader", "--partition=main", "--format=%N %T").splitlines()
        return dict(line.split() for line in lines)[name]

    def cancel_all(self) -> None:
        """Cancel every job and wait until none is left."""
        jobs = {job.split("_")[0] for job in self.queue()}
        if jobs:
            self.command("scancel", *jobs)
        until(lambda: not self.queue(), "all jobs are cancelled")

    def restore(self) -> None:
        """As freshly started: no jobs, everything up. Job ids go on."""
        self.run("start-controller")
        self.cancel_all()
        self.run("start")

    def _clean_env(self) -> dict[str, str]:
        """Without what an earlier test or an outer Slurm job left in the environment: SBATCH_*, SLURM_*, ..."""
        prefixes = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_", "SINFO_")
        return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)} | self.env


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait until something is so; fail with its description if it does not come about."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


@contextmanager
def dev_cluster(**settings: object) -> Iterator[DevCluster]:
    """Start a cluster and remove it at the end; `max_array=11` is SLURM_DEV_MAX_ARRAY=11, and so on."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="slq-", dir="/tmp"))  # short: unix sockets lie below it
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        port = stack.enter_context(_free_ports())
        variables = {f"SLURM_DEV_{name.upper()}": str(value) for name, value in settings.items()}
        cluster = DevCluster(directory, variables | {"SLURM_DEV_DIR": str(directory), "SLURM_DEV_PORT": str(port)})
        stack.enter_context(_cleaned_at_our_end(cluster))
        stack.callback(cluster.run, "clean")
        cluster.run("start")
        yield cluster


@contextmanager
def _free_ports() -> Iterator[int]:
    """The first port of a block that nobody uses, locked against others who look for one."""
    for first in PORT_BLOCKS:
        lock = FileLock(f"/tmp/slq-dev-cluster-{first}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        try:
            if all(map(_is_free, [*range(first + 1, first + 5), *range(first + 91, first + 94)])):
                yield first
                return
        finally:
            lock.release()
    raise RuntimeError(f"no free ports for a cluster among {PORT_BLOCKS}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@contextmanager
def _cleaned_at_our_end(cluster: DevCluster) -> Iterator[None]:
    """Should we be killed, the pipe to this shell closes, and it removes the cluster."""
    shell = subprocess.Popen(
        ["bash", "-c", 'cat >/dev/null; exec "$0" clean', str(SCRIPT)],
        env={**os.environ, **cluster.settings},
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        shell.kill()
        shell.communicate()


def _call(command: list[str], env: dict[str, str], check: bool, text: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, env=env, input=text, capture_output=True, text=True, timeout=300, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done
