"""Why an attempt ended, or a task did, told for people: what the attempt said itself, else what Slurm says of the run it was in."""

from __future__ import annotations

import pwd
import signal
from pathlib import Path

from suite.launch.queue import Job
from suite.launch.worker import DISK_FULL, SICK
from suite.ledger import Event

NO_SPACE = ("Errno 28", "Errno 122", "No space left on device", "Disk quota exceeded")
NO_MEMORY = ("memory limit", "oom-kill", "oom_kill", "Out Of Memory")
TAIL = 2**16  # bytes of a job's log that are looked at
SECONDS = 60.0  # that the record of a crash may be late

RESULT_GONE = "it was done, but its result.json is gone"

EXTERNAL = {"CANCELLED", "PREEMPTED", "TIMEOUT", "DEADLINE", "NODE_FAIL"}

WORDS = {
    "PREEMPTED": "preempted",
    "TIMEOUT": "time limit reached",
    "DEADLINE": "deadline reached",
    "NODE_FAIL": "node failure",
    "BOOT_FAIL": "node failure (it did not boot)",
    "OUT_OF_MEMORY": "out of memory",
    "REQUEUED": "requeued",
    "REVOKED": "revoked",
}


def cause(run: Job | None, end: Event | None = None, log: str = "", code: int | None = None) -> str:
    """In a few words.

    Args:
        run: Slurm's record of the run of the job.
        end: the attempt's own last word, its event "end", if there is one.
        log: the end of the job's standard error. Slurm may report a task that it killed for its memory as just failed.
        code: exit code of the task as its batch script saw it, where it sent the job back to the queue.
    """
    if end is not None and end.get("outcome") == "interrupted" and run is not None and _says_more(run, end):
        return of_job(run, log)
    if end is not None:
        return RESULT_GONE if end.get("outcome") == "done" else _own(end)
    if code is not None:
        return _of_exit(code & 127 if code > 128 else 0, code, log)
    if run is None:
        return "cause unknown: Slurm has no record of its job"
    if run.is_running():
        return "killed in a job that goes on"
    if run.is_waiting() and not run.start:
        return "its job waits to run again"
    return of_job(run, log)


def _says_more(run: Job, end: Event) -> bool:
    """Whether Slurm knows better than the attempt, which only got a signal, why it had to stop.

    A task that was warned requeues itself, which is then all that Slurm says of the run.
    """
    return run.state in EXTERNAL or (run.state == "REQUEUED" and "SIGTERM" in str(end.get("error", "")))


def _own(end: Event) -> str:
    error = str(end.get("error", ""))
    if any(words in error for words in NO_SPACE):
        return f"disk full ({error})"
    return error or str(end.get("outcome", "it does not say how it ended"))


def of_job(run: Job, log: str = "") -> str:
    """Why a run of a job ended."""
    where = f" of {run.nodes}" if run.nodes and run.state == "NODE_FAIL" else ""
    if run.state in WORDS:
        return f"{WORDS[run.state]}{where}"
    if run.state == "CANCELLED":
        return f"cancelled by {_user(run.by)}" if run.by else "cancelled"
    if run.ended_well():
        return "its job ended well without it"
    return _of_exit(run.signal, run.exit_code, log) if run.state == "FAILED" else run.state.lower()


def _of_exit(number: int, code: int, log: str) -> str:
    if code == DISK_FULL:
        return "disk full (exit code 74)"
    if code == SICK:
        return "sick node: trials failed there one after the other (exit code 70)"
    if number == signal.SIGKILL:
        return "out of memory (SIGKILL)" if any(words in log for words in NO_MEMORY) else "killed (SIGKILL)"
    if number:
        return f"died of {_signal(number)}"
    return f"failed with exit code {code}"


def _signal(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def crash(file: Path, run: Job | None, last: float) -> int | None:
    """Exit code that a task's batch script recorded in this run of the job; None if it recorded none.

    Args:
        file: lines `time exit-code node`.
        last: when the attempt said its last word, for when Slurm does not know the run; its crash came soon after.
    """
    start = run.start if run and run.start else last
    until = (run.end or float("inf")) if run else last
    for line in tail(file).splitlines():
        when, code, *_ = [*line.split(), "", ""]
        if when.isdigit() and code.isdigit() and start <= float(when) <= until + SECONDS:
            return int(code)
    return None


def tail(file: Path) -> str:
    """The end of a text file; "" if there is no such file."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, opened.seek(0, 2) - TAIL))
            return opened.read().decode(errors="replace")
    except OSError:
        return ""


def _user(identity: str) -> str:
    try:
        return pwd.getpwuid(int(identity)).pw_name
    except (KeyError, ValueError):
        return f"user {identity}"
