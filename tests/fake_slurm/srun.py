"""srun inside a job: run the tasks of a step, each in a session of its own, and report their ends as the real one does."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from tests.fake_slurm import forms, store
from tests.fake_slurm.options import RefusedError, parse

OPTIONS = """
chdir:D= cpu-bind= cpus-per-task:c= error:e= exact exclusive? export? gpus-per-task= gres= input:i= job-name:J=
kill-on-bad-exit:K? label:l mem= mpi= no-kill:k nodelist:w= nodes:N= ntasks:n= ntasks-per-node= open-mode= output:o=
overcommit:O overlap partition:p= quiet:Q signal= time:t= unbuffered:u verbose:v wait:W= wait-for-switch= wckey= relative:r=
account:A= gpus:G= gpus-per-node= distribution:m= het-group= multi-prog propagate? pty
"""


def main(arguments: list[str]) -> int:
    options, command = parse("srun", arguments, OPTIONS, in_order=True)
    key = os.environ.get(store.MARK, "").rstrip("/").rpartition("/")[2]
    if not key:
        raise RefusedError("srun: error: the fake runs steps inside of jobs only")
    if not command:
        raise RefusedError("srun: fatal: No command given to execute.")
    task = json.loads((store.folder() / "tasks" / f"{key}.json").read_text())
    return Step(task, options, command).run()


class Step:
    """One call of srun."""

    def __init__(self, task: store.Task, options: dict[str, str], command: list[str]) -> None:
        self.task, self.options, self.command = task, options, command
        self.nodes = task["on"][: int(options.get("nodes", len(task["on"])))]
        self.count = int(
            options.get("ntasks") or int(options.get("ntasks-per-node", 0)) * len(self.nodes) or task["ntasks"]
        )
        if "ntasks" not in options and "nodes" in options and "ntasks-per-node" not in options:
            self.count = max(1, task["ntasks"] * len(self.nodes) // len(task["on"]))
        self.number = len(store.steps(task))
        self.name = f"{task['job']}.{self.number}"
        self.ranks: dict[int, int] = {}  # process -> rank, of those that run

    def run(self) -> int:
        for name in ("INT", "TERM", "USR1", "USR2", "HUP", "QUIT"):
            signal.signal(getattr(signal, f"SIG{name}"), self.forward)
        note = {"name": Path(self.command[0]).name, "start": time.time(), "nodes": self.nodes, "number": self.number}
        for rank in range(self.count):
            self.ranks[self.start(rank)] = rank
        note |= {"pids": list(self.ranks), "errors": self.path("error", 0) or self.path("output", 0), "end": None}
        note |= {"tasks": self.count, "status": None}
        record = store.step_folder(self.task) / f"{self.number}.json"
        store.write(record, note)
        worst = 0
        while self.ranks:
            pid, status = os.wait()
            rank = self.ranks.pop(pid)
            worst = max(worst, status, key=_code)
            self.report(rank, status)
        store.write(record, note | {"end": time.time(), "status": worst})
        return _code(worst)

    def forward(self, number: int, frame: object) -> None:
        """What reaches srun reaches the tasks."""
        if number in (signal.SIGTERM, signal.SIGINT):
            print("srun: forcing job termination", file=sys.stderr, flush=True)
        for pid in self.ranks:
            try:
                os.killpg(pid, number)
            except ProcessLookupError:
                continue

    def path(self, option: str, rank: int) -> str | None:
        pattern = self.options.get(option)
        if pattern is None:
            return None
        node = self.nodes[rank * len(self.nodes) // self.count]
        return str(Path(forms.file_name(pattern, self.task, step=str(self.number), rank=rank, node=node)).absolute())

    def start(self, rank: int) -> int:
        """Start one task of the step."""
        node = rank * len(self.nodes) // self.count
        first = next(r for r in range(self.count) if r * len(self.nodes) // self.count == node)
        environment = dict(os.environ) | {
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank - first),
            "SLURM_NODEID": str(node),
            "SLURMD_NODENAME": self.nodes[node],
            "SLURM_NTASKS": str(self.count),
            "SLURM_NPROCS": str(self.count),
            "SLURM_STEP_ID": str(self.number),
            "SLURM_STEPID": str(self.number),
            "SLURM_STEP_NODELIST": forms.host_list(self.nodes),
            "SLURM_STEP_NUM_NODES": str(len(self.nodes)),
            "SLURM_STEP_NUM_TASKS": str(self.count),
        }
        output = self._open("output", rank)
        error = output if "error" not in self.options else self._open("error", rank)
        pid = os.fork()
        if pid == 0:
            self._become(environment, output, error)
        for descriptor in {output, error}:
            if descriptor is not None:
                os.close(descriptor)
        return pid

    def _open(self, option: str, rank: int) -> int | None:
        path = self.path(option, rank)
        if path is None:
            return None
        append = self.task["options"].get("open-mode", "").startswith("a")
        mode = self.options.get("open-mode", "a" if append else "t")
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if mode.startswith("a") else os.O_TRUNC)
        try:
            return os.open(path, flags, 0o644)
        except OSError as problem:
            stream = "stdout" if option == "output" else "stderr"
            raise RefusedError(f"srun: error: Could not open {stream} file: {problem.strerror}") from problem

    def _become(self, environment: dict[str, str], output: int | None, error: int | None) -> None:
        """In the new process: the task's command. Never returns."""
        os.setsid()
        for name in ("INT", "TERM", "USR1", "USR2", "HUP", "QUIT"):
            signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if output is not None:
            os.dup2(output, 1)
            os.dup2(output if error is None else error, 2)
        elif error is not None:
            os.dup2(error, 2)
        try:
            os.chdir(self.options.get("chdir", "."))
            os.execvpe(self.command[0], self.command, environment)
        except OSError as problem:
            text = f"slurmstepd-{self.nodes[0]}: error: execve(): {self.command[0]}: {problem.strerror}\n"
            os.write(2, text.encode())
            os._exit(2)

    def report(self, rank: int, status: int) -> None:
        node = self.nodes[rank * len(self.nodes) // self.count]
        text = f"srun: error: {node}: task {rank}: "
        if os.WIFSIGNALED(status):
            text += f"{signal.strsignal(os.WTERMSIG(status))}\nsrun: Force Terminated StepId={self.name}"
            print(text, file=sys.stderr, flush=True)
        elif status:
            print(f"{text}Exited with exit code {os.WEXITSTATUS(status)}", file=sys.stderr, flush=True)


def _code(status: int) -> int:
    """The exit status of srun for a task's end."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
