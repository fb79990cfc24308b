"""Site profiles: what is accepted, what is refused in which words, and the flags and shell lines that come out."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from submitit.slurm.slurm import _make_sbatch_string

from suite.errors import UserError
from suite.launch.sbatch_flags import FIELDS, OWNED, SHORT, refusal
from suite.launch.site import FORWARD, Site, load_site
from suite.launch.slurm_time import minutes_of, slurm_time

SHIPPED = sorted((Path(__file__).parents[1] / "slurm").glob("*.toml"))

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "here.toml"
        path.write_text(text)
        return path

    return write


def script(site: Site, **arguments: Any) -> str:
    parameters = {"job_name": "slq-x", "setup": ["export CODE=1"], "teardown": ["code=$?"], **arguments}
    return str(_make_sbatch_string(command="python task", folder="/logs", **site.submitit_parameters(**parameters)))


def flags(site: Site, **arguments: Any) -> dict[str, str]:
    """The #SBATCH lines that a site makes, "" for a flag without value."""
    lines = re.findall(r"(?m)^#SBATCH --([\w-]+)(?:=(.*))?$", script(site, **arguments))
    assert len(dict(lines)) == len(lines), "a flag is there twice"
    return {flag: shlex.split(value)[0] if value else "" for flag, value in lines}


# --- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("30", 30),
        ("2:00", 2),
        ("2:01", 3),
        ("02:00:00", 120),
        ("00:00:01", 1),
        ("1-00", 1440),
        ("1-02:03", 1563),
        ("1-00:00:00", 1440),
        ("100:00:00", 6000),
        ("UNLIMITED", None),
        ("infinite", None),
    ],
)
def test_time_is_read_as_slurm_reads_it(text: str, minutes: int | None) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "4h", "1:2:3:4", "1-", "-5", "1.5", " 30", "1 day", "٣٠"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="02:00:00"):
        minutes_of(text)


@given(st.integers(0, 10**6))
def test_time_survives_being_written(minutes: int) -> None:
    assert minutes_of(slurm_time(minutes)) == minutes


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_seconds_are_rounded_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    whole = (days * 24 + hours) * 60 + minutes
    assert minutes_of(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == whole + (seconds > 0)


# --- profiles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_profiles_load_by_name_from_anywhere(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    site = load_site(path.stem)
    assert site == load_site(str(path))
    assert site.name == path.stem


def test_three_profiles_are_shipped() -> None:
    assert [path.stem for path in SHIPPED] == ["dev-cluster", "example-cpu", "example-gpu"]


def test_example_speaks_of_every_field_and_its_comments_are_valid_too(write: Write) -> None:
    text = next(path for path in SHIPPED if path.stem == "example-gpu").read_text()
    fields = set(Site.model_fields) - {"name"}
    assert {name for name in fields if re.search(rf"(?m)^(# )?\[?{name}\b", text)} == fields
    everything = write(re.sub(r"(?m)^# ([\w-]+ = )", r"\1", text))
    site = load_site(str(everything))
    assert site.gpu_type == "a100"
    assert site.extra["exclusive"] is True


def test_profile_of_the_working_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "dev-cluster.toml").write_text("cpus = 7")
    monkeypatch.chdir(tmp_path)
    assert load_site("dev-cluster").cpus == 7


def test_empty_profile_is_complete(write: Write) -> None:
    site = load_site(str(write("")))
    assert (site.minutes, site.partitions, site.gpus, site.name) == (240, [], 0, "here")


BAD = [
    ("partiton = 'x'", ["here.toml:1: unknown key 'partiton'", "did you mean 'partition'?"]),
    ("\n\nwall_time = '30'", [":3: unknown key 'wall_time'", "allowed: partition, account"]),
    ("name = 'x'", [":1: name", "called like its file"]),
    ("partition = 'a, b'", [":1: partition: 'a, b'", "Partition"]),
    ("partition = main", ["here.toml: ", "quotes", "line 1"]),
    ("memory = 4G", ["here.toml: ", "quotes", "line 1"]),
    ("time = 30", [":1: time: 30 must be text, in quotes", "02:00:00"]),
    ("time = 02:00:00", [":1: time: 02:00:00 must be text, in quotes"]),
    ("time = '4h'", [":1: time: '4h' is not a time", "1-00:00:00"]),
    ("time = 'UNLIMITED'", [":1: time: 'UNLIMITED' is no limit"]),
    ("time = '0'", [":1: time: '0' is no limit"]),
    ("cpus = 0", [":1: cpus: 0", "greater than or equal to 1"]),
    ("cpus = '2'", [":1: cpus: '2'", "integer"]),
    ("cpus = true", [":1: cpus: True"]),
    ("memory = '4'", [":1: memory: '4'", "unit"]),
    ("memory = '4Q'", [":1: memory: '4Q'"]),
    ("memory_style = 'per-cpu'", [":1: memory_style: 'per-cpu'", "'mem-per-cpu'", "'none'"]),
    ("memory_style = 'none'\nmemory = '4G'", [":2: memory '4G'", "memory_style 'none'"]),
    ("memory_style = 'mem-per-gpu'", [":1: memory_style 'mem-per-gpu' without gpus"]),
    ("gpu_type = 'a100'", [":1: gpu_type 'a100' without gpus"]),
    ("gpu_style = '--gres'", [":1: gpu_style: '--gres'", "'gpus-per-node'"]),
    ("time = '1'\nsignal_seconds = 60", [":2: signal_seconds 60 is not less than time '1' (60 s)"]),
    ("time = '30'\nsignal_seconds = 600", [":2: signal_seconds 600", "at most 540"]),
    ("time = '20'\ntask_minutes = 25", [":2: task_minutes 25 is more than time '20'"]),
    ("stage_data = true", [":1: stage_data needs scratch"]),
    ("scratch = '$TMPDIR'", [":1: scratch: '$TMPDIR'", "no $"]),
    ("data_root = 'data'", [":1: data_root: 'data'", "absolute"]),
    ("python = 'a \"b'", [":1: python: No closing quotation"]),
    ("python = ''", [":1: python: it is empty"]),
    ("modules = ['cuda/12.1']", [":1: modules: 'cuda/12.1'", 'write "module load cuda/12.1"']),
    ("modules = 'module load cuda'", [":1: modules: 'module load cuda'"]),
    ("setup = [1]", [":1: setup: 1 must be text"]),
    ("setup = ['#SBATCH --job-name=x']", [":1: setup: --job-name is set by the suite", "unique name"]),
    ('setup = ["true\\n#SBATCH -p x"]', [":1: setup: -p (--partition) has a field", "partition"]),
    ("setup = ['#SBATCH --nice=100']", ["--nice belongs into the table extra"]),
    ("[extra]\nnice = [1]", ["extra: [1] is not possible"]),
    ('[extra]\ncomment = "a\\nb"', [":1: extra: comment", "more than one line"]),
    ("[extra]\nstage_data = true", [":1: extra: stage_data is a field of the profile", "above the table"]),
    ("extra = {b = 'now', begin = 'now'}", ["extra: a flag is given twice"]),
    ("extra = {Z = 1}", ["extra: sbatch has no flag -Z"]),
    ("extra = {part = 'x'}", ["extra: part is short for --partition"]),
    ("cpus = 0\ngpus = -1\ntime = 'x'", [":1: cpus", ":2: gpus", ":3: time"]),
]


@pytest.mark.parametrize(("text", "said"), BAD, ids=[text for text, _ in BAD])
def test_mistakes_are_refused_by_name(write: Write, text: str, said: list[str]) -> None:
    with pytest.raises(UserError) as error:
        load_site(str(write(text)))
    for words in said:
        assert words in str(error.value)


def test_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(UserError, match=r"'dev-clustr'; allowed: dev-cluster, .*did you mean 'dev-cluster'\?"):
        load_site("dev-clustr")
    with pytest.raises(UserError, match=r"nowhere/x\.toml"):
        load_site("nowhere/x.toml")


def test_what_the_suite_depends_on_is_refused() -> None:
    """Named here once more, so that none is dropped from the tables by accident."""
    owned = "job-name array output error open-mode signal requeue no-requeue ntasks ntasks-per-node export wrap parsable wait"
    assert set(owned.split()) <= OWNED.keys()
    fields = (
        "partition account qos time cpus-per-task mem mem-per-cpu mem-per-gpu gres gpus gpus-per-node gpus-per-task"
    )
    assert set(fields.split()) <= FIELDS.keys()


LETTERS = {long: letter for letter, long in SHORT.items()}
REFUSED = [
    (spelling, flag)
    for flag in (*OWNED, *FIELDS)
    for spelling in {
        flag,
        f"--{flag}",
        flag.replace("-", "_"),
        LETTERS.get(flag, flag),
        "-" + LETTERS.get(flag, "-" + flag),
    }
]


@pytest.mark.parametrize(("spelling", "flag"), sorted(REFUSED))
def test_owned_flags_and_those_with_a_field_are_refused_in_every_spelling(spelling: str, flag: str) -> None:
    with pytest.raises(ValueError, match=r"set by the suite: \S|field") as error:
        Site(extra={spelling: "1"})
    if flag in FIELDS and spelling not in Site.model_fields:
        assert FIELDS[flag] in str(error.value)


@pytest.mark.parametrize("flag", FIELDS)
def test_fields_that_refusals_name_exist(flag: str) -> None:
    assert set(FIELDS[flag].split(" and ")) <= set(Site.model_fields)


@pytest.mark.parametrize("flag", ["out", "jo", "requeu", "--gpus-per", "cpus-per-t"])
def test_shortened_flags_do_not_slip_through(flag: str) -> None:
    assert refusal(flag) is not None


@pytest.mark.parametrize(
    "flag", ["nice", "mail-type", "reservation", "w", "licenses", "exclusive", "gres-flags", "container-image"]
)
def test_other_flags_pass(flag: str) -> None:
    assert refusal(flag) is None


# --- what comes out ----------------------------------------------------------------------------


def test_flags_of_a_full_profile() -> None:
    site = Site(
        partition="a,b",
        account="me",
        qos="q",
        time="1-00:00:00",
        cpus=4,
        memory="16G",
        gpus=2,
        gpu_type="a100",
        constraint="x|y",
        exclude="n[1-2]",
        signal_seconds=100,
        extra={"nice": 100, "mail_type": "END", "D": "/w d", "exclusive": True, "hold": False},
    )
    assert flags(site, parallel=3) == {
        "job-name": "slq-x",
        "partition": "a,b",
        "account": "me",
        "qos": "q",
        "time": "1440",
        "nodes": "1",
        "ntasks-per-node": "1",
        "cpus-per-task": "4",
        "mem": "16G",
        "gres": "gpu:a100:2",
        "constraint": "x|y",
        "exclude": "n[1-2]",
        "signal": "USR2@100",
        "requeue": "",
        "open-mode": "append",
        "output": "/logs/%j_0_log.out",
        "error": "/logs/%j_0_log.err",
        "nice": "100",
        "mail-type": "END",
        "chdir": "/w d",
        "exclusive": "",
    }


def test_an_empty_profile_asks_for_little() -> None:
    optional = {"partition", "account", "qos", "gres", "constraint", "exclude", "wckey"}
    assert not optional & flags(Site()).keys()


@pytest.mark.parametrize(
    ("settings", "nodes", "expected"),
    [
        ({"gpus": 1}, 1, {"gres": "gpu:1"}),
        ({"gpus": 2, "gpu_type": "v100"}, 3, {"gres": "gpu:v100:2"}),
        ({"gpus": 2, "gpu_style": "gpus"}, 3, {"gpus": "6"}),  # counts for the whole job
        ({"gpus": 1, "gpu_style": "gpus", "gpu_type": "a100"}, 1, {"gpus": "a100:1"}),
        ({"gpus": 2, "gpu_style": "gpus-per-node"}, 3, {"gpus-per-node": "2"}),
        ({"gpus": 1, "gpu_style": "none"}, 1, {}),
        ({"gpu_style": "gpus"}, 1, {}),
    ],
)
def test_gpu_styles(settings: dict[str, Any], nodes: int, expected: dict[str, str]) -> None:
    made = flags(Site(**settings), nodes=nodes)
    assert {flag: value for flag, value in made.items() if "gpu" in flag or flag == "gres"} == expected
    assert made["nodes"] == str(nodes)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"mem": "4G"}),
        ({"memory": "0"}, {"mem": "0"}),
        ({"memory": "500MB", "memory_style": "mem-per-cpu"}, {"mem-per-cpu": "500MB"}),
        ({"memory_style": "mem-per-gpu", "gpus": 1}, {"mem-per-gpu": "4G"}),
        ({"memory_style": "none"}, {}),
    ],
)
def test_memory_styles(settings: dict[str, Any], expected: dict[str, str]) -> None:
    assert {flag: value for flag, value in flags(Site(**settings)).items() if flag.startswith("mem")} == expected


@pytest.mark.parametrize(("parallel", "limit"), [(None, 7), (3, 3), (99, 7)])
def test_parallel_is_the_arrays_limit(parallel: int | None, limit: int) -> None:
    parameters = Site().submitit_parameters(job_name="x", setup=[], teardown=[], parallel=parallel)
    text = _make_sbatch_string(command="true", folder="/logs", map_count=7, **parameters)
    assert f"#SBATCH --array=0-6%{limit}\n" in text


def test_order_of_shell_lines() -> None:
    site = Site(modules=("module load cuda",), setup=("source env",), cpus=3)
    lines = script(site).splitlines()
    order = ["module load cuda || ", "source env", "export CODE=1", "srun ", "code=$?"]
    places = [next(i for i, line in enumerate(lines) if line.startswith(words)) for words in order]
    assert places == sorted(places)
    assert "--cpus-per-task=3" in lines[places[3]]  # srun does not take it over from sbatch


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("srun", [True, False])
def test_bash_can_parse_the_script(path: Path, srun: bool) -> None:
    site = load_site(str(path)).model_copy(update={"srun": srun})
    subprocess.run(["bash", "-n"], input=script(site), text=True, check=True)


def test_a_module_that_cannot_be_loaded_ends_the_task() -> None:
    text = "module() { [ $2 = good ]; }\n" + script(
        Site(modules=("module load good", "module load bad"), srun=False), setup=["echo went on"]
    )
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
    assert done.returncode == 1
    assert "module load bad" in done.stderr
    assert "went on" not in done.stdout


def test_default_interpreter_is_the_one_that_submits() -> None:
    assert Site().command() == shlex.quote(sys.executable)
    assert Site(python="apptainer exec x.sif python").command() == "apptainer exec x.sif python"


# --- without srun ------------------------------------------------------------------------------

TASK = """
import os, signal, sys, time
def on(number, frame):
    os.write(1, signal.Signals(number).name.encode() + b"\\n")  # print must not be interrupted by itself
    if number == signal.SIGTERM: sys.exit(9)
for number in (signal.SIGUSR2, signal.SIGTERM): signal.signal(number, on)
os.write(1, b"ready\\n")
while True: time.sleep(0.05)
"""


def test_without_srun_the_batch_shell_is_warned() -> None:
    site = Site(srun=False, signal_seconds=90)
    assert flags(site)["signal"] == "B:USR2@90"
    assert site.command() == f"slq_forward {shlex.quote(sys.executable)}"
    assert "srun" not in script(site)


def test_batch_shell_passes_signals_on_and_lives() -> None:
    lines = [FORWARD, f"slq_forward {sys.executable} -c {shlex.quote(TASK)}", "echo code $?"]
    shell = subprocess.Popen(["bash", "-c", "\n".join(lines)], stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    for number in (signal.SIGUSR2, signal.SIGUSR2, signal.SIGTERM):
        assert shell.stdout.readline().strip() in ("ready", "SIGUSR2")
        os.kill(shell.pid, number)
    assert shell.communicate(timeout=20)[0].split("\n") == ["SIGTERM", "code 9", ""]


def test_exit_code_of_a_task_that_dies_of_the_signal_at_once() -> None:
    """The signal has ended the shell's waiting, and the task is gone before the shell looks."""
    slow = 'kill() { builtin kill "$@" && sleep 0.5; }'
    task = "trap 'exit 9' TERM; echo ready; while true; do sleep 0.05; done"
    lines = [slow, FORWARD, f"slq_forward bash -c {shlex.quote(task)}", "echo code $?"]
    shell = subprocess.Popen(["bash", "-c", "\n".join(lines)], stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    assert shell.stdout.readline() == "ready\n"
    os.kill(shell.pid, signal.SIGTERM)
    assert shell.communicate(timeout=20)[0] == "code 9\n"


@pytest.mark.parametrize("code", [0, 3, 74, 137])
def test_exit_code_passes_the_batch_shell(code: int) -> None:
    lines = ["set -e" if code == 0 else "", FORWARD, f"slq_forward bash -c 'exit {code}'; echo $?"]
    assert subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True).stdout == f"{code}\n"


def test_death_of_the_task_passes_the_batch_shell() -> None:
    lines = [FORWARD, "slq_forward bash -c 'kill -KILL $$'; echo $?"]
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=30)
    assert done.stdout == "137\n"
