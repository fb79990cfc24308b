"""The fixture `fake_slurm`: a cluster of its own for a test, first on PATH, and no process of it left behind.

A test module uses it with `pytest_plugins = "tests.fake_slurm.fixture"`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_slurm import store
from tests.fake_slurm.__main__ import install

PATIENCE = 60.0  # seconds that a test waits for a task to get somewhere


class FakeSlurm:
    """A fake cluster with its state in `folder`; the environment is set so that Slurm's commands are its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        # jobs write where they were submitted
        return subprocess.run(command, check=check, capture_output=True, text=True, input=stdin, cwd=self.folder.parent)

    def sbatch(self, script: str, *options: str) -> str:
        """Submit a script (its text); returns the job's id."""
        text = script if script.startswith("#!") else f"#!/bin/bash\n{script}"
        return self.run("sbatch", "--parsable", *options, stdin=text).stdout.strip()

    def set(self, name: str, value: object) -> None:
        """Change a setting (store.SETTINGS), also while it runs."""
        if name not in store.SETTINGS:
            raise KeyError(f"{name}; allowed: {', '.join(store.SETTINGS)}")
        store.folder().mkdir(exist_ok=True)
        temporary = self.folder / f".{name}"
        temporary.write_text(str(value))
        temporary.replace(self.folder / name)

    def fail(self, *commands: str) -> None:
        """From now on these commands fail as if their daemon were down (see the setting); none: all work again."""
        self.set("fail", ",".join(commands))

    # --- what happens to tasks: JOB is "123" (all running tasks of it) or "123_4"

    def preempt(self, job: str, signal: str | None = None) -> None:
        """Warn with the signal of its --signal, else with SIGTERM (or with this one), end after `grace`, requeue."""
        self.run("fake-slurm", "preempt", job, *([signal] if signal else []))

    def timeout(self, job: str) -> None:
        """Its time is up: the signal of its --signal, then after `grace` the end."""
        self.run("fake-slurm", "timeout", job)

    def node_fail(self, job: str) -> None:
        """Its node dies, with everything that runs there."""
        self.run("fake-slurm", "node-fail", job)

    def kill(self, job: str) -> None:
        """kill -9 for all its processes."""
        self.run("fake-slurm", "kill", job)

    def oom(self, job: str) -> None:
        """Out of memory: killed, state OUT_OF_MEMORY."""
        self.run("fake-slurm", "oom", job)

    def requeue(self, job: str) -> None:
        self.run("scontrol", "requeue", job)

    def cancel(self, job: str) -> None:
        self.run("scancel", job)

    def stop(self) -> None:
        """End everything."""
        self.run("fake-slurm", "stop")

    # --- what can be seen

    def jobs(self) -> list[dict[str, Any]]:
        """All tasks as the state folder has them: key, state, reason, restarts, history, on (nodes), devices (GPUs), ..."""
        return store.tasks()

    def tasks(self, job: str) -> list[dict[str, Any]]:
        """Those of an array or a job, or a single one of an array ("123_4")."""
        return [task for task in self.jobs() if job in (task["key"], str(task["array"]))]

    def states(self, job: str) -> list[str]:
        return [task["state"] for task in self.tasks(job)]

    def calls(self, command: str | None = None) -> list[list[str]]:
        """The command lines so far, those of one command if it is named. Those that jobs made are among them."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found: list[list[str]] = [json.loads(line)["argv"] for line in lines]
        return [line for line in found if command in (None, line[0])]

    def wait(self, job: str, *states: str, seconds: float = PATIENCE) -> list[str]:
        """Wait until all tasks of the job are in one of these states, by default until all have ended; returns the states."""
        end = time.monotonic() + seconds
        while True:
            now = self.states(job)
            if now and all(s in states if states else s not in store.LIVE for s in now):
                return now
            if time.monotonic() > end:
                raise TimeoutError(f"job {job} is {now} after {seconds:g} s")
            time.sleep(0.02)


@pytest.fixture
def fake_slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    """A fake cluster for one test; everything that it started is ended after it."""
    folder = tmp_path_factory.mktemp("slurm")
    install(folder / "bin")
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_", "SACCT_", "SQUEUE_", "SRUN_", "FAKE_SLURM")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder / "state"))
    cluster = FakeSlurm(folder / "state")
    yield cluster
    cluster.stop()
    left = store.processes("FAKE_SLURM", f"{folder / 'state'}\0") + store.processes(store.MARK, f"{folder / 'state'}/")
    assert left == [], f"processes of the fake cluster are left: {[_command(pid) for pid in left]}"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "(ended)"
