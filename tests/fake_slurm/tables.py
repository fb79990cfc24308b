"""squeue, sacct, sinfo, sacctmgr: what is known, in the columns that are asked for."""

from __future__ import annotations

import itertools
import os
import pwd
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from tests.fake_slurm import forms, store
from tests.fake_slurm.control import INVALID, find, time_limit, tres
from tests.fake_slurm.options import RefusedError, parse
from tests.fake_slurm.store import Task

_STATES = """PENDING RUNNING SUSPENDED COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY
COMPLETING CONFIGURING RESIZING RESV_DEL_HOLD REQUEUED REQUEUE_FED REQUEUE_HOLD REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT
STOPPED"""
STATES = _STATES.split()
SHORT = {"PENDING": "PD", "RUNNING": "R", "COMPLETING": "CG", "COMPLETED": "CD", "CANCELLED": "CA", "FAILED": "F"}
SHORT |= {"TIMEOUT": "TO", "NODE_FAIL": "NF", "PREEMPTED": "PR", "OUT_OF_MEMORY": "OOM", "REQUEUED": "RQ"}

# --- squeue ---------------------------------------------------------------------------------------

SQUEUE = """
account:A= all:a array:r array-unique clusters:M= federation Format:O= format:o= hide iterate:i= job:j? jobs= licenses:L=
local long:l me name:n= noheader:h noconvert nodelist:w= partition:p= priority:P qos:q= reservation:R= sibling sort:S= start
states:t= step:s? user:u= users= verbose:v
"""
DEFAULT = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"
PIECES = re.compile(r"%(\.?)(\d*)([A-Za-z])|([^%]+|%)")  # of a format: right, width, letter, or text
Column = tuple[str, str, str, Callable[[Task], object]]  # header, long name, its header, value
COLUMNS: dict[str, Column] = {}  # by letter


def _column(letter: str, header: str, names: str, long_header: str, value: Callable[[Task], object]) -> None:
    COLUMNS[letter] = header, names, long_header, value


def _ran(task: Task) -> float:
    return 0.0 if task["state"] == "COMPLETING" else forms.ran(task)


def _place(task: Task) -> str:
    return f"({task['reason']})" if task["state"] == "PENDING" else forms.host_list(task["on"])


def _left(task: Task) -> str:
    return "UNLIMITED" if task["limit"] is None else forms.short_elapsed(max(0, task["limit"] - _ran(task)))


def _limit(task: Task) -> str:
    return "UNLIMITED" if task["limit"] is None else forms.short_elapsed(task["limit"])


def _end(task: Task) -> str:
    planned = task["start"] + task["limit"] if task["start"] and task["limit"] else None
    return forms.stamp(task["end"] or planned, "NONE" if task["start"] else "N/A")


def _state(task: Task) -> str:
    return str(task["state"]).partition(" ")[0]


def _shown(task: Task) -> str:
    if task["index"] is None:
        return str(task["array"])
    return f"{task['array']}_[{task['shown']}]" if "shown" in task else f"{task['array']}_{task['index']}"


_column("i", "JOBID", "JobArrayID", "JOBID", _shown)
_column("A", "JOBID", "JobID", "JOBID", lambda t: t["job"] or t["array"])
_column("F", "ARRAY_JOB_ID", "ArrayJobID", "ARRAY_JOB_ID", lambda t: t["array"])
_column(
    "K",
    "ARRAY_TASK_ID",
    "ArrayTaskID",
    "ARRAY_TASK_ID",
    lambda t: t.get("shown", "N/A" if t["index"] is None else t["index"]),
)
_column("T", "STATE", "State", "STATE", _state)
_column("t", "ST", "StateCompact", "ST", lambda t: SHORT[_state(t)])
_column(
    "r", "REASON", "Reason", "REASON", lambda t: t["reason"] if t["state"] not in ("RUNNING", "COMPLETING") else "None"
)
_column("R", "NODELIST(REASON)", "ReasonList", "NODELIST(REASON)", _place)
_column("j", "NAME", "Name", "NAME", lambda t: t["name"])
_column("P", "PARTITION", "Partition", "PARTITION", lambda t: t["partition"])
_column("M", "TIME", "TimeUsed", "TIME", lambda t: forms.short_elapsed(_ran(t)))
_column("l", "TIME_LIMIT", "TimeLimit", "TIME_LIMIT", _limit)
_column("L", "TIME_LEFT", "TimeLeft", "TIME_LEFT", _left)
_column("S", "START_TIME", "StartTime", "START_TIME", lambda t: forms.stamp(t["start"], "N/A"))
_column("e", "END_TIME", "EndTime", "END_TIME", _end)
_column("V", "SUBMIT_TIME", "SubmitTime", "SUBMIT_TIME", lambda t: forms.stamp(t["submit"]))
_column("D", "NODES", "NumNodes", "NODES", lambda t: t["nodes"])
_column("C", "CPUS", "NumCPUs", "CPUS", lambda t: t["cpus"])
_column(
    "b", "TRES_PER_NODE", "tres-per-node", "TRES_PER_NODE", lambda t: f"gres:gpu:{t['gpus']}" if t["gpus"] else "N/A"
)
_column("N", "NODELIST", "NodeList", "NODELIST", lambda t: forms.host_list(t["on"]))
_column("B", "EXEC_HOST", "BatchHost", "EXEC_HOST", lambda t: (t["on"] or ["n/a"])[0])
_column("u", "USER", "UserName", "USER", lambda t: t["user"])
_column("a", "ACCOUNT", "Account", "ACCOUNT", lambda t: t["account"])
_column("q", "QOS", "QOS", "QOS", lambda t: t["qos"])
_column("o", "COMMAND", "Command", "COMMAND", lambda t: t["command"])
_column("Z", "WORK_DIR", "WorkDir", "WORK_DIR", lambda t: t["directory"])
_column("k", "COMMENT", "Comment", "COMMENT", lambda t: t["comment"] or "(null)")
_column("w", "WCKEY", "WCKey", "WCKEY", lambda t: t["wckey"])
# these have no letter
_column("restarts", "", "RestartCnt", "RESTART_COUNT", lambda t: t["restarts"])
_column("exit code", "", "exit_code", "EXIT_CODE", lambda t: t["status"] or 0)
_column("tres", "", "tres-alloc", "TRES_ALLOC", lambda t: tres(t))
LONG = {names.lower(): (header, value) for _, names, header, value in COLUMNS.values()}


def squeue(arguments: list[str]) -> int:
    options, jobs = parse("squeue", arguments, SQUEUE.replace("job:j?", "job:j=").replace("step:s?", "step:s="))
    wanted = [word for name in ("job", "jobs") for word in options.get(name, "").split(",") if word] + jobs
    states = _states(options.get("states", "pending,running,completing"))
    tasks = store.tasks()
    if wanted:
        found = [(word, _find(word)) for word in wanted]
        if len(wanted) == 1 and not found[0][1]:
            raise RefusedError(f"slurm_load_jobs error: {INVALID}")
        tasks = [task for _, tasks_of in found for task in tasks_of]
    tasks = [task for task in tasks if _listed(task, states, options)]
    ranked = sorted(tasks, key=lambda task: (_state(task) != "PENDING", store.order(task)))
    single = "array" in options or any("_" in word for word in wanted)
    rows = ranked if single else list(_grouped(ranked))
    lines = (
        _long_lines(options["Format"], rows) if "Format" in options else _lines(options.get("format", DEFAULT), rows)
    )
    for line in lines[1:] if "noheader" in options else lines:
        print(line)
    return 0


def _find(word: str) -> list[Task]:
    try:
        return find(word)
    except ValueError as error:
        raise RefusedError(f"squeue: error: Invalid job id: {word}") from error


def _states(text: str) -> list[str]:
    if text.lower() == "all":
        return STATES
    full = {short: state for state, short in SHORT.items()}
    found = [full.get(word.upper(), word.upper()) for word in text.split(",")]
    for word, state in zip(text.split(","), found, strict=True):
        if state not in STATES:
            valid = f"squeue: error: Valid job states include: {','.join(STATES)}"
            raise RefusedError(f"squeue: error: Invalid job state specified: {word}\n{valid}\n")
    return found


def _listed(task: Task, states: list[str], options: dict[str, str]) -> bool:
    users = [word for name in ("user", "users") for word in options.get(name, "").split(",") if word]
    return (
        _state(task) in states
        and ("name" not in options or task["name"] in options["name"].split(","))
        and (not users or task["user"] in users)
        and options.get("partition", task["partition"]) == task["partition"]
    )


def _grouped(tasks: Iterable[Task]) -> Iterable[Task]:
    """Waiting elements of an array in one row, as 123_[4-9%2]; those that have run before have rows of their own."""

    def group(task: Task) -> Any:
        waits = task["state"] == "PENDING" and task["index"] is not None and task["job"] == 0
        return (task["array"], task["reason"]) if waits else task["key"]

    for key, members in itertools.groupby(tasks, key=group):
        found = list(members)
        if isinstance(key, tuple):
            found[0]["shown"] = _element_list(found)
        yield found[0]


def _element_list(tasks: list[Task]) -> str:
    throttle = tasks[0]["throttle"]
    return forms.ranges([task["index"] for task in tasks]) + (f"%{throttle}" if throttle else "")


def _lines(form: str, rows: list[Task]) -> list[str]:
    """A header and a line per row. %i as it is; %10i left, %.10i right in 10 columns, and no more than 10."""
    lines = []
    for row in [None, *rows]:
        line = ""
        for right, width, letter, text in PIECES.findall(form):
            if letter not in COLUMNS:
                line += text
                continue
            header, _, _, value = COLUMNS[letter]
            cell = header if row is None else str(value(row))
            size = int(width or 0)
            line += (cell.rjust(size) if right else cell.ljust(size))[:size] if size else cell
        lines.append(line)
    return lines


def _long_lines(form: str, rows: list[Task]) -> list[str]:
    """--Format=Name,Name:10,Name:.10|,...: 20 columns where nothing is given, as wide as it is where only a suffix is."""
    columns = []
    for word in form.split(","):
        name, _, layout = word.strip().partition(":")
        if name.lower() not in LONG:
            raise RefusedError(f"squeue: error: Invalid job format specification: {name}", 0)
        columns.append((*LONG[name.lower()], layout or "20"))
    lines = ["".join(_layout(header, layout) for header, _, layout in columns)]
    return lines + ["".join(_layout(str(value(row)), layout) for _, value, layout in columns) for row in rows]


def _layout(text: str, layout: str) -> str:
    """A cell as 10, .10, 10| or | say."""
    suffix = layout.lstrip(".").lstrip("0123456789")
    width = int(layout.removesuffix(suffix).lstrip(".") or 0)
    aligned = text.rjust(width) if layout.startswith(".") else text.ljust(width)
    return (aligned[:width] if width else text) + suffix


# --- sacct ----------------------------------------------------------------------------------------

SACCT = """
accounts:A= allclusters:L allocations:X allusers:a array brief:b clusters:M= completion:c constraints:C= delimiter= duplicates:D
endtime:E= federation file:f= flags:F= format:o= group:g= helpformat:e jobs:j= json local long:l name= ncpus:i= nnodes:I= noconvert
nodelist:N= noheader:n parsable:p parsable2:P partition:r= qos:q= reason:R= starttime:S= state:s= submit-line timelimit-max:K=
timelimit-min:k= truncate:T uid:u= user= units= use-local-uid verbose:v wckeys:W= whole-hetjob? batch-script:B
"""
_FIELDS = """Account AdminComment AllocCPUS AllocNodes AllocTRES AssocID AveCPU AveCPUFreq AveDiskRead AveDiskWrite AvePages AveRSS
AveVMSize BlockID Cluster Comment Constraints ConsumedEnergy ConsumedEnergyRaw Container CPUTime CPUTimeRAW DBIndex
DerivedExitCode Elapsed ElapsedRaw Eligible End ExitCode Flags GID Group JobID JobIDRaw JobName Layout MaxDiskRead
MaxDiskReadNode MaxDiskReadTask MaxDiskWrite MaxDiskWriteNode MaxDiskWriteTask MaxPages MaxPagesNode MaxPagesTask MaxRSS
MaxRSSNode MaxRSSTask MaxVMSize MaxVMSizeNode MaxVMSizeTask McsLabel MinCPU MinCPUNode MinCPUTask NCPUS NNodes NodeList NTasks
Partition Priority QOS QOSRAW Reason ReqCPUFreq ReqCPUFreqGov ReqCPUFreqMax ReqCPUFreqMin ReqCPUS ReqMem ReqNodes ReqTRES
Reservation ReservationId Reserved ResvCPU ResvCPURAW Start State Submit SubmitLine Suspended SystemComment SystemCPU Timelimit
TimelimitRaw TotalCPU TRESUsageInAve TRESUsageInMax TRESUsageInMaxNode TRESUsageInMaxTask TRESUsageInMin TRESUsageInMinNode
TRESUsageInMinTask TRESUsageInTot TRESUsageOutAve TRESUsageOutMax TRESUsageOutMaxNode TRESUsageOutMaxTask TRESUsageOutMin
TRESUsageOutMinNode TRESUsageOutMinTask TRESUsageOutTot UID User UserCPU WCKey WCKeyID WorkDir"""
FIELDS = _FIELDS.split()
WIDTHS = {
    "JobID": -12,
    "ExitCode": 8,
    "Start": 19,
    "End": 19,
    "Submit": 19,
    "Eligible": 19,
    "NodeList": 15,
    "JobIDRaw": -12,
}
Row = dict[str, object]


def sacct(arguments: list[str]) -> int:
    options, _ = parse("sacct", arguments, SACCT)
    if "helpformat" in options:
        print("\n".join("".join(f"{name:<20}" for name in FIELDS[i : i + 4]) for i in range(0, len(FIELDS), 4)))
        return 0
    fields = [
        _field(word)
        for word in options.get("format", "JobID,JobName,Partition,Account,AllocCPUS,State,ExitCode").split(",")
    ]
    if "state" in options:
        for word in options["state"].split(","):
            if word.upper() not in {*STATES, *SHORT.values()}:
                raise RefusedError(f"sacct: fatal: unrecognized job state value '{word}'")
    wanted = [word for word in ",".join([options.get("jobs", ""), *_all_values(arguments)]).split(",") if word]
    for word in wanted:
        if not re.fullmatch(r"\d+(_(\d+|\[.*\]))?(\.\w+)?", word):
            raise RefusedError(f"sacct: fatal: Bad job/step specified: {word}")
    rows = [
        row
        for row in sacct_rows("duplicates" in options, steps="allocations" not in options)
        if _asked(row, wanted, options)
    ]
    parsable = "parsable" in options or "parsable2" in options
    separator, end = options.get("delimiter", "|"), "|" if "parsable" in options else ""
    header = [[name for name, _ in fields]] + ([] if parsable else [["-" * abs(width) for _, width in fields]])
    cells = [[str(row.get(name, "")) for name, _ in fields] for row in rows]
    for line in cells if "noheader" in options else header + cells:
        print(
            separator.join(line) + end
            if parsable
            else "".join(_fit(c, w) for c, (_, w) in zip(line, fields, strict=True))
        )
    return 0


def _all_values(arguments: list[str]) -> list[str]:
    """-j may be given several times: all but the last, which the parser keeps anyway."""
    found = [b for a, b in itertools.pairwise(arguments) if a in ("-j", "--jobs")]
    return found + [a.partition("=")[2] for a in arguments if a.startswith("--jobs=")]


def _fit(cell: str, width: int) -> str:
    """In its column, cut with a + if it is too long."""
    size = abs(width)
    cell = cell if len(cell) <= size else cell[: size - 1] + "+"
    return (cell.ljust(size) if width < 0 else cell.rjust(size)) + " "


def _field(word: str) -> tuple[str, int]:
    name, _, width = word.strip().partition("%")
    for known in FIELDS:
        if known.lower() == name.lower():
            return known, int(width) if width else WIDTHS.get(known, 10)
    raise RefusedError(f'sacct: error: Invalid field requested: "{name}"')


def _asked(row: Row, wanted: list[str], options: dict[str, str]) -> bool:
    identity = str(row["JobID"])
    base = identity.partition(".")[0]
    if wanted and not any(_named(word, identity, base, str(row["JobIDRaw"])) for word in wanted):
        return False
    if "state" in options:
        full = {short: state for state, short in SHORT.items()}
        if str(row["State"]).partition(" ")[0] not in [
            full.get(w.upper(), w.upper()) for w in options["state"].split(",")
        ]:
            return False
    return "name" not in options or row["_name"] in options["name"].split(",")


def _named(word: str, identity: str, base: str, raw: str) -> bool:
    if "." in word:
        return word == identity
    return word in (base, base.partition("_")[0], raw.partition(".")[0])


def sacct_rows(duplicates: bool, *, steps: bool) -> list[Row]:
    """Of each task the last run, with `duplicates` all. The next run of a requeued task appears when it may start."""
    rows: list[Row] = []
    for _, members in itertools.groupby(store.tasks(), key=lambda task: task["array"]):
        found = [task for task in members if not task.get("hidden")]
        fresh = [task for task in found if task["start"] is None and not task["history"] and task["index"] is not None]
        for task in found:
            history = [task | run for run in task["history"]]
            waits = bool(history) and task["state"] == "PENDING" and task["eligible"] > time.time()
            runs = history if waits else [*history, task]
            for run in runs if duplicates else runs[-1:]:
                if task not in fresh:
                    rows += _run_rows(run) if steps else [_task_row(run)]
        for _, same in itertools.groupby(fresh, key=lambda task: task["state"]):
            together = list(same)
            rows.append(_task_row(together[0]) | {"JobID": f"{together[0]['array']}_[{_element_list(together)}]"})
    return rows


def _task_row(run: Task) -> Row:
    start, end = run["start"], run["end"]
    ran = int(forms.ran(run))
    state = run["final"] if run["state"] == "COMPLETING" else run["state"]
    limit = run["limit"]
    return {
        "_name": run["name"],
        "JobID": str(run["array"]) if run["index"] is None else f"{run['array']}_{run['index']}",
        "JobIDRaw": str(run["job"] or run["array"]),
        "JobName": run["name"],
        "State": state,
        "ExitCode": forms.exit_code(run["status"]),
        "DerivedExitCode": "0:0",
        "NodeList": forms.host_list(run["on"]) or "None assigned",
        "Elapsed": forms.elapsed(ran),
        "ElapsedRaw": ran,
        "Start": forms.stamp(start, "Unknown" if state == "PENDING" else "None"),
        "End": forms.stamp(end),
        "Submit": forms.stamp(run["submit"]),
        "Eligible": forms.stamp(run["eligible"]),
        "Reason": run["reason"],
        "AllocTRES": _alphabetical(tres(run)) if start else "",
        "ReqTRES": _alphabetical(tres(run)),
        "Partition": run["partition"],
        "Timelimit": time_limit(run),
        "TimelimitRaw": "UNLIMITED" if limit is None else int(limit // 60),
        "CPUTimeRAW": ran * run["cpus"],
        "CPUTime": forms.elapsed(ran * run["cpus"]),
        "TotalCPU": "00:00:00",
        "Account": run["account"],
        "User": run["user"],
        "UID": os.getuid(),
        "AllocCPUS": run["cpus"],
        "NCPUS": run["cpus"],
        "ReqCPUS": run["cpus"],
        "NNodes": run["nodes"],
        "AllocNodes": run["nodes"] if start else 0,
        "ReqMem": run["memory"],
        "QOS": run["qos"],
        "Comment": run["comment"],
        "WCKey": run["wckey"],
        "WorkDir": run["directory"],
        "Cluster": "fake",
    }


def _alphabetical(resources: str) -> str:
    return ",".join(sorted(resources.split(",")))


def _run_rows(run: Task) -> list[Row]:
    """The run, its script and its steps."""
    whole = _task_row(run)
    if run["start"] is None:
        return [whole]
    batch = run.get("batch_status", run["status"])
    common = whole | {
        "Partition": "",
        "Timelimit": "",
        "TimelimitRaw": "",
        "ReqTRES": "",
        "QOS": "",
        "Reason": "",
        "User": "",
    }
    common["AllocTRES"] = str(whole["AllocTRES"]).partition(",")[2]
    state = "RUNNING" if run["end"] is None else _step_state(batch)
    rows = [
        common
        | _step_names(whole, "batch", "batch")
        | {"State": state, "ExitCode": forms.exit_code(batch), "NTasks": 1}
    ]
    codes = [0]
    for step in store.steps(run):
        end = step["end"] or run["end"]
        status = step["status"] if step["end"] or end is None else 9  # srun was killed before it could tell
        state = "RUNNING" if end is None else _step_state(status)
        ran = int((end or time.time()) - step["start"])
        times = {
            "Start": forms.stamp(step["start"]),
            "End": forms.stamp(end),
            "Elapsed": forms.elapsed(ran),
            "ElapsedRaw": ran,
        }
        ended = {"State": state, "ExitCode": forms.exit_code(status), "NTasks": step["tasks"]}
        rows.append(common | _step_names(whole, str(step["number"]), step["name"]) | times | ended)
        codes.append(step["status"] or 0)
    return [whole | {"DerivedExitCode": forms.exit_code(max(codes))}, *rows]


def _step_names(whole: Row, step: str, name: str) -> Row:
    return {"JobID": f"{whole['JobID']}.{step}", "JobIDRaw": f"{whole['JobIDRaw']}.{step}", "JobName": name}


def _step_state(status: int | None) -> str:
    return "CANCELLED" if status is not None and os.WIFSIGNALED(status) else "FAILED" if status else "COMPLETED"


# --- sinfo, sacctmgr ------------------------------------------------------------------------------


def sinfo(arguments: list[str]) -> int:
    known = "Node:N noheader:h format:o= partition:p= states:t= exact:e Format:O= long:l summarize:s list-reasons:R nodes:n= all:a"
    options, _ = parse("sinfo", arguments, known)
    rows: list[dict[str, Any]] = []
    for name, nodes in store.PARTITIONS.items():
        if options.get("partition", name) != name:
            continue
        groups = (
            [[node] for node in nodes]
            if "Node" in options
            else [list(g) for _, g in itertools.groupby(nodes, store.NODES.get)]
        )
        for group in groups:
            gpus = store.NODES[group[0]]
            shown = name + ("*" if name == "main" else "")
            values = {
                "P": shown,
                "a": "up",
                "l": "infinite",
                "D": len(group),
                "T": "idle",
                "t": "idle",
                "N": forms.host_list(group),
            }
            values |= {"R": name, "c": store.CPUS, "m": store.MEMORY, "G": f"gpu:{gpus}" if gpus else "(null)"}
            rows.append(values | {"f": "gpu" if gpus else "cpu"})
    heads = {
        "P": "PARTITION",
        "a": "AVAIL",
        "l": "TIMELIMIT",
        "D": "NODES",
        "T": "STATE",
        "t": "STATE",
        "N": "NODELIST",
    }
    heads |= {"R": "PARTITION", "c": "CPUS", "m": "MEMORY", "G": "GRES", "f": "AVAIL_FEATURES"}
    form = options.get("format", "%9P %.5a %.10l %.6D %.6t %N")

    for row in rows if "noheader" in options else [heads, *rows]:
        print("".join(_cell(row, *piece) for piece in PIECES.findall(form)))
    return 0


def _cell(row: dict[str, Any], right: str, width: str, letter: str, text: str) -> str:
    cell, size = str(row.get(letter, text)), int(width or 0)
    return cell.rjust(size) if right else cell.ljust(size)


LIMITS = ("maxjobs", "maxsubmitjobs", "maxsubmit", "grpjobs", "grpsubmitjobs", "grptres", "maxtresperjob", "maxwall")
OF_QOS = (
    "flags",
    "maxsubmitjobspu",
    "maxsubmitpu",
    "maxsubmitjobsperuser",
    "maxjobspu",
    "maxtrespu",
    "maxwall",
    "priority",
)


def sacctmgr(arguments: list[str]) -> int:
    """One command, or several from the standard input, which are repeated with a prompt."""
    known = "noheader:n parsable:p parsable2:P immediate:i quiet:Q readonly:r associations:s"
    options, words = parse("sacctmgr", arguments, known)
    if words:
        _manage(words, options)
        return 0
    for line in sys.stdin:
        print(f"sacctmgr: {line.rstrip()}")
        if line.strip() in ("quit", "exit"):
            break
        _manage(line.split(), options)
    return 0


def _manage(words: list[str], options: dict[str, str]) -> None:
    match [word.lower() for word in words[:2]]:
        case [("show" | "list"), ("assoc" | "associations" | "association" | "user" | "users")]:
            most, user = store.setting("max_submit"), pwd.getpwuid(os.getuid()).pw_name
            values = dict.fromkeys((*LIMITS, "partition", "defaultqos"), "") | {"account": "root", "user": user}
            values |= {"cluster": "fake", "qos": "normal", "maxsubmitjobs": most, "maxsubmit": most}
        case [("show" | "list"), "qos"]:
            values = dict.fromkeys(OF_QOS, "") | {"name": "normal", "gracetime": "00:00:00"}
        case [("show" | "list"), ("cluster" | "clusters")]:
            values = {"cluster": "fake", "controlhost": "127.0.0.1"}
        case [keyword, *_]:
            raise RefusedError(f"invalid keyword: {keyword}")
    form = next((word.partition("=")[2] for word in words if word.lower().startswith("format=")), ",".join(values))
    fields = [word.partition("%")[0].lower() for word in form.split(",")]
    for field in fields:
        if field not in values:
            raise RefusedError(f"Unknown field '{field}'")
    end = "|" if "parsable" in options else ""
    for row in ([] if "noheader" in options else [fields]) + [[values[field] for field in fields]]:
        plain = "parsable" in options or "parsable2" in options
        print("|".join(row) + end if plain else " ".join(cell.rjust(10) for cell in row))
