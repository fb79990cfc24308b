"""sbatch: read the options, refuse what the real one refuses, leave the tasks in the state folder, tell the controller."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
import time
from pathlib import Path

from tests.fake_slurm import forms, store
from tests.fake_slurm.options import Options, RefusedError, parse

OPTIONS = """
account:A= acctg-freq= array:a= batch= bb= bbf= begin:b= chdir:D= cluster-constraint= clusters:M= comment= constraint:C=
container= contiguous core-spec:S= cores-per-socket= cpu-freq= cpus-per-gpu= cpus-per-task:c= deadline= delay-boot=
dependency:d= distribution:m= error:e= exclude:x= exclusive? export? export-file= extra-node-info:B= get-user-env? gid=
gpu-bind= gpu-freq= gpus:G= gpus-per-node= gpus-per-socket= gpus-per-task= gres= gres-flags= hold:H ignore-pbs input:i=
job-name:J= kill-on-invalid-dep= licenses:L= mail-type= mail-user= mcs-label= mem= mem-bind= mem-per-cpu= mem-per-gpu=
mincpus= network= nice? no-kill:k no-requeue nodefile:F= nodelist:w= nodes:N= ntasks:n= ntasks-per-core= ntasks-per-gpu=
ntasks-per-node= ntasks-per-socket= open-mode= output:o= overcommit:O oversubscribe:s parsable partition:p= power= prefer=
priority= profile= propagate? qos:q= quiet:Q reboot requeue reservation= signal= sockets-per-node= spread-job switches=
test-only thread-spec= threads-per-core= time:t= time-min= tmp= uid= use-min-nodes verbose:v wait:W wait-all-nodes= wckey=
wrap=
"""
FAILED = "sbatch: error: Batch job submission failed: "
UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
ENDED = "sbatch: error: This does not look like a batch script.  The first"


def main(arguments: list[str], *, lost: bool) -> int:
    given, operands = parse("sbatch", arguments, OPTIONS, in_order=True, status=255)
    script = _script(given, operands)
    options = _options_in(script) | given
    template = _template(options, script, operands)
    chosen, throttle = _indices(options)
    _check_limit(len(chosen))
    with store.locked():
        job = store.next_job_id()
    if "test-only" in options:
        when, nodes = forms.stamp(time.time()), ",".join(_allowed(options)[: template["nodes"]])
        text = f"sbatch: Job {job} to start at {when} using {template['cpus']} processors on nodes {nodes} in partition"
        print(text, template["partition"], file=sys.stderr)
        return 0
    _write(job, script, options, template, chosen, throttle, operands[1:])
    store.ask("submit", job=job)
    if lost:
        raise RefusedError(FAILED + "Socket timed out on send/recv operation")
    print(job if "parsable" in options else f"Submitted batch job {job}")
    return 0


def _script(options: Options, operands: list[str]) -> str:
    if "wrap" in options:
        return f"#!/bin/sh\n# This script was created by sbatch --wrap.\n\n{options['wrap']}\n"
    try:
        text = Path(operands[0]).read_text() if operands else sys.stdin.read()
    except OSError as error:
        raise RefusedError(f"sbatch: error: Unable to open file {operands[0]}") from error
    if not text:
        raise RefusedError("sbatch: error: Batch script is empty!")
    if not text.startswith("#!"):
        raise RefusedError(
            f"{ENDED}\nsbatch: error: line must start with #! followed by the path to an interpreter.\n"
            "sbatch: error: For instance: #!/bin/sh"
        )
    return text


def _options_in(script: str) -> Options:
    """The #SBATCH lines before the first command."""
    words: list[str] = []
    for line in script.splitlines():
        if line.startswith("#SBATCH"):
            words += shlex.split(line[len("#SBATCH") :], comments=True)
        elif line.strip() and not line.startswith("#"):
            break
    return parse("sbatch", words, OPTIONS, status=255)[0]


def _indices(options: Options) -> tuple[list[int | None], int | None]:
    if "array" not in options:
        return [None], None
    try:
        found, throttle = forms.indices(options["array"])
    except ValueError as error:
        raise RefusedError(FAILED + "Invalid job array specification") from error
    if found[-1] >= int(store.setting("max_array")):
        raise RefusedError(FAILED + "Invalid job array specification")
    return list(found), throttle


def _check_limit(count: int) -> None:
    """Refuse what is more than the user may have in the queue."""
    most = store.setting("max_submit")
    if most and count + sum(task["state"] in store.LIVE for task in store.tasks()) > int(most):
        text = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
        raise RefusedError(f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}{text}")


def _allowed(options: Options) -> list[str]:
    """Nodes that the options leave."""
    partition = options.get("partition", "main")
    if partition not in store.PARTITIONS:
        raise RefusedError(
            f"sbatch: error: invalid partition specified: {partition}\n{FAILED}Invalid partition name specified"
        )
    nodes = store.PARTITIONS[partition]
    if feature := options.get("constraint"):
        if feature not in ("gpu", "cpu"):
            raise RefusedError(FAILED + "Invalid feature specification")
        nodes = [node for node in nodes if bool(store.NODES[node]) == (feature == "gpu")]
    if "nodelist" in options:
        nodes = [node for node in nodes if node in forms.hosts(options["nodelist"])]
    return [node for node in nodes if node not in forms.hosts(options.get("exclude", ""))]


def _gpus(options: Options) -> int:
    """GPUs on each node."""
    if "gres" in options:
        counts = [word.split(":") for word in options["gres"].split(",") if word.split(":")[0] == "gpu"]
        return sum(int(parts[-1]) if len(parts) > 1 and parts[-1].isdigit() else 1 for parts in counts)
    text = options.get("gpus-per-node") or options.get("gpus-per-task") or options.get("gpus") or "0"
    return int(text.rpartition(":")[2])


def _memory(text: str) -> float:
    number = text.upper().removesuffix("B").rstrip("N")
    return float(number[:-1]) * UNITS[number[-1]] if number[-1:] in UNITS else float(number or 0)


def _template(options: Options, script: str, operands: list[str]) -> store.Task:
    """What the tasks of a job have in common."""
    try:
        limit = forms.limit(options.get("time", ""))
    except ValueError as error:
        raise RefusedError("sbatch: error: Invalid --time specification", 255) from error
    per_node = int(options.get("ntasks-per-node", 1))
    nodes = int(options.get("nodes", "1").partition("-")[0])
    tasks = int(options.get("ntasks", nodes * per_node))
    gpus = _gpus(options)
    if _memory(options.get("mem", "0")) > store.MEMORY:
        text = "Requested node configuration is not available"
        raise RefusedError(f"sbatch: error: Memory specification can not be satisfied\n{FAILED}{text}")
    allowed = _allowed(options)
    if len([node for node in allowed if store.NODES[node] >= gpus]) < nodes:
        raise RefusedError(FAILED + "Requested node configuration is not available")
    begin = options.get("begin", "now")
    return {
        "name": options.get("job-name")
        or ("wrap" if "wrap" in options else Path(operands[0]).name if operands else "sbatch"),
        "partition": options.get("partition", "main"),
        "account": options.get("account", "root"),
        "qos": options.get("qos", "normal"),
        "comment": options.get("comment", ""),
        "wckey": options.get("wckey", ""),
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "directory": options.get("chdir") or str(Path.cwd()),
        "command": str(Path(operands[0]).absolute()) if operands and "wrap" not in options else "(null)",
        "options": options,
        "allowed": allowed,
        "nodes": nodes,
        "ntasks": tasks,
        "cpus": tasks * int(options.get("cpus-per-task", 1)),
        "gpus": gpus,
        "memory": options.get("mem", "100M"),
        "limit": limit,
        "signal": _signal(options.get("signal", "")),
        "requeue": "no-requeue" not in options,
        "submit": time.time(),
        "eligible": time.time() + (float(begin[4:]) if begin.startswith("now+") else 0),
        "state": "PENDING",
        "reason": "JobHeldUser" if "hold" in options else "None",
    }


def _signal(text: str) -> dict[str, object] | None:
    """--signal=[[R][B]:]SIGNAL[@SECONDS]"""
    import signal

    if not text:
        return None
    flags, _, rest = text.rpartition(":")
    name, _, seconds = rest.partition("@")
    name = name.upper().removeprefix("SIG")
    if not (name.isdigit() or hasattr(signal, f"SIG{name}")) or not (seconds or "60").isdigit():
        raise RefusedError("sbatch: error: Invalid --signal specification", 255)
    number = int(name) if name.isdigit() else getattr(signal, f"SIG{name}")
    return {"number": int(number), "before": float(seconds or 60), "batch": "B" in flags}


def _write(
    job: int,
    script: str,
    options: Options,
    template: store.Task,
    chosen: list[int | None],
    throttle: int | None,
    arguments: list[str],
) -> None:
    """Script, environment and a file for each task."""
    folder = store.folder() / "jobs" / str(job)
    folder.mkdir(parents=True)
    (folder / "slurm_script").write_text(script)
    (folder / "slurm_script").chmod(0o755)
    store.write(folder / "environment.json", _environment(options.get("export", "ALL")))
    for index in chosen:
        key = str(job) if index is None else f"{job}_{index}"
        run: store.Task = dict.fromkeys(("start", "end", "status", "pid", "preempted"))
        run |= {"on": [], "devices": [], "skipped": 0.0}
        own = {"key": key, "array": job, "index": index, "throttle": throttle, "job": job if index is None else 0}
        array = {"count": len(chosen), "first": chosen[0], "last": chosen[-1]}
        rest = {"restarts": 0, "history": [], "arguments": arguments, "siblings": array, "again": False}
        store.save(template | own | run | rest)


def _environment(export: str) -> dict[str, str]:
    """What the job gets of the environment of sbatch."""
    names = export.split(",")
    passed = {} if "NONE" in names or "NIL" in names else dict(os.environ)
    if "ALL" not in names and "NONE" not in names:
        passed = {name: os.environ[name] for name in names if name in os.environ}
    named = dict(word.split("=", 1) for word in names if "=" in word)
    needed = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "USER", "FAKE_SLURM")}
    kept = {name: value for name, value in passed.items() if not name.startswith("SLURM_") and name != store.MARK}
    return needed | kept | named
