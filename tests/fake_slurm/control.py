"""scontrol, scancel, and `fake-slurm`: what tests do to a cluster."""

from __future__ import annotations

import os
import re
import signal
import sys
import time

from tests.fake_slurm import forms, store
from tests.fake_slurm.options import RefusedError, parse
from tests.fake_slurm.store import Task

INVALID = "Invalid job id specified"


def find(text: str) -> list[Task]:
    """Tasks by 123, 123_4, 123_[1-3,5] (an array's id stands for all its tasks, a task's own id for it); none if unknown.

    Raises:
        ValueError: if it is no job id.
    """
    match = re.fullmatch(r"(\d+)(?:_(?:(\d+)|\[([\d,\-:]+)(?:%\d+)?\]))?", text)
    if not match:
        raise ValueError(text)
    job = int(match[1])
    if match[2] is None and match[3] is None:
        found = [task for task in store.tasks() if task["array"] == job]
        return found or [task for task in store.tasks() if task["job"] == job]
    wanted = [int(match[2])] if match[2] else forms.indices(match[3])[0]
    return [task for task in store.tasks() if task["array"] == job and task["index"] in wanted]


# --- scontrol -------------------------------------------------------------------------------------


def scontrol(arguments: list[str]) -> int:
    options, words = parse("scontrol", arguments, "oneliner:o all:a details:d quiet:Q verbose:v hide")
    match words:
        case ["ping"]:
            print("Slurmctld(primary) at fake is UP")
        case ["requeue"]:
            raise RefusedError("too few arguments for keyword:requeue")
        case ["requeue", *jobs]:
            return requeue([job for word in jobs for job in word.split(",")])
        case ["release", *jobs]:
            store.ask("release", keys=[task["key"] for job in jobs for task in find(job)])
        case ["show", "config"]:
            print(config())
        case ["show", ("job" | "jobs"), *job]:
            show_jobs(job, "oneliner" in options)
        case ["show", ("partition" | "partitions"), *names]:
            _print([partition(name) for name in names or store.PARTITIONS], "oneliner" in options)
        case ["show", ("node" | "nodes"), *names]:
            _print([node(name) for word in names or store.NODES for name in forms.hosts(word)], "oneliner" in options)
        case ["show", "hostnames", *names]:
            text = names[0] if names else os.environ.get("SLURM_JOB_NODELIST", "")
            print("\n".join(forms.hosts(text)))
        case ["show", "hostlist", names]:
            print(forms.host_list(names.split(",")))
        case [keyword, *_]:
            raise RefusedError(f"invalid keyword: {keyword}")
    return 0


def requeue(jobs: list[str]) -> int:
    """All that can be requeued are; each that cannot is named on standard error."""
    status = 0
    for job in jobs:
        try:
            found = find(job)
        except ValueError:
            found = []
        waiting = [task for task in found if task["state"] == "PENDING"]
        fixed = [task for task in found if not task["requeue"]]
        store.ask("requeue", keys=[task["key"] for task in found if task not in waiting + fixed])
        trouble = INVALID if not found else "Requested operation is presently disabled" if fixed else ""
        trouble = trouble or ("Job is pending execution" if waiting else "")
        if trouble:
            status = 1
            of_array = "_" in job or (found and found[0]["index"] is not None)
            print(f"{job}: {trouble}" if of_array else f"{trouble} for job {job}", file=sys.stderr)
    return status


def config() -> str:
    values = {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageEnforce": "associations,limits" if store.setting("max_submit") else "none",
        "ClusterName": "fake",
        "GresTypes": "gpu",
        "JobRequeue": "1",
        "KillWait": f"{float(store.setting('kill_wait')):.0f} sec",
        "MaxArraySize": store.setting("max_array"),
        "MaxJobCount": "10000",
        "MinJobAge": "300 sec",
        "PreemptMode": "REQUEUE",
        "PreemptType": "preempt/partition_prio",
        "SelectType": "select/cons_tres",
        "SlurmctldHost[0]": "fake(127.0.0.1)",
        "SlurmctldParameters": "preempt_send_user_signal"
        if store.setting("preempt_send_user_signal") == "1"
        else "(null)",
        "SLURM_VERSION": "22.05.8",
    }
    lines = [f"{name:<23} = {value}" for name, value in values.items()]
    up = ["", "Slurmctld(primary) at fake is UP"]
    return "\n".join([f"Configuration data as of {forms.stamp(time.time())}", *lines, *up])


def show_jobs(jobs: list[str], one_line: bool) -> None:
    try:
        found = [task for job in jobs for task in find(job)] if jobs else store.tasks()
    except ValueError:
        found = []
    if jobs and not found:
        raise RefusedError(f"slurm_load_jobs error: {INVALID}")
    if not found:
        print("No jobs in the system")
    _print([describe(task) for task in found], one_line)


def _print(paragraphs: list[str], one_line: bool) -> None:
    for text in paragraphs:
        print(" ".join(text.split()) if one_line else text + "\n")


def describe(task: Task) -> str:
    start, end = task["start"], task["end"]
    array = ""
    if task["index"] is not None:
        throttle = f" ArrayTaskThrottle={task['throttle']}" if task["throttle"] else ""
        array = f" ArrayJobId={task['array']} ArrayTaskId={task['index']}{throttle}"
    planned = start + task["limit"] if start and task["limit"] else None
    status = task["status"] or 0
    code = f"{os.WEXITSTATUS(status)}:{os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}"
    output = output_of(task, "output")
    preempted = forms.stamp(task["preempted"], "None")
    preemption = f"   PreemptEligibleTime={forms.stamp(start)} PreemptTime={preempted}\n" if start else ""
    return f"""JobId={task["job"] or task["array"]}{array} JobName={task["name"]}
   UserId={task["user"]}({os.getuid()}) GroupId={task["user"]}({os.getgid()}) MCS_label=N/A
   Priority=1 Nice=0 Account={task["account"]} QOS={task["qos"]}
   JobState={task["state"].partition(" ")[0]} Reason={task["reason"]} Dependency=(null)
   Requeue={int(task["requeue"])} Restarts={task["restarts"]} BatchFlag=1 Reboot=0 ExitCode={code}
   RunTime={forms.elapsed(forms.ran(task))} TimeLimit={time_limit(task)} TimeMin=N/A
   SubmitTime={forms.stamp(task["submit"])} EligibleTime={forms.stamp(task["eligible"])}
   StartTime={forms.stamp(start)} EndTime={forms.stamp(end or planned)} Deadline=N/A
{preemption}   Partition={task["partition"]} AllocNode:Sid=fake:1
   NodeList={forms.host_list(task["on"])}
   NumNodes={task["nodes"]} NumCPUs={task["cpus"]} NumTasks={task["ntasks"]}
   TRES={tres(task)}
   Command={task["command"]}
   WorkDir={task["directory"]}
   StdErr={output_of(task, "error") if "error" in task["options"] else output}
   StdIn=/dev/null
   StdOut={output}
   Comment={task["comment"] or "(null)"}
"""


def time_limit(task: Task) -> str:
    return "UNLIMITED" if task["limit"] is None else forms.elapsed(task["limit"])


def tres(task: Task) -> str:
    gpus = f",gres/gpu={task['gpus'] * task['nodes']}" if task["gpus"] else ""
    return f"cpu={task['cpus']},mem={task['memory']},node={task['nodes']},billing={task['cpus']}{gpus}"


def output_of(task: Task, option: str) -> str:
    pattern = task["options"].get(option) or ("slurm-%j.out" if task["index"] is None else "slurm-%A_%a.out")
    name = forms.file_name(pattern, task, node=(task["on"] or [""])[0])
    return name if name.startswith("/") else f"{task['directory']}/{name}"


def partition(name: str) -> str:
    if name not in store.PARTITIONS:
        raise RefusedError(f"Partition {name} not found")
    nodes = store.PARTITIONS[name]
    cpus, gpus = len(nodes) * store.CPUS, sum(store.NODES[node] for node in nodes)
    return f"""PartitionName={name}
   AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL
   AllocNodes=ALL Default={"YES" if name == "main" else "NO"} QoS=N/A
   DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO
   MaxNodes=UNLIMITED MaxTime=UNLIMITED MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED
   Nodes={forms.host_list(nodes)}
   OverTimeLimit=NONE PreemptMode=REQUEUE
   State=UP TotalCPUs={cpus} TotalNodes={len(nodes)} SelectTypeParameters=NONE
   TRES=cpu={cpus},mem={len(nodes) * store.MEMORY}M,node={len(nodes)},billing={cpus},gres/gpu={gpus}
"""


def node(name: str) -> str:
    if name not in store.NODES:
        raise RefusedError(f"Node {name} not found")
    gpus = store.NODES[name]
    return f"""NodeName={name} Arch=x86_64 CoresPerSocket={store.CPUS}
   CPUAlloc=0 CPUEfctv={store.CPUS} CPUTot={store.CPUS} CPULoad=0.00
   AvailableFeatures={"gpu" if gpus else "cpu"}
   Gres={f"gpu:{gpus}" if gpus else "(null)"}
   RealMemory={store.MEMORY} State=IDLE ThreadsPerCore=1
"""


# --- scancel --------------------------------------------------------------------------------------

SCANCEL = """
account:A= batch:b ctld cron full:f hurry:H interactive:i me name:n= jobname= partition:p= qos:q= quiet:Q reservation:R= signal:s=
state:t= user:u= verbose:v wckey= nodelist:w= sibling= clusters:M=
"""


def scancel(arguments: list[str]) -> int:
    options, jobs = parse("scancel", arguments, SCANCEL)
    filters = {"name", "jobname", "user", "me", "state", "partition", "account", "nodelist"} & set(options)
    if not jobs and not filters:
        raise RefusedError("scancel: error: No job identification provided")
    number = _signal_number(options["signal"]) if "signal" in options else None
    status = 0
    for word in [part for job in jobs for part in re.split(r",(?![^\[]*\])", job)] or [None]:
        try:
            found = store.tasks() if word is None else find(word)
        except ValueError as error:
            raise RefusedError(f"scancel: error: Invalid job id {word}") from error
        found = [task for task in found if _selected(task, options)]
        if number is None:
            store.ask("cancel", keys=[task["key"] for task in found], alone="_" in (word or ""))
            continue
        running = [task["key"] for task in found if task["state"] == "RUNNING"]
        if word is not None and not any(task["state"] in store.LIVE for task in found):
            status = 1
            print(f"scancel: error: Kill job error on job id {word}: {INVALID}", file=sys.stderr)
        elif number == signal.SIGKILL:
            store.ask("cancel", keys=running, alone=False)
        else:
            batch, full = "batch" in options, "full" in options
            store.ask("signal", keys=running, number=number, batch=batch or full, steps=full or not batch)
    return status


def _signal_number(text: str) -> int:
    name = text.upper().removeprefix("SIG")
    if name.isdigit():
        return int(name)
    if not hasattr(signal, f"SIG{name}"):
        raise RefusedError(f"Unknown job signal: {text}")
    return int(getattr(signal, f"SIG{name}"))


def _selected(task: Task, options: dict[str, str]) -> bool:
    names = [word for option in ("name", "jobname") for word in options.get(option, "").split(",") if word]
    states = options.get("state", "").upper().split(",")
    return (
        (not names or task["name"] in names)
        and options.get("user", task["user"]) == task["user"]
        and options.get("partition", task["partition"]) == task["partition"]
        and ("state" not in options or task["state"] in states)
    )


# --- fake-slurm -----------------------------------------------------------------------------------


def verbs(arguments: list[str]) -> int:
    """preempt | timeout | node-fail | kill | oom JOB, and stop."""
    match arguments:
        case ["stop"]:
            stop()
        case ["preempt", job]:
            store.ask("preempt", keys=_running(job), number=None)
        case ["preempt", job, name]:
            store.ask("preempt", keys=_running(job), number=_signal_number(name))
        case [("timeout" | "node-fail" | "kill" | "oom") as verb, job]:
            store.ask(verb.replace("-", "_"), keys=_running(job))
        case _:
            raise RefusedError(
                "fake-slurm stop | preempt JOB [SIGNAL] | timeout JOB | node-fail JOB | kill JOB | oom JOB", 2
            )
    return 0


def _running(job: str) -> list[str]:
    keys = [task["key"] for task in find(job) if task["state"] == "RUNNING"]
    if not keys:
        raise RefusedError(f"fake-slurm: {job} is not running")
    return keys


def stop() -> None:
    """End all: the controller does it, and what one that was killed has left is killed here."""
    if store.controller_runs():
        store.ask("stop")
        while store.controller_runs():
            time.sleep(0.005)
    store.kill_all(f"{store.folder()}/")
