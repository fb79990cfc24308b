"""The fake Slurm is held against a real one: `slurm` is both in turn, and whatever it promises must be so on both."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fake_slurm.countdown import Countdown
from tests.slurm.dev_cluster import DevCluster, dev_cluster, why_not

if TYPE_CHECKING:
    from tests.fake_slurm.fixture import FakeSlurm

pytest_plugins = "tests.fake_slurm.fixture"

REPOSITORY = Path(__file__).parent.parent
AGAINST_REAL = "SLQ_TEST_FAKE_AGAINST_REAL"  # environment variable
PATIENCE = 120.0  # seconds; the real one also has others' work to do
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY")


class Slurm:
    """The commands, whichever cluster they reach."""

    def __init__(self, folder: Path, fake: FakeSlurm | None) -> None:
        self.folder, self.fake = folder, fake

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, input=stdin, cwd=self.folder, timeout=PATIENCE)

    def sbatch(self, script: str, *options: str) -> str:
        """Submit the lines of a bash script; without other options its output goes to <folder>/<job or job_index>.txt."""
        name = "%A_%a" if any(option.startswith("--array") for option in options) else "%j"
        done = self.run("sbatch", "--parsable", f"--output={name}.txt", *options, stdin=f"#!/bin/bash\n{script}\n")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def text(self, name: str) -> str:
        path = self.folder / f"{name}.txt"
        return path.read_text() if path.exists() else ""

    def sacct(self, job: str, fields: str, *options: str) -> list[list[str]]:
        done = self.run("sacct", "-n", "-P", "-o", fields, "-j", job, *(options or ("-X",)))
        assert done.returncode == 0, done.stderr
        return [line.split("|") for line in done.stdout.splitlines()]

    def states(self, job: str) -> list[str]:
        """Of all runs in accounting, by task, oldest first."""
        rows = sorted(self.sacct(job, "JobID,State", "-X", "-D"), key=lambda row: row[0])
        return [state.partition(" ")[0] for _, state in rows]

    def until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"it never came about that {what}"
            time.sleep(0.05 if self.fake else 0.3)

    def wait(self, *jobs: str) -> None:
        """Until accounting says that all tasks of the jobs have ended for good."""

        def over() -> bool:
            live = self.run("squeue", "-h", "-r", "-o", "%F %T").stdout.split()
            rows = [row for job in jobs for row in self.sacct(job, "State")]
            return not set(jobs) & set(live) and all(row[0].split()[0] in ENDED for row in rows) and len(rows) > 0

        self.until(over, f"{jobs} end")

    def wait_for_text(self, name: str, text: str) -> None:
        self.until(lambda: text in self.text(name), f"{name} says {text}")

    def preempt_time(self, job: str) -> str:
        shown = self.run("scontrol", "-o", "show", "job", job).stdout
        (found,) = re.findall(r"\bPreemptTime=(\S+)", shown)
        return str(found)

    def preempt(self, job: str) -> None:
        """The job is to be in the partition "low", alone on a node."""
        if self.fake:
            self.fake.preempt(job)
            return
        (node,) = {row[0] for row in self.sacct(job, "NodeList")}
        self.sbatch("sleep 1", "--partition=high", f"--nodelist={node}", "--exclusive")


@pytest.fixture(scope="module")
def real_cluster() -> Iterator[DevCluster]:
    if not os.environ.get(AGAINST_REAL):
        pytest.skip(f"minutes; needed only when the fake Slurm has changed: {AGAINST_REAL}=1")
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with dev_cluster(grace=4) as cluster:
        yield cluster


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.slow)])
def slurm(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    if request.param == "fake":
        fake = request.getfixturevalue("fake_slurm")
        for name, value in {"slots": 8, "kill_wait": 1, "grace": 1.5}.items():
            fake.set(name, value)
        yield Slurm(tmp_path, fake)
        return
    cluster = request.getfixturevalue("real_cluster")
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    yield Slurm(tmp_path, None)
    cluster.cancel_all()


# --- what both do -----------------------------------------------------------------------------------

SCRIPTS = {
    "good.sh": "#!/bin/bash\n#SBATCH --job-name=good\ntrue\n",
    "no-interpreter.sh": "echo hi\n",
    "empty.sh": "",
    "unknown-option.sh": "#!/bin/bash\n#SBATCH --foo=1\n",
    "time.sh": "#!/bin/bash\n#SBATCH --time=abc\n",
}
SUBMIT = "sbatch: error: Batch job submission failed: "
REFUSALS: list[tuple[str, int, str]] = [  # command, status, standard error with all numbers as N
    ("sbatch missing.sh", 1, "sbatch: error: Unable to open file missing.sh"),
    ("sbatch empty.sh", 1, "sbatch: error: Batch script is empty!"),
    (
        "sbatch no-interpreter.sh",
        1,
        "sbatch: error: This does not look like a batch script.  The first\n"
        "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
        "sbatch: error: For instance: #!/bin/sh",
    ),
    (
        "sbatch unknown-option.sh",
        255,
        "sbatch: unrecognized option '--foo=N'\nTry \"sbatch --help\" for more information",
    ),
    ("sbatch time.sh", 255, "sbatch: error: Invalid --time specification"),
    ("sbatch --signal=FOO@3 good.sh", 255, "sbatch: error: Invalid --signal specification"),
    ("sbatch --array=x good.sh", 1, SUBMIT + "Invalid job array specification"),
    ("sbatch --array=0-10001 good.sh", 1, SUBMIT + "Invalid job array specification"),
    (
        "sbatch --partition=nosuch good.sh",
        1,
        f"sbatch: error: invalid partition specified: nosuch\n{SUBMIT}Invalid partition name specified",
    ),
    ("sbatch --gpus-per-node=9 good.sh", 1, SUBMIT + "Requested node configuration is not available"),
    ("sbatch --gres=gpu:9 good.sh", 1, SUBMIT + "Requested node configuration is not available"),
    (
        "sbatch --mem=900G good.sh",
        1,
        "sbatch: error: Memory specification can not be satisfied\n"
        f"{SUBMIT}Requested node configuration is not available",
    ),
    ("sbatch --constraint=nosuch good.sh", 1, SUBMIT + "Invalid feature specification"),
    ("squeue -j 999999", 1, "slurm_load_jobs error: Invalid job id specified"),
    ("squeue --nosuch", 1, "squeue: unrecognized option '--nosuch'\nTry \"squeue --help\" for more information"),
    ("squeue -O Foo", 0, "squeue: error: Invalid job format specification: Foo"),
    ("sacct -o JobID,Foo", 1, 'sacct: error: Invalid field requested: "Foo"'),
    ("sacct -o Restarts", 1, 'sacct: error: Invalid field requested: "Restarts"'),
    ("sacct --nosuch", 1, "sacct: unrecognized option '--nosuch'"),
    ("sacct -j abc", 1, "sacct: fatal: Bad job/step specified: abc"),
    ("sacct -s nosuch", 1, "sacct: fatal: unrecognized job state value 'nosuch'"),
    ("sacct -n -j 999999", 0, ""),
    ("scontrol requeue 999999", 1, "Invalid job id specified for job N"),
    ("scontrol requeue 5_0", 1, "N_N: Invalid job id specified"),
    ("scontrol requeue abc", 1, "Invalid job id specified for job abc"),
    ("scontrol requeue", 1, "too few arguments for keyword:requeue"),
    ("scontrol nosuch", 1, "invalid keyword: nosuch"),
    ("scontrol show job 999999", 1, "slurm_load_jobs error: Invalid job id specified"),
    ("scancel", 1, "scancel: error: No job identification provided"),
    ("scancel abc", 1, "scancel: error: Invalid job id abc"),
    ("scancel 999999", 0, ""),
    ("scancel --name=nosuch", 0, ""),
    ("scancel --signal=FOO 999999", 1, "Unknown job signal: FOO"),
    ("scancel --signal=USR2 999999", 1, "scancel: error: Kill job error on job id N: Invalid job id specified"),
    ("sacctmgr -nP show assoc format=Foo", 1, "Unknown field 'foo'"),
    ("sacctmgr nosuch", 1, "invalid keyword: nosuch"),
]


def test_refuses_with_the_same_words_and_status(slurm: Slurm) -> None:
    for name, text in SCRIPTS.items():
        (slurm.folder / name).write_text(text)
    if slurm.fake:
        slurm.fake.set("max_array", 10001)
    said = []
    for command, _, _ in REFUSALS:
        done = slurm.run(*command.split())
        said.append((command, done.returncode, re.sub(r"\d+", "N", done.stderr.strip())))
    assert said == REFUSALS


def test_sbatch_says_the_job_id(slurm: Slurm) -> None:
    (slurm.folder / "good.sh").write_text(SCRIPTS["good.sh"])
    assert re.fullmatch(r"Submitted batch job \d+\n", slurm.run("sbatch", "good.sh").stdout)
    assert re.fullmatch(r"\d+\n", slurm.run("sbatch", "--parsable", "good.sh").stdout)
    tested = slurm.run("sbatch", "--test-only", "good.sh")
    form = r"sbatch: Job \d+ to start at \S+ using 1 processors on nodes n\d in partition main\n"
    assert re.fullmatch(form, tested.stderr)
    assert tested.returncode == 0
    assert slurm.run("sbatch", "--version").stdout.startswith("slurm-wlm ")


def environment(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"(SLURM|CUDA)\w*=", line))


def test_array_tasks_know_where_they_are(slurm: Slurm) -> None:
    flags = ("--array=2-4%2", "--gpus-per-node=1", "--cpus-per-task=2", "--ntasks-per-node=1", "--job-name=know")
    job = slurm.sbatch("env; srun --output %A_%a_%t_step.txt env; exit 0", *flags)
    slurm.wait(job)
    batch = [environment(slurm.text(f"{job}_{index}")) for index in (2, 3, 4)]
    steps = [environment(slurm.text(f"{job}_{index}_0_step")) for index in (2, 3, 4)]
    for index, found in zip((2, 3, 4, 2, 3, 4), batch + steps, strict=True):
        common = {"ARRAY_JOB_ID": job, "ARRAY_TASK_ID": index, "ARRAY_TASK_COUNT": 3, "ARRAY_TASK_MIN": 2}
        common |= {"ARRAY_TASK_MAX": 4, "JOB_NAME": "know", "JOB_PARTITION": "main", "JOB_NUM_NODES": 1, "NNODES": 1}
        common |= {"NODEID": 0, "PROCID": 0, "LOCALID": 0, "NTASKS": 1, "CPUS_PER_TASK": 2, "GPUS_ON_NODE": 1}
        common |= {"SUBMIT_DIR": slurm.folder, "JOB_ID": found["SLURM_JOBID"], "NODELIST": found["SLURM_JOB_NODELIST"]}
        assert {name: found.get(f"SLURM_{name}") for name in common} == {n: str(v) for n, v in common.items()}
        assert found["CUDA_VISIBLE_DEVICES"] == found["SLURM_JOB_GPUS"]
        assert found["CUDA_VISIBLE_DEVICES"] in ("0", "1")
        assert found["SLURM_JOB_NODELIST"] in ("n1", "n2")
        assert "SLURM_RESTART_COUNT" not in found
    raw = [found["SLURM_JOB_ID"] for found in batch]
    assert len(set(raw)) == 3
    assert raw[2] == job, "the last one to start has the id of the array"
    assert [found["SLURM_JOB_ID"] for found in steps] == raw
    assert all(found["SLURM_STEP_ID"] == "0" for found in steps)
    ids = {tuple(row) for row in slurm.sacct(job, "JobID,JobIDRaw")}
    assert ids == {(f"{job}_{index}", name) for index, name in zip((2, 3, 4), raw, strict=True)}


def test_ends_are_told_apart(slurm: Slurm) -> None:
    """Exit codes over 128 lose 128 in sacct, a signal of the script itself is after the colon."""
    scripts = {
        "exit 0": ("COMPLETED", "0:0"),
        "exit 3": ("FAILED", "3:0"),
        "exit 255": ("FAILED", "127:0"),
        "kill -9 $$": ("FAILED", "0:9"),
        "srun bash -c 'kill -9 $$'": ("FAILED", "9:0"),
        "srun bash -c 'kill -15 $$'": ("FAILED", "15:0"),
        "srun bash -c 'exit 74'": ("FAILED", "74:0"),
        "#SBATCH --output=no/such/folder.txt": ("FAILED", "0:53"),
    }
    jobs = {script: slurm.sbatch(script, *(["--output=/dev/null"] if "#" not in script else [])) for script in scripts}
    place = slurm.sbatch("exit 0", "--output=no/such/folder.txt")
    slurm.wait(*jobs.values(), place)
    ends = {script: tuple(slurm.sacct(job, "State,ExitCode")[0]) for script, job in jobs.items()}
    ends["#SBATCH --output=no/such/folder.txt"] = tuple(slurm.sacct(place, "State,ExitCode")[0])
    assert ends == scripts


def test_srun_passes_on_how_its_task_ended(slurm: Slurm) -> None:
    job = slurm.sbatch(
        "srun bash -c 'exit 9'; echo $?\n"
        "srun bash -c 'kill -9 $$'; echo $?\n"
        "srun bash -c 'kill -USR2 $$'; echo $?\n"
        "srun nosuchcommand; echo $?\n"
        "srun --unbuffered --output step_%j_%t.txt --error step_%j_%t_err.txt bash -c 'echo out; echo err >&2'; echo $?\n"
        "srun --output nodir/x_%j.txt true; echo $?\n"  # the last: with the real one the next step would wait for a while
    )
    slurm.wait(job)
    said = re.sub(r"n\d: task", "N: task", slurm.text(job)).replace(job, "JOB").splitlines()
    noise = ("StepId", "step creation temporarily disabled", "Step created")  # the last two: a busy machine
    said = [line for line in said if not any(words in line for words in noise)]
    assert said[:4] == ["srun: error: N: task 0: Exited with exit code 9", "9", "srun: error: N: task 0: Killed", "137"]
    assert said[4:6] == ["srun: error: N: task 0: User defined signal 2", "140"]
    assert "execve(): nosuchcommand: No such file or directory" in said[6]
    assert said[7:] == [
        *("srun: error: N: task 0: Exited with exit code 2", "2", "0"),
        *("srun: error: Could not open stdout file: No such file or directory", "1"),
    ]
    assert (slurm.text(f"step_{job}_0"), slurm.text(f"step_{job}_0_err")) == ("out\n", "err\n")
    rows = slurm.sacct(job, "JobID,JobName,State,ExitCode", "--parsable2")
    assert [row[0] for row in rows[:3]] == [job, f"{job}.batch", f"{job}.0"]
    assert rows[2] == [f"{job}.0", "bash", "FAILED", "9:0"]
    assert rows[3] == [f"{job}.1", "bash", "CANCELLED", "0:9"]


def test_requeue_from_outside(slurm: Slurm) -> None:
    """The same id, a restart count, both runs in accounting; output is appended to if that was asked for."""
    script = 'echo run $SLURM_RESTART_COUNT.; [ -n "$SLURM_RESTART_COUNT" ] || sleep 60'
    kept = slurm.sbatch(script, "--open-mode=append")
    fresh = slurm.sbatch(script)
    never = slurm.sbatch("sleep 60", "--no-requeue")
    for job in (kept, fresh):
        slurm.wait_for_text(job, "run")
        assert slurm.run("scontrol", "requeue", job).returncode == 0
    refused = slurm.run("scontrol", "requeue", never)
    assert (refused.returncode, refused.stderr.strip()) == (
        1,
        f"Requested operation is presently disabled for job {never}",
    )
    slurm.run("scancel", never)
    slurm.wait(kept, fresh)
    first, *notice, last = slurm.text(kept).splitlines()
    assert (first, last) == ("run .", "run 1.")
    assert any("DUE TO JOB REQUEUE" in line for line in notice)
    assert slurm.text(fresh) == "run 1.\n"
    assert slurm.states(kept) == ["REQUEUED", "COMPLETED"]
    assert slurm.sacct(kept, "JobID,State,ExitCode") == [[kept, "COMPLETED", "0:0"]]


def test_requeue_from_within_answers_the_caller(slurm: Slurm) -> None:
    step = '[ -n "$SLURM_RESTART_COUNT" ] && exit 7; scontrol requeue $SLURM_JOB_ID; echo answered $?; exit 255'
    job = slurm.sbatch(f"srun --output %A_%a_step.txt bash -c '{step}'; exit $?", "--array=0", "--open-mode=append")
    slurm.wait_for_text(f"{job}_0_step", "answered 0")
    slurm.wait(job)
    assert slurm.states(job) == ["REQUEUED", "FAILED"]
    assert slurm.sacct(job, "ExitCode") == [["7:0"]]


def test_an_ended_job_can_be_requeued(slurm: Slurm) -> None:
    job = slurm.sbatch("exit ${SLURM_RESTART_COUNT:-5}")
    slurm.wait(job)
    assert slurm.run("scontrol", "requeue", job).returncode == 0
    slurm.until(lambda: slurm.states(job) == ["REQUEUED", "FAILED"], "it has run twice")
    assert slurm.sacct(job, "ExitCode") == [["1:0"]]
    if slurm.fake:
        slurm.fake.set("requeue_delay", 60)
    assert slurm.run("scontrol", "requeue", job).returncode == 0
    again = slurm.run("scontrol", "requeue", job)
    assert (again.returncode, again.stderr.strip()) == (1, f"Job is pending execution for job {job}")


LISTENER = """
import signal, sys, time
def heard(number, frame):
    print(signal.Signals(number).name, flush=True)
for name in ("USR2", "TERM", "CONT"):
    signal.signal(getattr(signal, "SIG" + name), heard)
print("ready", flush=True)
end = time.time() + float(sys.argv[1])
while time.time() < end:
    time.sleep(0.1)
"""


def listener(slurm: Slurm, seconds: float, *options: str) -> str:
    """A job whose script and whose step note the signals that they get; the step outlasts SIGTERM."""
    (slurm.folder / "listener.py").write_text(LISTENER)
    traps = "\n".join(f"trap 'echo SIG{name}' {name}" for name in ("USR2", "TERM"))
    job = slurm.sbatch(
        f"echo run $SLURM_RESTART_COUNT.\n{traps}\n"
        f"srun --output %j_step.txt {sys.executable} listener.py {seconds} &\nstep=$!\nwait $step; wait $step; wait $step",
        "--open-mode=append",
        *options,
    )
    slurm.wait_for_text(f"{job}_step", "ready")
    return job


def heard(slurm: Slurm, name: str) -> list[str]:
    """Signals in the order of their coming, without repetition, up to the second run."""
    text = slurm.text(name).partition("run 1.")[0]
    text = text.partition("ready")[2].partition("ready")[0] if "ready" in text else text
    return list(dict.fromkeys(line for line in text.splitlines() if line.startswith("SIG")))


def test_scancel_signals_steps_or_script(slurm: Slurm) -> None:
    job = listener(slurm, 30)
    assert slurm.run("scancel", "--signal=USR2", job).returncode == 0
    slurm.wait_for_text(f"{job}_step", "SIGUSR2")
    assert heard(slurm, job) == []
    assert slurm.run("scancel", "--batch", "--signal=USR2", job).returncode == 0
    slurm.wait_for_text(job, "SIGUSR2")
    assert slurm.run("squeue", "-h", "-j", job, "-o", "%T").stdout == "RUNNING\n"
    slurm.run("scancel", job)
    slurm.wait(job)
    assert heard(slurm, f"{job}_step")[0] == "SIGUSR2"
    assert "SIGTERM" in heard(slurm, f"{job}_step")
    assert "CANCELLED AT" in slurm.text(job)
    assert slurm.sacct(job, "State,ExitCode") == [[f"CANCELLED by {os.getuid()}", "0:0"]]


def test_preemption_warns_the_step_then_ends_it_and_requeues(slurm: Slurm) -> None:
    job = listener(slurm, 60, "--partition=low", "--exclusive", "--signal=USR2@90")
    assert slurm.preempt_time(job) == "None"
    slurm.preempt(job)
    slurm.wait_for_text(f"{job}_step", "SIGUSR2")
    assert slurm.preempt_time(job) not in ("None", "Unknown")
    slurm.until(lambda: slurm.states(job)[:1] == ["PREEMPTED"], "it is preempted")
    slurm.until(lambda: "run 1." in slurm.text(job), "it runs again")
    slurm.run("scancel", job)
    slurm.wait(job)
    assert [name for name in heard(slurm, f"{job}_step") if name != "SIGCONT"] == ["SIGUSR2", "SIGTERM"]
    assert "SIGUSR2" not in heard(slurm, job)
    assert "DUE TO PREEMPTION" in slurm.text(job)
    assert slurm.states(job) == ["PREEMPTED", "CANCELLED"]


def test_preemption_warns_with_sigterm_if_the_job_names_no_signal(slurm: Slurm) -> None:
    job = listener(slurm, 60, "--partition=low", "--exclusive")
    slurm.preempt(job)
    slurm.wait_for_text(f"{job}_step", "SIGTERM")
    assert slurm.run("squeue", "-h", "-j", job, "-o", "%T").stdout == "RUNNING\n", "the grace period has begun"
    slurm.until(lambda: "run 1." in slurm.text(job), "it runs again")
    slurm.run("scancel", job)
    slurm.wait(job)
    assert slurm.states(job) == ["PREEMPTED", "CANCELLED"]


def test_out_of_time(slurm: Slurm) -> None:
    """The signal of --signal for the step alone, SIGTERM at the end; not requeued."""
    if slurm.fake:
        slurm.fake.set("minute", 3)
    job = listener(slurm, 200, "--time=1", "--signal=USR2@30")
    slurm.wait(job)
    assert [name for name in heard(slurm, f"{job}_step") if name != "SIGCONT"] == ["SIGUSR2", "SIGTERM"]
    assert "DUE TO TIME LIMIT" in slurm.text(job)
    assert slurm.sacct(job, "State,ExitCode,Timelimit,TimelimitRaw") == [["TIMEOUT", "0:0", "00:01:00", "1"]]


def test_an_array_waits_in_one_line_and_its_tasks_can_be_cancelled(slurm: Slurm) -> None:
    job = slurm.sbatch("sleep 60", "--array=0-5%1", "--job-name=waiting", "--time=5")
    slurm.until(lambda: len(slurm.sacct(job, "JobID")) == 2, "one runs, the others wait")
    lines = slurm.run("squeue", "-h", "-j", job, "-o", "%i|%T|%r|%j|%P|%l").stdout.splitlines()
    assert lines == [
        f"{job}_[1-5%1]|PENDING|JobArrayTaskLimit|waiting|main|5:00",
        f"{job}_0|RUNNING|None|waiting|main|5:00",
    ]
    long = slurm.run(
        "squeue", "-h", "-t", "all", "-j", job, "-O", "JobArrayID:|,State:|,exit_code:|,restartcnt:|"
    ).stdout
    assert sorted(long.splitlines()) == [f"{job}_0|RUNNING|0|0|", f"{job}_[1-5%1]|PENDING|0|0|"]
    single = slurm.run("squeue", "-h", "-r", "-j", job, "-o", "%i").stdout.split()
    assert sorted(single) == [f"{job}_{index}" for index in range(6)]
    rows = slurm.sacct(job, "JobID,State,NodeList,Start,End,Elapsed,Timelimit")
    waiting = [f"{job}_[1-5%1]", "PENDING", "None assigned", "Unknown", "Unknown", "00:00:00", "00:05:00"]
    assert waiting in rows
    refused = slurm.run("scontrol", "requeue", f"{job}_4")
    assert (refused.returncode, refused.stderr.strip().partition(": ")[2]) == (1, "Job is pending execution")
    assert slurm.run("scancel", f"{job}_3", f"{job}_[4-5]").returncode == 0
    slurm.until(lambda: [f"{job}_[1-2%1]", "PENDING"] in slurm.sacct(job, "JobID,State"), "three are cancelled")
    assert f"{job}_3" not in {row[0] for row in slurm.sacct(job, "JobID")}, "accounting never knew it"
    slurm.run("scancel", "--name=waiting")
    slurm.until(lambda: not slurm.run("squeue", "-h", "-j", job).stdout, "nothing is left")
    slurm.until(lambda: all("CANCELLED" in row[0] for row in slurm.sacct(job, "State")), "accounting knows it")


def test_squeue_and_sacct_as_tables(slurm: Slurm) -> None:
    job = slurm.sbatch("sleep 60", "--job-name=a-long-name-for-a-job")
    slurm.until(lambda: slurm.sacct(job, "State") == [["RUNNING"]], "it runs")
    head, line = slurm.run("squeue", "-j", job).stdout.splitlines()
    assert head == "             JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)"
    user = slurm.run("id", "-un").stdout.strip()
    assert re.fullmatch(rf"{job:>18}      main a-long-n {user[:8]:>8}  R       0:\d\d      1 n\d", line)
    slurm.run("scancel", job)
    slurm.wait(job)
    table = slurm.run("sacct", "-X", "-j", job).stdout.splitlines()
    assert table[0] == "JobID           JobName  Partition    Account  AllocCPUS      State ExitCode "
    assert table[1] == "------------ ---------- ---------- ---------- ---------- ---------- -------- "
    assert re.fullmatch(rf"{job:<12} a-long-na\+       main +\w+          1 CANCELLED\+      0:0 ", table[2])
    monthly = slurm.run("env", "SLURM_TIME_FORMAT=%s", "sacct", "-X", "-n", "-P", "-j", job, "-o", "Start,End,Submit")
    assert all(abs(float(cell) - time.time()) < PATIENCE for cell in monthly.stdout.strip().split("|"))


def test_what_the_controller_tells(slurm: Slurm) -> None:
    assert re.fullmatch(r"Slurmctld\(primary\) at \w+ is UP\n", slurm.run("scontrol", "ping").stdout)
    settings = slurm.run("scontrol", "show", "config").stdout
    assert re.search(r"^MaxArraySize            = \d+$", settings, re.MULTILINE)
    assert re.search(r"^SlurmctldParameters     = preempt_send_user_signal", settings, re.MULTILINE)
    assert slurm.run("scontrol", "show", "hostnames", "n[1-3,7],m2").stdout.split() == ["n1", "n2", "n3", "n7", "m2"]
    partitions = slurm.run("scontrol", "--all", "--oneliner", "show", "partition").stdout.splitlines()
    assert [line.split()[0] for line in partitions] == [f"PartitionName={p}" for p in ("main", "low", "high", "gpu")]
    kinds = slurm.run("sinfo", "--all", "--noheader", "--exact", "--format=%P|%D|%c|%m|%G|%f").stdout.splitlines()
    assert kinds[:2] == ["main*|2|4|4000|gpu:2|gpu", "main*|2|4|4000|(null)|cpu"]
    several = "show assoc where format=account,partition,maxsubmitjobs\nshow qos format=name,maxwall,gracetime\nquit\n"
    answers = slurm.run("sacctmgr", "--noheader", "--parsable2", "--readonly", stdin=several).stdout
    assert re.search(r"^\w+\|\|$", answers, re.MULTILINE)
    assert "normal||00:00:00\n" in answers
    job = slurm.sbatch("exit 0", "--hold", "--time=90")
    shown = dict(re.findall(r"(\w+)=(\S*)", slurm.run("scontrol", "-o", "show", "job", job).stdout))
    assert {name: shown[name] for name in ("JobId", "JobState", "TimeLimit", "Restarts", "Requeue", "RunTime")} == {
        "JobId": job,
        "JobState": "PENDING",
        "TimeLimit": "01:30:00",
        "Restarts": "0",
        "Requeue": "1",
        "RunTime": "00:00:00",
    }
    assert shown["StdOut"] == f"{slurm.folder}/{job}.txt"
    assert "PreemptTime" not in shown, "it has not begun"
    slurm.run("scontrol", "release", job)
    slurm.wait(job)


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="submitit is not installed")
def test_submitit_goes_on_after_an_interruption(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array of three; one of them is warned, saves, requeues itself through Submitit's handler, and goes on."""
    import submitit

    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    executor = submitit.SlurmExecutor(slurm.folder / "log", max_num_timeout=5)
    executor.update_parameters(time=1, signal_delay_s=10, array_parallelism=2, job_name="countdown")
    jobs = executor.map_array(Countdown(str(slurm.folder), 30), range(3))
    interrupted = slurm.folder / "1.txt"
    slurm.until(lambda: interrupted.exists() and len(interrupted.read_text()) > 6, "the second has begun")
    jobs[1]._interrupt()
    results = [job.result() for job in jobs]
    assert [result["index"] for result in results] == [0, 1, 2]
    assert [set(result["runs"]) for result in results] == [{"0"}, {"0", "1"}, {"0"}]
    assert all(len(result["runs"]) == 30 for result in results), "no step twice, none left out"
    assert results[1]["runs"] == sorted(results[1]["runs"])
    array = jobs[0].job_id.partition("_")[0]
    slurm.wait(array)
    assert slurm.states(f"{array}_1") == ["REQUEUED", "COMPLETED"]
    assert "Requeued job" in jobs[1].stdout()
    assert jobs[1].watcher.get_state(jobs[1].job_id, mode="force") == "COMPLETED"


# --- what only the fake can do ----------------------------------------------------------------------


def test_no_more_tasks_at_once_than_slots_and_each_gpu_once(fake_slurm: FakeSlurm, tmp_path: Path) -> None:
    fake_slurm.set("slots", 3)
    script = f"echo $SLURM_JOB_NODELIST:$CUDA_VISIBLE_DEVICES + >>{tmp_path}/log; sleep 0.3; echo - >>{tmp_path}/log"
    job = fake_slurm.sbatch(script, "--array=0-6", "--gres=gpu:1")
    fake_slurm.wait(job, "COMPLETED")
    running = [1 if "+" in line else -1 for line in (tmp_path / "log").read_text().splitlines()]
    assert max(sum(running[:end]) for end in range(len(running) + 1)) == 3
    assert all(len(task["devices"]) == 1 for task in fake_slurm.tasks(job))
    spans = [((task["on"][0], task["devices"][0]), task["start"], task["end"]) for task in fake_slurm.tasks(job)]
    for gpu, start, end in spans:
        assert [1 for other, begin, stop in spans if other == gpu and begin < end and stop > start] == [1]


def test_a_failed_node_takes_its_tasks_along_and_they_run_again(fake_slurm: FakeSlurm, tmp_path: Path) -> None:
    script = 'trap "" TERM; echo run $SLURM_RESTART_COUNT; [ -n "$SLURM_RESTART_COUNT" ] || srun sleep 60'
    job = fake_slurm.sbatch(script, f"--output={tmp_path}/%j", "--nodelist=n2", "--open-mode=append")
    beside = fake_slurm.sbatch(script, f"--output={tmp_path}/%j", "--nodelist=n2", "--open-mode=append")
    fake_slurm.wait(job, "RUNNING")
    fake_slurm.wait(beside, "RUNNING")
    fake_slurm.node_fail(job)
    for each in (job, beside):
        assert fake_slurm.wait(each) == ["COMPLETED"]
        (task,) = fake_slurm.tasks(each)
        assert [run["state"] for run in task["history"]] == ["NODE_FAIL"]
        assert (tmp_path / each).read_text() == "run\nrun 1\n"


def test_killed_and_out_of_memory(fake_slurm: FakeSlurm) -> None:
    killed = fake_slurm.sbatch("srun sleep 60", "--output=/dev/null")
    starved = fake_slurm.sbatch("srun sleep 60", "--output=/dev/null")
    for job in (killed, starved):
        fake_slurm.wait(job, "RUNNING")
    fake_slurm.kill(killed)
    fake_slurm.oom(starved)
    assert fake_slurm.wait(killed) == ["FAILED"]
    assert fake_slurm.wait(starved) == ["OUT_OF_MEMORY"]
    rows = fake_slurm.run("sacct", "-XnP", "-o", "State,ExitCode", "-j", f"{killed},{starved}").stdout.splitlines()
    assert rows == ["FAILED|0:9", "OUT_OF_MEMORY|0:125"]


def test_preemption_without_a_signal_of_the_users(fake_slurm: FakeSlurm, tmp_path: Path) -> None:
    """As on a cluster without preempt_send_user_signal."""
    fake_slurm.set("preempt_send_user_signal", 0)
    slurm = Slurm(tmp_path, fake_slurm)
    job = listener(slurm, 60, "--signal=USR2@90")
    fake_slurm.preempt(job)
    slurm.wait_for_text(f"{job}_step", "SIGTERM")
    assert fake_slurm.states(job) == ["RUNNING"], "the grace period has begun"
    slurm.wait_for_text(job, "run 1.")
    assert "SIGUSR2" not in slurm.text(f"{job}_step")


def test_time_passes_at_once_when_told(fake_slurm: FakeSlurm, tmp_path: Path) -> None:
    """`timeout`: the warning comes with the time left that --signal names, the end with none left."""
    job = listener(Slurm(tmp_path, fake_slurm), 60, "--time=10", "--signal=USR2@90")
    fake_slurm.timeout(job)
    shown = fake_slurm.run("scontrol", "show", "job", job).stdout
    assert re.search(r"RunTime=00:08:3\d TimeLimit=00:10:00", shown)
    assert fake_slurm.wait(job) == ["TIMEOUT"]
    elapsed = fake_slurm.run("sacct", "-XnP", "-o", "ElapsedRaw", "-j", job).stdout
    assert 600 <= int(elapsed) < 600 + PATIENCE


def test_commands_fail_as_if_a_daemon_were_down_while_jobs_go_on(fake_slurm: FakeSlurm) -> None:
    job = fake_slurm.sbatch("sleep 0.5", "--output=/dev/null")
    fake_slurm.fail("slurmdbd", "squeue")
    down = fake_slurm.run("sacct", "-j", job, check=False)
    assert down.returncode == 1
    assert down.stderr.endswith("sacct: error: Problem talking to the database: Connection refused\n")
    down = fake_slurm.run("squeue", check=False)
    assert (down.returncode, down.stdout) == (1, "")
    assert down.stderr == "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
    assert fake_slurm.run("scontrol", "ping").returncode == 0
    fake_slurm.fail("slurmctld")
    refused = fake_slurm.run("sbatch", "--wrap=true", check=False)
    text = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n"
    assert (refused.returncode, refused.stderr) == (1, text)
    assert len(fake_slurm.jobs()) == 1
    assert fake_slurm.wait(job) == ["COMPLETED"]
    fake_slurm.fail()
    assert fake_slurm.run("sacct", "-XnP", "-o", "State", "-j", job).stdout == "COMPLETED\n"


def test_a_submission_whose_answer_is_lost(fake_slurm: FakeSlurm) -> None:
    fake_slurm.fail("sbatch-lost")
    done = fake_slurm.run("sbatch", "--job-name=lost", "--output=/dev/null", "--wrap=true", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Socket timed out on send/recv operation" in done.stderr
    (task,) = fake_slurm.jobs()
    assert task["name"] == "lost"
    fake_slurm.wait(task["key"], "COMPLETED")


def test_limits_of_the_site(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set("max_array", 11)
    fake_slurm.set("max_submit", 12)
    assert "MaxArraySize            = 11\n" in fake_slurm.run("scontrol", "show", "config").stdout
    assert fake_slurm.run("sacctmgr", "-nP", "show", "assoc", "format=MaxSubmitJobs").stdout == "12\n"
    refused = fake_slurm.run("sbatch", "--hold", "--array=0-11", "--wrap=true", check=False)
    assert "Invalid job array specification" in refused.stderr
    fake_slurm.sbatch("true", "--hold", "--array=0-10")
    fake_slurm.sbatch("true", "--hold")
    refused = fake_slurm.run("sbatch", "--hold", "--wrap=true", check=False)
    assert refused.stderr.startswith("sbatch: error: AssocMaxSubmitJobLimit\n")
    assert len(fake_slurm.jobs()) == 12


def test_calls_are_counted(fake_slurm: FakeSlurm) -> None:
    job = fake_slurm.sbatch("squeue -h", "--output=/dev/null")
    fake_slurm.wait(job)
    assert [call[0] for call in fake_slurm.calls()] == ["sbatch", "squeue"]
    assert fake_slurm.calls("squeue") == [["squeue", "-h"]]


def test_a_step_on_several_nodes(fake_slurm: FakeSlurm, tmp_path: Path) -> None:
    step = "srun bash -c 'echo $SLURM_PROCID $SLURM_NODEID $SLURM_LOCALID $SLURMD_NODENAME $SLURM_NTASKS'"
    job = fake_slurm.sbatch(f"echo $SLURM_JOB_NODELIST; {step}", "--nodes=2", "--ntasks-per-node=2", f"-o{tmp_path}/x")
    fake_slurm.wait(job, "COMPLETED")
    nodes, *ranks = (tmp_path / "x").read_text().splitlines()
    assert nodes == "n[1-2]"
    assert sorted(ranks) == ["0 0 0 n1 4", "1 0 1 n1 4", "2 1 0 n2 4", "3 1 1 n2 4"]


def test_a_killed_controller_is_replaced_and_its_tasks_run_again(fake_slurm: FakeSlurm, tmp_path: Path) -> None:
    job = fake_slurm.sbatch('[ -n "$SLURM_RESTART_COUNT" ] || sleep 60', "--output=/dev/null")
    fake_slurm.wait(job, "RUNNING")
    os.kill(int((fake_slurm.folder / "controller.pid").read_text()), 9)
    fake_slurm.run("scontrol", "release", job)
    assert fake_slurm.wait(job) == ["COMPLETED"]
    assert [run["state"] for task in fake_slurm.tasks(job) for run in task["history"]] == ["NODE_FAIL"]


def test_stop_leaves_no_process(fake_slurm: FakeSlurm, tmp_path: Path) -> None:
    """Not even those that ignore signals and have left their session."""
    stubborn = "trap '' TERM HUP USR2; echo $BASHPID >>pids; while :; do sleep 1; done"
    job = fake_slurm.sbatch(f'cd {tmp_path}; (setsid bash -c "{stubborn}" &) ; {stubborn}'.replace("$", "\\$", 1))
    slurm = Slurm(tmp_path, fake_slurm)
    slurm.until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2, "both run")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    fake_slurm.stop()
    assert all(map(ended, pids))
    assert fake_slurm.states(job) == ["CANCELLED"]
    assert ended(int((fake_slurm.folder / "controller.pid").read_text()))


def ended(pid: int) -> bool:
    """Whether there is no such process any more, but for its entry that init has yet to remove."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
