"""What Slurm says of our jobs, in one call: `sacct`, or `squeue` where there is no accounting. Nothing here changes anything.

Absence from both proves nothing: such a job is unknown, neither failed nor done. So is every job when neither answers.
Measured with 22.05: a job that was requeued has a record for each of its runs (`--duplicates`), and for some seconds none for the
run to come; the reason of a pending job stays in its record when it runs; sacct shows exit codes over 128 less 128, and never
`Resources` or `Priority` as the reason of a waiting job; tasks of an array that are cancelled while they wait vanish. A record may
be missing for seconds while a task starts; the runs of a job that is requeued by hand while its node is dead share one.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from suite.launch import command as slurm
from suite.launch.command import PATIENCE, NoAnswerError
from suite.launch.slurm_time import seconds

LAG = 30.0  # seconds that accounting may need to know of the next run of a job
YEAR = 365 * 24 * 3600.0  # a time limit of a year or more is none: a requeued job has it in place of UNLIMITED

# Slurm's words for the states of a job. Words that are in none of these sets are not guessed at.
REQUEUED = {"REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
WAITING = {"PENDING", "CONFIGURING", "POWER_UP_NODE"} | REQUEUED
RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
ENDED_WELL = {"COMPLETED"}
LOST = {
    *("FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL"),
    *("OUT_OF_MEMORY", "DEADLINE", "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL"),
}
DEATHS = {signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR2, signal.SIGTERM}


@dataclass(frozen=True)
class Job:
    """A job or array task, as of its newest run. Times are seconds since the epoch, None while there is no such time."""

    id: str  # "123", "123_4"
    name: str
    state: str  # Slurm's word
    reason: str = ""  # why it waits, as far as Slurm says
    by: str = ""  # numeric id of the user who cancelled it
    exit_code: int = 0
    signal: int = 0
    nodes: str = ""
    submitted: float | None = None
    start: float | None = None
    end: float | None = None
    elapsed: float = 0.0
    limit: float | None = None
    cpus: int = 0
    gpus: float = 0.0
    cpu_seconds: float = 0.0  # that its processes used; known once its steps are over, and only if they were asked for
    restarts: int = 0
    earlier: tuple[Job, ...] = field(default=(), repr=False)  # its earlier runs, oldest first, if Slurm keeps them

    def run(self, restart: int) -> Job | None:
        """Its run after so many restarts; None if Slurm keeps no record of it (squeue has the newest run only)."""
        if restart < len(self.earlier):
            return self.earlier[restart]
        return self if restart >= self.restarts else None

    def runs(self) -> tuple[Job, ...]:
        """All its runs, oldest first; the newest may not have begun."""
        return self.earlier if self.earlier and self.earlier[-1].start == self.start else (*self.earlier, self)

    def is_waiting(self) -> bool:
        return self.state in WAITING

    def is_running(self) -> bool:
        return self.state in RUNNING

    def is_live(self) -> bool:
        """Waits or runs: something may still come of it."""
        return self.is_waiting() or self.is_running()

    def ended_well(self) -> bool:
        return self.state in ENDED_WELL

    def is_lost(self) -> bool:
        """Ended, but not well. A run that was requeued counts, when it is one of the earlier ones."""
        return self.state in LOST

    def seconds_left(self, now: float | None = None) -> float | None:
        """Until its time limit."""
        if self.limit is None or self.start is None or not self.is_running():
            return None
        return max(0.0, self.start + self.limit - (time.time() if now is None else now))


@dataclass(frozen=True)
class Report:
    """What Slurm said at one moment: the jobs it knows, and why it was not asked the better way, or did not answer at all."""

    jobs: Mapping[str, Job] = field(default_factory=dict)
    source: str = ""  # "sacct" or "squeue"; "" if neither answered
    problem: str = ""  # why there is no accounting, or no answer


SACCT = (
    *("JobID", "State", "Reason", "ExitCode", "NodeList", "Submit", "Start", "End", "ElapsedRaw", "TimelimitRaw"),
    *("AllocCPUS", "AllocTRES", "TotalCPU", "JobName"),
)
SQUEUE = (
    *("JobArrayID", "State", "Reason", "exit_code", "NodeList", "SubmitTime", "StartTime", "EndTime", "TimeUsed"),
    *("TimeLimit", "NumCPUs", "tres-alloc", "restartcnt", "Name"),
)


def look(names: Mapping[str, str], *, steps: bool = False) -> Report:
    """Ask for all jobs at once.

    Args:
        names: job ids without array tasks, and the name each job should have. Jobs of other names are somebody else's, from a
            time when the cluster counted from elsewhere, and are left out.
        steps: ask for the steps, too, from which the CPU time comes: a longer answer.
    """
    if not names:
        return Report(source="sacct")
    try:
        return Report(_ours(newest(read_sacct(ask(_sacct(names, steps)))), names), "sacct")
    except NoAnswerError as error:
        problem = str(error)
    try:
        return Report(_ours(newest(read_squeue(ask(_squeue(f"--jobs={','.join(names)}")))), names), "squeue", problem)
    except NoAnswerError as error:
        return Report(problem=f"{problem}; {error}")


def live(names: Sequence[str]) -> list[Job]:
    """Jobs and array tasks of these names that wait or run, in one call of `squeue`.

    Raises:
        NoAnswerError: if there is no answer.
    """
    found = read_squeue(ask(_squeue(f"--name={','.join(names)}"))) if names else ()
    return [job for job in found if job.is_live() and job.name in names]


def _sacct(names: Iterable[str], steps: bool) -> list[str]:
    options = ["--parsable2", "--noheader", "--duplicates", *([] if steps else ["--allocations"])]
    return ["sacct", *options, f"--format={','.join(SACCT)}", f"--jobs={','.join(names)}"]


def _squeue(which: str) -> list[str]:
    columns = ",".join(f"{column}:|" for column in SQUEUE)
    return ["squeue", "--noheader", "--states=all", f"--Format={columns}", which]


def ask(command: list[str]) -> str:
    """Output of a command of Slurm.

    Raises:
        NoAnswerError: if it is missing, fails or is silent for too long.
    """
    answer = slurm.run(command, patience=PATIENCE)
    if "Invalid job id specified" in answer.error:  # squeue has forgotten all of them: that is an answer
        return answer.out
    # squeue leaves out a column that it does not know, and exits 0
    if not answer.ok or "Invalid job format" in answer.error:
        raise NoAnswerError(_complaint(command[0], answer.error))
    return answer.out


def _complaint(command: str, said: str) -> str:
    """The last line of what a failing command said, which is the plainest, without its own name."""
    lines = [line for line in said.splitlines() if line.strip()]
    return (
        f"{command}: {lines[-1].removeprefix(f'{command}: ').removeprefix('error: ')}" if lines else f"{command} failed"
    )


# Reading


def read_sacct(text: str) -> Iterator[Job]:
    """Jobs from lines of the columns `SACCT`: one a run of each job or array task. Steps are left out."""
    for line in text.splitlines():
        values = line.split("|", len(SACCT) - 1)
        if len(values) == len(SACCT) and "." not in values[0]:
            row = dict(zip(SACCT, values, strict=True))
            yield from _each_task(row["JobID"], _of_sacct(row))


def _of_sacct(row: Mapping[str, str]) -> Job:
    state, _, by = row["State"].partition(" by ")
    code, _, number = row["ExitCode"].partition(":")
    exit_code, died = _exit(int(code or 0), int(number or 0))
    return Job(
        row["JobID"],
        row["JobName"],
        state.partition(" ")[0],
        reason=_reason(state, row["Reason"]),
        by=by,
        exit_code=exit_code,
        signal=died,
        nodes=_nodes(row["NodeList"]),
        submitted=_moment(row["Submit"]),
        start=_moment(row["Start"]),
        end=_moment(row["End"]),
        elapsed=float(row["ElapsedRaw"] or 0),
        limit=_limit(60 * float(row["TimelimitRaw"])) if row["TimelimitRaw"].isdigit() else None,
        cpus=int(row["AllocCPUS"] or 0),
        gpus=gpus(row["AllocTRES"]),
        cpu_seconds=seconds(row["TotalCPU"]) or 0.0,
    )


def read_squeue(text: str) -> Iterator[Job]:
    """Jobs from lines of the columns `SQUEUE`."""
    for line in text.splitlines():
        values = line.removesuffix("|").split("|", len(SQUEUE) - 1)
        if len(values) == len(SQUEUE):
            row = {column: value.strip() for column, value in zip(SQUEUE, values, strict=True)}
            yield from _each_task(row["JobArrayID"], _of_squeue(row))


def _of_squeue(row: Mapping[str, str]) -> Job:
    status = int(row["exit_code"] or 0)  # as of wait(2)
    exit_code, died = _exit(status >> 8, status & 127)
    return Job(
        row["JobArrayID"],
        row["Name"],
        row["State"],
        reason=_reason(row["State"], row["Reason"]),
        exit_code=exit_code,
        signal=died,
        nodes=_nodes(row["NodeList"]),
        submitted=_moment(row["SubmitTime"]),
        start=_moment(row["StartTime"]),
        end=_moment(row["EndTime"]) if row["State"] in LOST | ENDED_WELL else None,
        elapsed=seconds(row["TimeUsed"]) or 0.0,
        limit=_limit(seconds(row["TimeLimit"])),
        cpus=int(row["NumCPUs"] or 0),
        gpus=gpus(row["tres-alloc"]),
        restarts=int(row["restartcnt"] or 0),
    )


def _reason(state: str, reason: str) -> str:
    return "" if state not in WAITING or reason in ("None", "N/A", "") else reason


def _exit(code: int, number: int) -> tuple[int, int]:
    """Exit code and signal. A shell says 128 + n of a child that died of signal n, and sacct takes the 128 away again."""
    died = code & 127 if number == 0 and code & 127 in DEATHS else number
    return (0 if died != number else code), died


def _nodes(text: str) -> str:
    return "" if text == "None assigned" else text


def _moment(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _limit(limit: float | None) -> float | None:
    return None if limit is None or limit >= YEAR else limit


def gpus(tres: str) -> float:
    """GPUs among trackable resources such as `cpu=4,gres/gpu=2,gres/gpu:a100=2`: the kinds are parts of the first figure."""
    amounts = {name: float(amount) for name, amount in re.findall(r"(gres/gpu(?::[^=,]+)?)=(\d+)", tres)}
    return amounts.get("gres/gpu") or sum(amounts.values(), 0.0)


def _each_task(identity: str, job: Job) -> Iterator[Job]:
    for task in tasks(identity):
        yield replace(job, id=task)


def tasks(identity: str) -> list[str]:
    """Ids of the tasks that Slurm writes as one: `7_[1,5-6,10-20:5%4]` is 7_1, 7_5, 7_6, 7_10, 7_15 and 7_20."""
    array, _, ranges = identity.partition("_[")
    if not ranges:
        return [identity]
    parts = ranges.rstrip("]").partition("%")[0].split(",")
    return [f"{array}_{task}" for part in parts for task in _range(part)]


def _range(text: str) -> range:
    """`5`, `5-9` or `5-9:2`; empty if the text was cut short."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?(?::(\d+))?", text)
    return range(int(found[1]), int(found[2] or found[1]) + 1, int(found[3] or 1)) if found else range(0)


def newest(runs: Iterable[Job]) -> dict[str, Job]:
    """The newest run of each job, with the earlier ones attached."""
    found: dict[str, list[Job]] = {}
    for run in runs:
        found.setdefault(run.id, []).append(run)
    return {identity: _joined(sorted(each, key=lambda run: run.submitted or 0.0)) for identity, each in found.items()}


def _joined(runs: list[Job]) -> Job:
    """A job whose newest record says that it was requeued waits for its next run, so that record is an earlier one as well."""
    *earlier, newest = runs
    if newest.start is not None and (newest.state in REQUEUED or _comes_back(newest)):
        earlier.append(newest)
        newest = replace(newest, state=newest.state if newest.state in REQUEUED else "REQUEUED")
    return replace(newest, earlier=tuple(earlier), restarts=max(newest.restarts, len(earlier)))


def _comes_back(run: Job) -> bool:
    """Whether Slurm, which requeues what it preempted or what lost its node, may not have recorded yet that it did."""
    return run.state in ("PREEMPTED", "NODE_FAIL") and run.end is not None and time.time() - run.end < LAG


def _ours(jobs: Mapping[str, Job], names: Mapping[str, str]) -> dict[str, Job]:
    return {job.id: job for job in jobs.values() if names.get(job.id.partition("_")[0]) == job.name}
