"""A site profile: what a cluster wants to be asked, in slurm/<name>.toml. Frozen, typed, strict.

There is no field for a tracking server: compute nodes only write to the ledger, which `slq sync` projects on the login node.
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from suite.errors import UserError, choices
from suite.launch.sbatch_flags import long_name, refusal
from suite.launch.slurm_time import minutes_of

FOLDER = "slurm"
MOST = 5  # mistakes shown at once
EARLY = 60  # seconds that Slurm may send a warning too early
NO_LIMIT = 10**9  # Submitit wants a number of array tasks that may run at once


def _limit(text: str) -> str:
    if not minutes_of(text):
        raise ValueError(f"{text!r} is no limit; a task must end before it can be continued, at least a minute")
    return text


def _shell_words(command: str) -> str:
    if not shlex.split(command):  # raises for a quote without its end
        raise ValueError("it is empty")
    return command


def _module_line(line: str) -> str:
    if line.split(maxsplit=1)[:1] not in (["module"], ["ml"], ["spack"]):
        raise ValueError(
            f'{line!r} is no module command; write "module load {line.strip()}", other commands into setup'
        )
    return line


def _no_directive(line: str) -> str:
    """Refuse `#SBATCH` in shell lines; Slurm heeds them only above the first command, so it may also do nothing."""
    for flag in re.findall(r"(?m)^#SBATCH\s+(-\w|--[\w-]+)", line):
        raise ValueError(refusal(flag) or f"{flag} belongs into the table extra: {long_name(flag)} = ...")
    return line


Word = Annotated[str, Field(pattern=r"^\S+$")]
Line = Annotated[str, AfterValidator(_no_directive)]
Lines = Annotated[tuple[Line, ...], Field(strict=False)]  # a TOML array is a list, which strict tuples refuse
ModuleLines = Annotated[tuple[Annotated[Line, AfterValidator(_module_line)], ...], Field(strict=False)]


class Site(BaseModel):
    """What the suite asks Slurm for on one cluster. A field left out has its default; None stands for "not given"."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field("", description="The profile's file name without ending; not written in the file.")

    partition: Word | None = Field(
        None, description='Partition, or several with commas ("a100,v100"); default: the cluster\'s default partition.'
    )
    account: Word | None = Field(None, description="Account that is charged; default: the user's default account.")
    qos: Word | None = Field(None, description="Quality of service; default: the account's.")
    time: Annotated[str, AfterValidator(_limit)] = Field(
        "04:00:00",
        description='Time limit of a task in Slurm\'s forms: "30" (minutes), "02:00:00", "1-00:00:00". A trial that is not done by '
        "then goes on in the same job after it has been queued again, so a short limit that is scheduled soon is often best.",
    )
    cpus: int = Field(1, ge=1, description="Processors of a task.")
    memory: str = Field(
        "4G",
        pattern=r"^(0|[1-9]\d*[KMGT]B?)$",
        description='Memory with its unit, as "4G"; of what, says memory_style. "0" is all memory of the node.',
    )
    memory_style: Literal["mem", "mem-per-cpu", "mem-per-gpu", "none"] = Field(
        "mem", description='The flag for memory, to whose unit "memory" refers; none: the cluster wants no such flag.'
    )
    gpus: int = Field(0, ge=0, description="GPUs of a task; 0: none.")
    gpu_style: Literal["gres", "gpus", "gpus-per-node", "none"] = Field(
        "gres", description="The flag for GPUs; none: the partition hands its GPUs out without being asked."
    )
    gpu_type: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = Field(
        None, description="Type of GPU, as `sinfo -o %G` shows it: a100 makes --gres=gpu:a100:1."
    )
    constraint: Word | None = Field(None, description='Features that nodes must have, as "a100|h100".')
    exclude: Word | None = Field(None, description="Nodes that must not be used.")
    nodes: int = Field(1, ge=1, description="Nodes of the allocation of the ray backend; tasks of an array have one.")

    max_array_size: int | None = Field(
        None, ge=1, description="Most tasks in one array; default: what the cluster says (MaxArraySize)."
    )
    max_submit: int | None = Field(
        None, ge=1, description="Most tasks in the queue at once; default: what the accounting says (MaxSubmitJobs)."
    )
    max_parallel: int | None = Field(
        None,
        ge=1,
        description="Most tasks of a submitted sweep that run at once (the % of an array); default: no limit.",
    )
    task_minutes: int = Field(
        30, ge=1, description="How long an array task should work: several short trials share one."
    )

    srun: bool = Field(True, description="Whether a task is started by srun inside of its batch script.")
    signal_seconds: int = Field(
        120, ge=5, le=65535, description="How long before the time limit a task is told to save and to requeue itself."
    )
    max_timeouts: int = Field(50, ge=0, description="How often a task may run into its time limit and go on.")
    max_crashes: int = Field(
        3, ge=0, description="How often a task is queued again after it was killed (out of memory, SIGKILL, full disk)."
    )

    modules: ModuleLines = Field((), description="Module commands, run in this order; a task ends if one fails.")
    setup: Lines = Field(
        (), description="Shell lines that run after the modules, such as those that activate an environment."
    )
    python: Annotated[str, AfterValidator(_shell_words)] | None = Field(
        None, description="Python on compute nodes, as a shell command; default: the interpreter that submits."
    )
    scratch: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = Field(
        None,
        description="Name of the variable (no $) with a folder on the node's own disk: TMPDIR, SLURM_TMPDIR.",
    )
    stage_data: bool = Field(False, description="Whether data sets are copied to scratch, once a node.")
    data_root: Annotated[str, Field(pattern=r"^/[^\n]*$")] | None = Field(
        None, description="Where compute nodes see the data, an absolute path; default: where the login node sees it."
    )
    extra: dict[str, str | int | bool] = Field(
        {},
        description='Further sbatch flags, such as {nice = 100, "mail-type" = "END"}; true makes a flag without value.',
    )

    @model_validator(mode="after")
    def _flags_may_pass(self) -> Self:
        for flag, value in self.extra.items():
            if flag in Site.model_fields and flag != "name":
                raise ValueError(f"extra: {flag} is a field of the profile; write it above the table [extra]")
            if reason := refusal(flag):
                raise ValueError(f"extra: {reason}")
            if "\n" in str(value):
                raise ValueError(f"extra: {flag}: {value!r} has more than one line")
        if len(set(map(long_name, self.extra))) < len(self.extra):
            raise ValueError(f"extra: a flag is given twice: {', '.join(self.extra)}")
        return self

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        for problem in self._contradictions():
            raise ValueError(problem)
        return self

    def _contradictions(self) -> Iterator[str]:
        seconds, given = self.minutes * 60, self.model_fields_set
        if self.gpu_type and not self.gpus:
            yield f"gpu_type {self.gpu_type!r} without gpus; give their number"
        if self.memory_style == "mem-per-gpu" and not self.gpus:
            yield "memory_style 'mem-per-gpu' without gpus; give their number, or another style"
        if self.memory_style == "none" and "memory" in given:
            yield f"memory {self.memory!r} would not be asked for with memory_style 'none'; remove one of them"
        if self.stage_data and not self.scratch:
            yield "stage_data needs scratch: the variable that names a node-local folder, such as TMPDIR"
        if self.signal_seconds >= seconds:
            yield f"signal_seconds {self.signal_seconds} is not less than time {self.time!r} ({seconds} s)"
        # Submitit takes whatever comes earlier for a preemption, which max_timeouts does not count
        elif self.signal_seconds > (most := max(seconds // 5, 600) - EARLY):
            yield f"signal_seconds {self.signal_seconds} is too much of time {self.time!r}; at most {most}"
        if "task_minutes" in given and self.task_minutes > self.minutes:
            yield f"task_minutes {self.task_minutes} is more than time {self.time!r}"

    @property
    def minutes(self) -> int:
        """The time limit."""
        minutes = minutes_of(self.time)
        assert minutes  # checked when the profile was made
        return minutes

    @property
    def partitions(self) -> list[str]:
        return self.partition.split(",") if self.partition else []

    def command(self) -> str:
        """What starts Python in the batch script: Submitit's `python`."""
        python = self.python or shlex.quote(sys.executable)
        return python if self.srun else f"slq_forward {python}"

    def submitit_parameters(
        self, *, job_name: str, setup: list[str], teardown: list[str], nodes: int = 1, parallel: int | None = None
    ) -> dict[str, Any]:
        """Arguments of submitit.SlurmExecutor.update_parameters.

        Args:
            setup: shell lines for after the profile's own.
            teardown: shell lines for after Python; `$?` is its exit code.
            parallel: most tasks of the array that run at once.
        """
        native = {
            "job_name": job_name,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "time": self.minutes,
            "nodes": nodes,
            "ntasks_per_node": 1,
            "cpus_per_task": self.cpus,
            "constraint": self.constraint,
            "exclude": self.exclude,
            "array_parallelism": parallel or NO_LIMIT,
            "signal_delay_s": self.signal_seconds,
            "use_srun": self.srun,
            "srun_args": [f"--cpus-per-task={self.cpus}"],  # since Slurm 22.05 srun does not take this over from sbatch
            "setup": [*map(_or_end, self.modules), *self.setup, *([] if self.srun else [FORWARD]), *setup],
            "teardown": teardown,
            "wckey": None,  # Submitit's own default is "submitit", which clusters that track keys refuse
            "additional_parameters": self._additional(nodes),
        }
        return {key: value for key, value in native.items() if value is not None or key == "wckey"}

    def _additional(self, nodes: int) -> dict[str, Any]:
        """Flags in sbatch's spelling."""
        flags: dict[str, Any] = {**self._memory(), **self._gpus(nodes), "requeue": True}
        if not self.srun:
            flags["signal"] = f"B:USR2@{self.signal_seconds}"  # without B: only steps of srun are told
        return flags | {long_name(flag): value for flag, value in self.extra.items() if value is not False}

    def _memory(self) -> dict[str, str]:
        return {} if self.memory_style == "none" else {self.memory_style: self.memory}

    def _gpus(self, nodes: int) -> dict[str, str]:
        kind = f"{self.gpu_type}:" if self.gpu_type else ""
        match self.gpu_style if self.gpus else "none":
            case "gres":
                return {"gres": f"gpu:{kind}{self.gpus}"}
            case "gpus":
                return {"gpus": f"{kind}{self.gpus * nodes}"}  # of the whole job
            case "gpus-per-node":
                return {"gpus-per-node": f"{kind}{self.gpus}"}
            case _:
                return {}


def _or_end(line: str) -> str:
    """A shell line whose failure ends the task: in the wrong environment all its trials would fail."""
    return f"{line} || {{ echo {shlex.quote(f'slq: failed: {line}')} >&2; exit 1; }}"


# Without srun Slurm's signals reach the batch shell only. It passes them on, and lives to run what follows.
FORWARD = """\
slq_forward() {
    local code
    trap 'kill -USR2 $!' USR2
    trap 'kill -TERM $!' TERM
    "$@" &
    while true; do
        code=0; wait $! || code=$?
        kill -0 $! 2>/dev/null || break  # else a signal ended the waiting, not the task
    done
    code=0; wait $! || code=$?
    trap - USR2 TERM
    return $code
}"""


def load_site(name_or_path: str) -> Site:
    """The profile slurm/<name>.toml of this folder or of the suite's checkout, or the one in a file.

    Raises:
        UserError: if there is none, or naming the line and what is allowed for whatever is wrong with it.
    """
    path = _find(name_or_path)
    try:
        text = path.read_text()
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f'{path}: {error}; TOML wants text in quotes, as in memory = "4G"') from None
    if "name" in content:
        raise UserError(f"{_where(path, text, 'name')}: name: a profile is called like its file; remove this line")
    try:
        return Site.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        raise UserError("\n".join(_explain(path, text, each) for each in error.errors()[:MOST])) from None


def _folders() -> list[Path]:
    return [Path(FOLDER), Path(__file__).resolve().parents[2] / FOLDER]


def _find(name_or_path: str) -> Path:
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        candidates = [Path(name_or_path).expanduser()]
    else:
        candidates = [folder / f"{name_or_path}.toml" for folder in _folders()]
    for path in candidates:
        if path.is_file():
            return path
    names = dict.fromkeys(path.stem for folder in _folders() for path in sorted(folder.glob("*.toml")))
    raise UserError(f"no site profile {name_or_path!r}{choices(name_or_path, names)}; or the path of a TOML file")


def _explain(path: Path, text: str, mistake: Any) -> str:
    """One pydantic error as `file:line: field: what is wrong; what is allowed`."""
    value, context = mistake["input"], mistake.get("ctx", {})
    if not mistake["loc"]:  # found in the whole, told in a sentence that begins with the field
        sentence = str(context["error"])
        return f"{_where(path, text, sentence.partition(' ')[0].rstrip(':'))}: {sentence}"
    field = str(mistake["loc"][0])
    where = f"{_where(path, text, field)}: {field}"
    match mistake["type"]:
        case "extra_forbidden":
            allowed = [name for name in Site.model_fields if name != "name"]
            return f"{_where(path, text, field)}: unknown key {field!r}{choices(field, allowed)}"
        case "value_error":
            return f"{where}: {context['error']}"
        case "literal_error":
            return f"{where}: {value!r} is not possible; allowed: {context['expected']}"
        case "string_type":
            return f"{where}: {value} must be text, in quotes. {Site.model_fields[field].description}"
        case _:
            return f"{where}: {value!r} is not possible ({mistake['msg']}). {Site.model_fields[field].description}"


def _where(path: Path, text: str, key: str) -> str:
    """The file, and the line where a key stands if it is to be seen."""
    pattern = re.compile(rf"""\s*\[?["']?{re.escape(key)}["']?\s*[=.\]]""")
    lines = (number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line))
    return ":".join([str(path), *map(str, lines)][:2])
