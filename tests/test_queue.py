"""What Slurm says of jobs: texts recorded from Slurm 22.05.8, commands that fail or are missing, and the words for people."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.launch import queue
from suite.launch.cause import cause, crash, of_job
from suite.launch.command import NoAnswerError
from suite.launch.queue import SACCT, SQUEUE, Job, Report, live, look, read_sacct, read_squeue, tasks

if TYPE_CHECKING:
    from tests.fake_slurm.fixture import FakeSlurm

pytest_plugins = "tests.fake_slurm.fixture"

# `sacct --parsable2 --noheader --duplicates --allocations --format=...` with times as %s. In this order: killed for its memory
# (with its batch script, and only its step), out of time, preempted and run again, an array beside it, node lost, killed,
# requeued (the array beside it cancelled by user 0), cancelled while it waited.
ENDED = """\
391|FAILED|None|0:9|n1|1795517407|1795517407|1795517408|1|525600|1|billing=1,cpu=1,mem=100M,node=1|00:00:00|slq-oom
392|FAILED|None|9:0|n1|1795517407|1795517407|1795517408|1|525600|1|billing=1,cpu=1,mem=100M,node=1|00:00:00|slq-oom
393|TIMEOUT|None|0:0|n4|1795517407|1795517407|1795517484|77|1|1|billing=1,cpu=1,mem=100M,node=1|00:00:00|slq-time
394_0|PREEMPTED|None|0:0|n2|1795517407|1795517407|1795517426|19|525600|4|billing=4,cpu=4,mem=400M,node=1|00:00:00|slq-pre
394_1|COMPLETED|ReqNodeNotAvail|0:0|n2|1795517407|1795517437|1795517457|20|525600|4|billing=4,cpu=4,node=1|00:00:00|slq-pre
395_0|NODE_FAIL|None|0:0|n3|1795517407|1795517407|1795517437|30|525600|2|billing=2,cpu=2,mem=200M,node=1|00:00:00|slq-node
400|FAILED|None|0:9|n1|1795517411|1795517411|1795517413|2|525600|1|billing=1,cpu=1,mem=100M,node=1|00:00:00|slq-kill
394_0|COMPLETED|BeginTime|0:0|n2|1795517426|1795517457|1795517477|20|UNLIMITED|4|cpu=4,mem=400M,node=1|00:00:00|slq-pre
395_0|COMPLETED|ReqNodeNotAvail|0:0|n3|1795517437|1795517505|1795517550|45|525600|2|billing=2,cpu=2,node=1|00:00:00|slq-node
866_0|REQUEUED|None|0:0|n3|1795517285|1795517285|1795517288|3|UNLIMITED|1|billing=1,cpu=1,node=1|00:00:00|slq-rq
866_1|CANCELLED by 0|None|0:0|n3|1795517285|1795517285|1795517303|18|UNLIMITED|1|billing=1,cpu=1,node=1|00:00:00|slq-rq
873_[0-40:4%2]|CANCELLED by 0|None|0:0|None assigned|1795517370|None|1795517377|0|Partition_Limit|1||00:00:00|slq-step
851_3|FAILED|None|74:0|n4|1795517272|1795517273|1795517273|0|UNLIMITED|1|billing=1,cpu=1,mem=100M,node=1|00:00:00|slq-full
"""

# While they wait and run: an array of which two tasks may run at once, one that waits for a busy node, requeued ones that wait
# again, and GPUs. sacct does not say "Resources" or "Priority"; what a job once waited for stays in its record.
LIVE = """\
849_0|RUNNING|None|0:0|n1|1795517272|1795517273|Unknown|12|60|4|billing=4,cpu=4,mem=400M,node=1|00:00:00|slq-a
849_4|RUNNING|JobArrayTaskLimit|0:0|n4|1795517272|1795517353|Unknown|17|UNLIMITED|4|billing=4,cpu=4,mem=400M,node=1|00:00:00|slq-a
849_[6,8-9%2]|PENDING|JobArrayTaskLimit|0:0|None assigned|1795517272|Unknown|Unknown|0|UNLIMITED|4||00:00:00|slq-a
396|PENDING|None|0:0|None assigned|1795517407|Unknown|Unknown|0|Partition_Limit|1||00:00:00|slq-node
394_0|PREEMPTED|None|0:0|n2|1795517407|1795517407|1795517426|19|525600|4|billing=4,cpu=4,mem=400M,node=1|00:00:00|slq-pre
394_0|PENDING|BeginTime|0:0|None assigned|1795517426|Unknown|Unknown|0|Partition_Limit|4||00:00:00|slq-pre
854_0|RUNNING|None|0:0|n[1-2]|1795517272|1795517313|Unknown|30|UNLIMITED|8|cpu=8,gres/gpu:a100=4,gres/gpu=4|00:00:00|slq-gpu
"""

# `squeue --noheader --states=all --Format=...` with times as %s, from a cluster without accounting, with a few ended jobs.
SQUEUED = """\
394_0|COMPLETED|None|0|n2|1795517426|1795517457|1795517477|0:20|UNLIMITED|4|cpu=4,mem=400M,node=1,billing=4|1|slq-pre|
391|FAILED|JobLaunchFailure|9|n1|1795517407|1795517407|1795517408|0:01|365-00:00:00|1|cpu=1,node=1|0|slq-oom|
392|FAILED|NonZeroExitCode|35072|n1|1795517407|1795517407|1795517408|0:01|365-00:00:00|1|cpu=1,node=1|0|slq-oom|
395_1|PENDING|ReqNodeNotAvail, UnavailableNodes:n3|0||1795517437|N/A|N/A|0:00|365-00:00:00|2|cpu=2,node=1|1|slq-node|
527_[0,3-5]|PENDING|JobArrayTaskLimit|0||1795518527|N/A|N/A|0:00|UNLIMITED|2|cpu=2,mem=200M,node=1,billing=2|0|slq-db|
527_1|RUNNING|None|0|n1|1795518527|1795518528|1827054528|1-02:00:10|2-00:00:00|2|cpu=2,gres/gpu=1,node=1|0|slq-db|
393|TIMEOUT|TimeLimit|15|n4|1795517407|1795517407|1795517484|1:17|1:00|1|cpu=1,mem=100M,node=1,billing=1|0|slq-time|
"""


@pytest.fixture
def ended() -> dict[str, Job]:
    return queue.newest(read_sacct(ENDED))


@pytest.fixture
def living() -> dict[str, Job]:
    return queue.newest(read_sacct(LIVE))


# Reading


def test_a_requeued_job_is_one_job_of_several_runs(ended: dict[str, Job]) -> None:
    job = ended["394_0"]
    assert (job.state, job.restarts, [run.state for run in job.earlier]) == ("COMPLETED", 1, ["PREEMPTED"])
    assert [run.elapsed for run in job.runs()] == [19, 20]
    assert job.run(0) == job.earlier[0]
    assert job.run(1) is job
    assert job.ended_well()
    assert job.earlier[0].is_lost()


def test_a_job_that_was_just_requeued_waits_and_its_run_is_over(ended: dict[str, Job]) -> None:
    job = ended["866_0"]
    assert job.is_waiting()
    assert job.is_live()
    assert not job.is_lost()
    assert job.restarts == 1
    assert [run.elapsed for run in job.runs()] == [3], "the run is not counted twice"
    first = job.run(0)
    assert first is not None
    assert of_job(first) == "requeued"


def test_array_ranges_are_taken_apart(living: dict[str, Job], ended: dict[str, Job]) -> None:
    assert {id_ for id_, job in living.items() if job.is_waiting() and id_.startswith("849")} == {
        "849_6",
        "849_8",
        "849_9",
    }
    assert {id_ for id_ in ended if id_.startswith("873")} == {f"873_{n}" for n in range(0, 41, 4)}


def test_times_limits_and_resources(living: dict[str, Job]) -> None:
    job = living["849_0"]
    assert (job.start, job.end, job.elapsed, job.limit, job.cpus, job.gpus) == (1795517273, None, 12, 3600, 4, 0)
    assert job.seconds_left(now=1795517273 + 600) == 3000
    assert job.seconds_left(now=1795517273 + 9999) == 0
    assert living["849_4"].seconds_left() is None, "it has no limit"
    assert living["849_6"].seconds_left() is None, "it has not begun"
    gpu = living["854_0"]
    assert (gpu.cpus, gpu.gpus, gpu.nodes) == (8, 4, "n[1-2]"), "GPUs of a type are not counted twice"


def test_a_limit_of_a_year_is_none(ended: dict[str, Job]) -> None:
    assert ended["391"].limit is None
    assert ended["393"].limit == 60


def test_reasons_are_those_of_waiting_jobs_only(living: dict[str, Job]) -> None:
    reasons = {id_: job.reason for id_, job in living.items()}
    assert reasons["849_6"] == "JobArrayTaskLimit"
    assert reasons["394_0"] == "BeginTime"
    assert reasons["849_4"] == reasons["396"] == ""
    assert living["849_6"].nodes == ""


def test_exit_codes_and_signals(ended: dict[str, Job]) -> None:
    got = {id_: (ended[id_].exit_code, ended[id_].signal) for id_ in ("391", "392", "851_3", "394_1")}
    assert got == {"391": (0, 9), "392": (0, 9), "851_3": (74, 0), "394_1": (0, 0)}, "sacct writes 128 + 9 as 9"
    assert (ended["866_1"].state, ended["866_1"].by) == ("CANCELLED", "0")


def test_squeue_says_the_same() -> None:
    jobs = queue.newest(read_squeue(SQUEUED))
    assert jobs["394_0"].ended_well()
    assert jobs["394_0"].restarts == 1
    assert jobs["394_0"].run(0) is None, "squeue tells nothing of earlier runs"
    assert (jobs["391"].signal, jobs["392"].signal, jobs["391"].is_lost()) == (9, 9, True)
    assert jobs["395_1"].reason == "ReqNodeNotAvail, UnavailableNodes:n3"
    assert [id_ for id_, job in jobs.items() if id_.startswith("527") and job.is_waiting()] == [
        *("527_0", "527_3", "527_4", "527_5")
    ]
    running = jobs["527_1"]
    assert (running.elapsed, running.limit, running.end, running.gpus) == (93610, 172800, None, 1)
    assert jobs["393"].state == "TIMEOUT"


def test_lines_that_are_cut_short_and_steps_are_left_out() -> None:
    assert list(read_sacct("391|FAILED|None\n\n")) == []
    assert list(read_squeue("391|FAILED|None\n\n")) == []
    step = "401.batch|COMPLETED||0:0|n1|1|1|8|7||2|cpu=2|00:00.012|batch\n"
    job = "401|COMPLETED|None|0:0|n1|1|1|8|7|UNLIMITED|2|cpu=2|1-00:00:01.5|slq-x\n"
    assert [(job.id, job.cpu_seconds) for job in read_sacct(job + step)] == [("401", 86401.5)]


def test_a_name_may_hold_the_separator() -> None:
    line = "401|COMPLETED|None|0:0|n1|1|1|8|7|UNLIMITED|2|cpu=2|00:00.1|a|b\n"
    assert [job.name for job in read_sacct(line)] == ["a|b"]


def test_every_state_is_one_thing() -> None:
    sets = (queue.WAITING, queue.RUNNING, queue.ENDED_WELL, queue.LOST)
    words = [word for words in sets for word in words]
    assert len(words) == len(set(words))
    strange = Job("1", "x", "TELEPORTED")
    assert not any((strange.is_live(), strange.ended_well(), strange.is_lost())), "new words are not guessed at"


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(1, 4), st.none() | st.integers(1, 9))
def test_any_set_of_tasks_comes_back(indices: set[int], step: int, limit: int | None) -> None:
    spread = sorted(index * step for index in indices)
    parts: list[str] = []
    while spread:
        run = [spread.pop(0)]
        while spread and spread[0] == run[-1] + step:
            run.append(spread.pop(0))
        tail = f":{step}" if step > 1 else ""
        parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}{tail}")
    text = f"7_[{','.join(parts)}{f'%{limit}' if limit else ''}]"
    assert tasks(text) == [f"7_{index}" for index in sorted(index * step for index in indices)]


def test_ids_that_are_no_ranges() -> None:
    assert tasks("7") == ["7"]
    assert tasks("7_4") == ["7_4"]
    assert tasks("7_[0,3,6...]") == ["7_0", "7_3"], "a range that was cut short gives what is certain"


# Asking


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands in front of PATH, where there is no real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin/nothing")
    return folder


def write(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f'#!/bin/sh\necho "$0 $* $SLURM_TIME_FORMAT" >> {folder}/calls\n{script}\n')
    (folder / name).chmod(0o755)


def says(text: str) -> str:
    return f"/bin/cat <<'END'\n{text}END"


def calls(folder: Path) -> list[str]:
    return [Path(line.split()[0]).name for line in (folder / "calls").read_text().splitlines()]


def test_one_call_for_all(commands: Path) -> None:
    write(commands, "sacct", says(ENDED + LIVE))
    report = look({"849": "slq-a", "394": "slq-pre", "999": "slq-new"})
    assert (report.source, report.problem) == ("sacct", "")
    assert set(report.jobs) == {"849_0", "849_4", "849_6", "849_8", "849_9", "394_0", "394_1"}
    assert calls(commands) == ["sacct"]
    asked = (commands / "calls").read_text()
    assert "--jobs=849,394,999" in asked
    assert f"--format={','.join(SACCT)}" in asked
    assert asked.endswith("%s\n")
    assert "--duplicates" in asked, "all runs of requeued jobs"


def test_steps_are_asked_for_only_if_they_are_wanted(commands: Path) -> None:
    write(commands, "sacct", says(ENDED))
    look({"391": "slq-oom"})
    look({"391": "slq-oom"}, steps=True)
    plain, with_steps = (commands / "calls").read_text().splitlines()
    assert "--allocations" in plain
    assert "--allocations" not in with_steps


def test_nothing_to_ask_is_not_asked(commands: Path) -> None:
    assert look({}) == Report(source="sacct")
    assert live([]) == []
    assert not (commands / "calls").exists()


def test_jobs_of_another_name_are_not_ours(commands: Path) -> None:
    write(commands, "sacct", says(ENDED))
    assert look({"391": "slq-oom", "394": "slq-other"}).jobs.keys() == {"391"}


@pytest.mark.parametrize(
    ("sacct", "problem"),
    [
        (None, "there is no sacct here"),
        ("echo 'Slurm accounting storage is disabled' >&2; exit 1", "sacct: Slurm accounting storage is disabled"),
        (
            "echo 'sacct: error: Sending PersistInit msg: Connection refused' >&2\n"
            "echo 'sacct: error: Problem talking to the database: Connection refused' >&2; exit 1",
            "sacct: Problem talking to the database: Connection refused",
        ),
        ("exit 3", "sacct failed"),
        ("exec /bin/sleep 60", "sacct did not answer within 2 s"),
    ],
)
def test_squeue_answers_where_there_is_no_accounting(
    commands: Path, monkeypatch: pytest.MonkeyPatch, sacct: str | None, problem: str
) -> None:
    monkeypatch.setattr(queue, "PATIENCE", 2.0 if problem.endswith("within 2 s") else 60.0)
    if sacct is not None:
        write(commands, "sacct", sacct)
    write(commands, "squeue", says(SQUEUED))
    report = look({"527": "slq-db", "395": "slq-node"})
    assert (report.source, report.problem) == ("squeue", problem)
    assert set(report.jobs) == {"527_0", "527_1", "527_3", "527_4", "527_5", "395_1"}
    asked = (commands / "calls").read_text().splitlines()[-1]
    assert "--jobs=527,395" in asked
    assert "--states=all" in asked
    assert all(f"{column}:|" in asked for column in SQUEUE)


def test_a_column_that_squeue_does_not_know_is_no_answer(commands: Path) -> None:
    write(
        commands, "squeue", "echo 'squeue: error: Invalid job format specification: restartcnt' >&2; echo '1|RUNNING|'"
    )
    assert look({"1": "x"}).source == ""


def test_jobs_that_squeue_has_forgotten_are_unknown(commands: Path) -> None:
    write(commands, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert look({"1": "slq-x"}) == Report({}, "squeue", "there is no sacct here")


def test_when_nobody_answers_nothing_is_known(commands: Path) -> None:
    write(commands, "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    report = look({"527": "slq-db"})
    assert (report.jobs, report.source) == ({}, "")
    assert report.problem == "there is no sacct here; squeue: slurm_load_jobs error: Unable to contact slurm controller"


def test_a_command_that_may_not_be_executed(commands: Path) -> None:
    write(commands, "sacct", "exit 0")
    (commands / "sacct").chmod(0o644)
    assert look({"1": "x"}).problem.startswith("sacct: Permission denied")


def test_live_jobs_are_found_by_name(commands: Path) -> None:
    write(commands, "squeue", says(SQUEUED))
    assert [job.id for job in live(["slq-db", "slq-pre"])] == ["527_0", "527_3", "527_4", "527_5", "527_1"]
    assert "--name=slq-db,slq-pre" in (commands / "calls").read_text()
    write(commands, "squeue", "exit 1")
    with pytest.raises(NoAnswerError):
        live(["slq-db"])


def test_on_a_fake_cluster(fake_slurm: FakeSlurm) -> None:
    job = fake_slurm.sbatch("sleep 60", "--job-name=slq-x", "--array=0-2%1", "--time=10")
    fake_slurm.wait(f"{job}_0", "RUNNING")
    jobs = look({job: "slq-x"}).jobs
    assert {id_: found.is_running() for id_, found in jobs.items()} == {
        f"{job}_0": True,
        f"{job}_1": False,
        f"{job}_2": False,
    }
    assert jobs[f"{job}_0"].limit == 600
    fake_slurm.fail("slurmdbd")
    report = look({job: "slq-x"})
    assert report.source == "squeue"
    assert {id_: found.is_running() for id_, found in report.jobs.items()} == {
        id_: j.is_running() for id_, j in jobs.items()
    }
    fake_slurm.fail("slurmdbd", "slurmctld")
    assert look({job: "slq-x"}).source == ""


# Words for people


FAILED = Job("1", "x", "FAILED", start=1.0, end=2.0)


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ("391", "killed (SIGKILL)"),
        ("392", "killed (SIGKILL)"),
        ("393", "time limit reached"),
        ("866_1", "cancelled by root"),
        ("400", "killed (SIGKILL)"),
        ("851_3", "disk full (exit code 74)"),
    ],
)
def test_why_jobs_ended(ended: dict[str, Job], identity: str, words: str) -> None:
    assert cause(ended[identity]) == words


def test_why_earlier_runs_ended(ended: dict[str, Job]) -> None:
    assert of_job(ended["394_0"].earlier[0]) == "preempted"
    assert of_job(ended["395_0"].earlier[0]) == "node failure of n3"


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (Job("1", "x", "OUT_OF_MEMORY", start=1.0), "out of memory"),
        (Job("1", "x", "FAILED", exit_code=70), "sick node: trials failed there one after the other (exit code 70)"),
        (Job("1", "x", "FAILED", exit_code=1), "failed with exit code 1"),
        (Job("1", "x", "FAILED", signal=11), "died of SIGSEGV"),
        (Job("1", "x", "FAILED", signal=64), "died of SIGRTMAX"),
        (Job("1", "x", "FAILED", signal=99), "died of signal 99"),
        (Job("1", "x", "CANCELLED", by="4000000"), "cancelled by user 4000000"),
        (Job("1", "x", "CANCELLED"), "cancelled"),
        (Job("1", "x", "COMPLETED"), "its job ended well without it"),
        (Job("1", "x", "BOOT_FAIL"), "node failure (it did not boot)"),
        (Job("1", "x", "RUNNING", start=1.0), "killed in a job that goes on"),
        (Job("1", "x", "TELEPORTED"), "teleported"),
        (Job("1", "x", "PENDING"), "its job waits to run again"),
        (None, "cause unknown: Slurm has no record of its job"),
    ],
)
def test_causes(run: Job | None, words: str) -> None:
    assert cause(run) == words


@pytest.mark.parametrize(
    "text", ["slurmstepd-n1: error: Exceeded job memory limit", "error: Detected 1 oom-kill event(s) in StepId=1.0"]
)
def test_memory_is_told_from_other_kills_by_the_log_of_the_job(text: str) -> None:
    killed = Job("1", "x", "FAILED", signal=9)
    assert cause(killed, log=f"loading\n{text}\n") == "out of memory (SIGKILL)"
    assert cause(killed, log="loading\n") == "killed (SIGKILL)"
    assert cause(Job("1", "x", "FAILED", exit_code=1), log=text) == "failed with exit code 1"


def test_an_attempts_own_word_counts_most() -> None:
    assert cause(FAILED, {"outcome": "failed", "error": "ValueError: no"}) == "ValueError: no"
    assert cause(FAILED, {"outcome": "interrupted", "error": "terminated (SIGTERM)"}) == "terminated (SIGTERM)"
    assert cause(Job("1", "x", "TIMEOUT"), {"outcome": "failed", "error": "ValueError: no"}) == "ValueError: no"
    assert cause(None, {"outcome": "done"}) == "it was done, but its result.json is gone"
    full = {"outcome": "failed", "error": "OSError: [Errno 28] No space left on device: 'x'"}
    assert cause(FAILED, full) == "disk full (OSError: [Errno 28] No space left on device: 'x')"


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("CANCELLED", "terminated (SIGTERM)", "cancelled by root"),
        ("TIMEOUT", "preempted or out of time (SIGUSR2)", "time limit reached"),
        ("PREEMPTED", "preempted or out of time (SIGUSR2)", "preempted"),
        ("REQUEUED", "terminated (SIGTERM)", "requeued"),
        ("REQUEUED", "preempted or out of time (SIGUSR2)", "preempted or out of time (SIGUSR2)"),
        ("RUNNING", "terminated (SIGTERM)", "terminated (SIGTERM)"),
    ],
)
def test_slurm_says_more_of_an_interruption_than_a_signal(state: str, error: str, words: str) -> None:
    assert cause(Job("1", "x", state, by="0", start=1.0), {"outcome": "interrupted", "error": error}) == words


@pytest.mark.parametrize(
    ("code", "words"), [(137, "killed (SIGKILL)"), (139, "died of SIGSEGV"), (74, "disk full (exit code 74)")]
)
def test_a_crash_that_the_batch_script_recorded(code: int, words: str) -> None:
    assert cause(Job("1", "x", "REQUEUED", start=1.0, end=2.0), code=code) == words


def test_a_crash_belongs_to_the_run_it_happened_in(tmp_path: Path) -> None:
    file = tmp_path / "crashes.txt"
    assert crash(file, None, 0.0) is None
    file.write_text("1000 137 n1\nrubbish\n2000 74 n2\n")
    first, second, third = (Job("1", "x", "REQUEUED", start=t, end=t + 100) for t in (900.0, 1900.0, 2900.0))
    assert (crash(file, first, 990.0), crash(file, second, 1990.0), crash(file, third, 2990.0)) == (137, 74, None)
    assert crash(file, None, 1995.0) == 74
    assert crash(file, None, 1200.0) is None, "long after the attempt's last word, and before its crash"
