"""Flags of `sbatch`: their spellings, those the suite sets itself, and those for which a site profile has a field."""

from __future__ import annotations

SHORT = {
    "A": "account", "B": "extra-node-info", "C": "constraint", "D": "chdir", "F": "nodefile", "G": "gpus", "H": "hold",
    "J": "job-name", "L": "licenses", "M": "clusters", "N": "nodes", "O": "overcommit", "Q": "quiet", "S": "core-spec",
    "V": "version", "W": "wait", "a": "array", "b": "begin", "c": "cpus-per-task", "d": "dependency", "e": "error",
    "h": "help", "i": "input", "k": "no-kill", "m": "distribution", "n": "ntasks", "o": "output", "p": "partition",
    "q": "qos", "s": "oversubscribe", "t": "time", "v": "verbose", "w": "nodelist", "x": "exclude",
}  # fmt: skip

_NAME = "a job is found again by its unique name if a submission is interrupted"
_LOGS = "`slq logs` looks for the output where the suite puts it"
_REQUEUE = "a trial outlives preemption, time limits and dead nodes because its job goes back to the queue"
_ANSWER = "the job id is read from sbatch's usual answer, at once"
_ONE = "one process a node works on trials; how many run at once is decided by the array, or by Ray"
_ENVIRONMENT = "the code frozen at submission reaches a task through its environment"

OWNED = {
    "job-name": _NAME,
    "array": "the trials are spread over arrays within the cluster's limits; max_parallel bounds how many tasks run at once",
    "output": _LOGS,
    "error": _LOGS,
    "open-mode": "a task that comes back from the queue must append to its log",
    "signal": "a task needs its warning, to save before its time is over; signal_seconds says how long before",
    "requeue": _REQUEUE,
    "no-requeue": _REQUEUE,
    "ntasks": _ONE,
    "ntasks-per-node": _ONE,
    "ntasks-per-gpu": _ONE,
    "ntasks-per-core": _ONE,
    "ntasks-per-socket": _ONE,
    "dependency": "a profile serves every submission, while a job to wait for is there once; wait for it, then submit",
    "time-min": "tasks reckon with the whole time limit",
    "clusters": "the suite asks one cluster for its jobs; load that cluster's Slurm before submitting",
    "export": _ENVIRONMENT,
    "export-file": _ENVIRONMENT,
    "wrap": "the suite writes the batch script",
    "input": "the suite writes the batch script",
    "parsable": _ANSWER,
    "quiet": _ANSWER,
    "wait": _ANSWER,
    "test-only": "nothing would be submitted; see `slq submit --dry-run` and `slq site check`",
    "help": "nothing would be submitted",
    "usage": "nothing would be submitted",
    "version": "nothing would be submitted",
}  # flag -> why

FIELDS = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "time": "time",
    "cpus-per-task": "cpus",
    "cpus-per-gpu": "cpus",
    "mem": "memory",
    "mem-per-cpu": "memory and memory_style",
    "mem-per-gpu": "memory and memory_style",
    "gres": "gpus and gpu_style",
    "gpus": "gpus and gpu_style",
    "gpus-per-node": "gpus and gpu_style",
    "gpus-per-task": "gpus and gpu_style",
    "gpus-per-socket": "gpus and gpu_style",
    "constraint": "constraint",
    "exclude": "exclude",
    "nodes": "nodes",
}  # flag -> the profile's fields for it


def long_name(spelling: str) -> str:
    """ "-p", "p", "--mail_type" -> "partition", "partition", "mail-type".

    Raises:
        ValueError: if it is one letter and sbatch has no such flag.
    """
    flag = spelling.lstrip("-").replace("_", "-")
    if len(flag) != 1:
        return flag
    if flag not in SHORT:
        raise ValueError(f"sbatch has no flag -{flag}")
    return SHORT[flag]


def refusal(spelling: str) -> str | None:
    """Why a profile may not pass this flag through, None if it may."""
    try:
        flag = long_name(spelling)
    except ValueError as error:
        return str(error)
    shown = f"{spelling} (--{flag})" if spelling.lstrip("-") != flag else spelling
    if flag in OWNED:
        return f"{shown} is set by the suite: {OWNED[flag]}"
    if flag in FIELDS:
        return f"{shown} has a field of its own in a profile: {FIELDS[flag]}"
    # sbatch takes --part for --partition
    meant = next((known for known in (*OWNED, *FIELDS) if known.startswith(flag)), None)
    return f"{shown} is short for --{meant}, or not clear; write flags in full" if meant else None
