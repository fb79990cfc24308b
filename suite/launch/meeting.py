"""How the tasks of one allocation find each other: small files in the submission's folder, which all nodes see.

    <submission>/ray/<job id>-<restarts>/head.json     where Ray's head listens, and the token; readable by its owner only
                                        /stop          why all trials are to save and stop
                                        /ended         the first task is finished, the others may go
                                        /failed-<rank> why a node has left
                                        /node-<rank>.log

The folder's name has the restart count in it, so that a requeued job never reads what its earlier run wrote.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from suite.claim import slurm_job
from suite.files import read_json, write_atomic

FOLDER = "ray"


@dataclass(frozen=True)
class Head:
    """Where Ray's head listens, and the token that lets a process in."""

    host: str  # an address: gRPC asks the DNS for names, even for those in /etc/hosts, and waits
    port: int
    token: str

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Meeting:
    """The folder of one run of one job."""

    path: Path

    @staticmethod
    def of_this_run(submission: Path) -> Meeting:
        """That of the Slurm job this process runs in; its folder is made."""
        job, restarts = slurm_job()
        path = submission / FOLDER / f"{job}-{restarts}"
        path.mkdir(parents=True, exist_ok=True)
        return Meeting(path)

    def announce(self, head: Head) -> None:
        """Tell the others where the head is; the token of an earlier run that was killed goes."""
        for left in self.path.parent.glob("*/head.json"):
            left.unlink(missing_ok=True)
        text = json.dumps(asdict(head))
        write_atomic(self.path / "head.json", lambda file: _write_private(file, text))

    def head(self) -> Head | None:
        found = read_json(self.path / "head.json")
        return Head(**found) if found else None

    def ask_to_stop(self, reason: str) -> None:
        write_atomic(self.path / "stop", lambda file: file.write_text(reason))

    def asked_to_stop(self) -> str | None:
        return _read(self.path / "stop")

    def end(self) -> None:
        """Let the others go, and forget the token."""
        (self.path / "head.json").unlink(missing_ok=True)
        (self.path / "ended").touch()

    def has_ended(self) -> bool:
        return (self.path / "ended").exists()

    def log(self, rank: int) -> Path:
        """What Ray on that node says when it starts and ends."""
        return self.path / f"node-{rank}.log"

    def report_failure(self, rank: int, text: str) -> None:
        write_atomic(self.path / f"failed-{rank}", lambda file: file.write_text(text))

    def failures(self) -> dict[int, str]:
        """Nodes that have left, and why."""
        files = sorted(self.path.glob("failed-*"))
        return {int(file.name.rpartition("-")[2]): file.read_text() for file in files}


def _write_private(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)


def _read(file: Path) -> str | None:
    try:
        return file.read_text()
    except FileNotFoundError:
        return None
