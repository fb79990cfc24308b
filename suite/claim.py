"""Who may work on a folder: exclusive claims that expire, so that no two processes do the same work and no dead one blocks it.

A claim is the creation of the next numbered attempt folder. The folder appears by one `rename` with the claim already in it,
and renaming onto a folder that is not empty fails; so of any number of contenders exactly one wins, on local disks and on NFS,
without a lock. An owner renews the expiry of its claim in the background. When a later attempt exists, an earlier owner that
comes back (after a network cut, say) has lost the work and must stop: `Claim.check`.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import threading
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from suite.files import fsync, read_json, write_json

EXPIRY = 120.0  # seconds after the last renewal until anybody may take the work over
RENEWAL = 20.0  # seconds between renewals

FILE = "claim.json"


class SupersededError(Exception):
    """Somebody else took this work over; whatever is not saved yet is theirs to do again."""


@dataclass(frozen=True)
class Owner:
    """A process, recognizable on its own machine even after its number was given to another."""

    host: str  # host name, boot and process namespace: the same value means the same process table
    pid: int
    born: str  # start time of the process in clock ticks since boot
    job: str = ""  # Slurm's id of the job or array task ("123", "123_4"), empty elsewhere
    restart: int = 0  # how often Slurm had requeued that job

    @staticmethod
    def current() -> Owner:
        return Owner(_machine(), os.getpid(), _birth(os.getpid()), *slurm_job())

    def is_dead(self) -> bool:
        """True only if the process ran on this machine and is gone; False also means "cannot be known from here"."""
        return self.host == _machine() and _birth(self.pid) != self.born

    def was_requeued(self) -> bool:
        """Whether we are a later run of the job that the owner ran in: Slurm starts it again only when the earlier run is over.

        After a network cut the earlier run may still believe that it lives; `Claim.check` stops it.
        """
        job, restart = slurm_job()
        return self.job == job != "" and self.restart < restart


def slurm_job() -> tuple[str, int]:
    """Id and restart count of the Slurm job this process runs in; ("", 0) elsewhere."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    return job, int(os.environ.get("SLURM_RESTART_COUNT", "0"))


@cache
def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    parts = [platform.node(), boot.read_text().strip() if boot.exists() else ""]
    return ":".join([*parts, str(namespace.readlink()) if namespace.exists() else ""])


def _birth(pid: int) -> str:
    """Start time of a process, "gone" if there is none. Zombies count as gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return _birth_without_proc(pid)
    except ProcessLookupError:
        return "gone"
    return "gone" if fields[0] in "ZX" else fields[19]


def _birth_without_proc(pid: int) -> str:
    if Path("/proc/self").exists():
        return "gone"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "alive"


class Claim:
    """A claim held by this process; use as a context manager, which renews it in the background."""

    def __init__(self, attempt: Path) -> None:
        self.attempt = attempt
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"claim {attempt}", daemon=True)

    @property
    def number(self) -> int:
        return int(self.attempt.name)

    def superseded(self) -> bool:
        return (self.attempt.parent / str(self.number + 1)).exists()

    def check(self) -> None:
        """Raise `SupersededError` if a later attempt exists. Call before every write outside of the attempt's own folder."""
        if self.superseded():
            raise SupersededError(f"attempt {self.number} in {self.attempt.parent} was taken over by a later one")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._stop.wait(RENEWAL) and not self.superseded():
            try:
                write_json(self.attempt / FILE, _content())
            except OSError:  # a full or absent disk: the claim expires if it stays so, and `check` says the rest
                continue


def try_claim(attempts: Path) -> Claim | None:
    """Claim the next attempt in the folder `attempts`; None if its last attempt is live or somebody was faster.

    The caller decides beforehand whether another attempt is wanted at all.
    """
    number = last_attempt(attempts) + 1
    if number > 1 and is_live(attempts / str(number - 1)):
        return None
    attempts.mkdir(parents=True, exist_ok=True)
    prepared = attempts / f".{number}.{secrets.token_hex(4)}"
    prepared.mkdir()
    try:
        write_json(prepared / FILE, _content())
        prepared.rename(attempts / str(number))
        fsync(attempts)
    except OSError:
        if not (attempts / str(number)).exists():
            raise
        return None
    finally:
        shutil.rmtree(prepared, ignore_errors=True)
    return Claim(attempts / str(number))


def last_attempt(attempts: Path) -> int:
    """Number of the newest attempt, 0 if there is none."""
    return max((int(p.name) for p in attempts.iterdir() if p.name.isdigit()), default=0) if attempts.is_dir() else 0


def is_live(attempt: Path) -> bool:
    """Whether the attempt's owner may still be at work: its claim has not expired and it is not known to be dead or released."""
    try:
        content: dict[str, Any] = read_json(attempt / FILE) or {"released": True}
        released, expires, owner = content.get("released"), float(content["expires"]), Owner(**content["owner"])
    except (ValueError, LookupError, TypeError, AttributeError):  # a damaged file protects nobody
        return False
    return not released and time.time() < expires and not owner.is_dead() and not owner.was_requeued()


def owner_of(attempt: Path) -> Owner | None:
    """Who claimed the attempt; None if its claim is damaged."""
    try:
        return Owner(**(read_json(attempt / FILE) or {})["owner"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def release(attempt: Path) -> None:
    """Say that the owner is finished, so that nobody waits for the expiry."""
    write_json(attempt / FILE, {**_content(), "released": True})


def _content() -> dict[str, Any]:
    return {"owner": asdict(Owner.current()), "expires": time.time() + EXPIRY}
