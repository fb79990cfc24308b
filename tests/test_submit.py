"""Submitting to Slurm: chunks, texts, and whatever may happen around a call of sbatch; on a fake Slurm."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.config import Trial
from suite.errors import UserError
from suite.launch import submission, submit
from suite.launch.cancel import cancel_all
from suite.launch.frozen import Frozen
from suite.launch.sbatch import Executor, call
from suite.launch.site import Site
from suite.launch.site_check import ArrayLimits
from suite.launch.slurm import FEWEST, ArrayTask, cut
from suite.launch.submission import Submission, alone, intended, submissions, write
from suite.launch.submit import Proposal, commit, propose, resolve
from suite.ledger import Ledger
from suite.sweep import Sweep
from tests.conftest import SHORT
from tests.fake_slurm.fixture import FakeSlurm

pytest_plugins = "tests.fake_slurm.fixture"

MOST = 150


@cache
def trial(seed: int) -> Trial:
    return Trial.model_validate({**SHORT, "method": {"name": "kmeans", "bits": 3}, "seed": seed})


def trials(count: int) -> list[Trial]:
    return [trial(seed) for seed in range(count)]


# Cutting


counts = st.integers(1, MOST)
sizes = st.integers(1, 40)
caps = st.none() | st.integers(1, 2 * MOST)
work = st.none() | st.floats(0, 1e6)


@given(counts, work, sizes, caps, caps, st.integers(1, 240))
def test_every_trial_is_in_one_chunk_and_every_chunk_is_allowed(
    count: int, seconds: float | None, size: int, submit: int | None, parallel: int | None, minutes: int
) -> None:
    site = Site(max_parallel=parallel, task_minutes=minutes, time="1-00:00:00")
    chunks = cut(trials(count), seconds, site, ArrayLimits(size, submit))
    assert Counter(trial.id for chunk in chunks for trial in chunk.trials) == Counter(t.id for t in trials(count))
    for chunk in chunks:
        assert 1 <= chunk.tasks <= min(size, len(chunk.trials)), (
            "no larger than an array may be, no task without a trial"
        )
        assert 1 <= chunk.parallel <= chunk.tasks
    assert sum(chunk.tasks for chunk in chunks) <= (submit or count)
    if parallel is not None:
        assert sum(chunk.parallel for chunk in chunks) <= parallel, "the limit is that of the whole sweep"
    for part in ("tasks", "parallel"):
        values = [getattr(chunk, part) for chunk in chunks]
        assert max(values) - min(values) <= 1, f"{part} are dealt out evenly"


@given(counts, sizes)
def test_trials_of_unknown_length_have_a_task_each(count: int, size: int) -> None:
    chunks = cut(trials(count), None, Site(), ArrayLimits(size, None))
    assert sum(chunk.tasks for chunk in chunks) == count
    assert len(chunks) == math.ceil(count / size)


@given(counts, st.floats(0, 1e5), st.integers(1, 240))
def test_short_trials_share_tasks_of_the_wanted_length(count: int, seconds: float, minutes: int) -> None:
    site = Site(task_minutes=minutes, time="1-00:00:00")
    (chunk,) = cut(trials(count), seconds, site, ArrayLimits(1001, None))
    tasks = max(math.ceil(seconds / (60 * minutes)), FEWEST)
    assert chunk.tasks == min(tasks, count)


def test_makers_of_baselines_which_come_first_are_first_in_every_chunk() -> None:
    chunks = cut(trials(40), None, Site(), ArrayLimits(11, None))
    assert [[trial.seed for trial in chunk.trials[:2]] for chunk in chunks] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert [(chunk.tasks, chunk.parallel) for chunk in chunks] == [(10, 10)] * 4


def test_the_limit_of_tasks_at_once_is_split_over_the_chunks() -> None:
    chunks = cut(trials(40), None, Site(max_parallel=6), ArrayLimits(11, None))
    assert [(chunk.tasks, chunk.parallel) for chunk in chunks] == [(10, 2), (10, 2), (10, 1), (10, 1)]


def test_a_limit_below_the_number_of_chunks_makes_fewer_chunks() -> None:
    chunks = cut(trials(40), None, Site(max_parallel=2), ArrayLimits(11, None))
    assert [(len(chunk.trials), chunk.tasks, chunk.parallel) for chunk in chunks] == [(20, 11, 1), (20, 11, 1)]


# On a fake Slurm, on which nothing starts


@pytest.fixture
def idle(fake_slurm: FakeSlurm) -> FakeSlurm:
    fake_slurm.set("slots", 0)
    return fake_slurm


SITE = Site(name="fake", memory="100M", max_parallel=6)


def sweep(count: int) -> Sweep:
    return Sweep("short", "", tuple(trials(count)))


def proposed(count: int, ledger: Ledger, site: Site = SITE) -> Proposal:
    return propose(sweep(count), ledger, site, "array")


def committed(count: int, ledger: Ledger, site: Site = SITE) -> list[Submission]:
    """What `slq submit` does."""
    resolve(submissions(ledger))
    return list(commit(proposed(count, ledger, site), Path("data"), allow_dirty=True))


def names(cluster: FakeSlurm) -> Counter[str]:
    """How many tasks there are of each job name."""
    return Counter(task["name"] for task in cluster.jobs())


def intent(count: int, ledger: Ledger) -> Submission:
    """Written, but sbatch has not been called."""
    code = Frozen(ledger.path / "code" / "tree", None, False, "tree")
    made = intended(ledger, trials(count), "array", count, SITE, code)
    write(made, trials(count))
    return made


def test_submitting_is_one_call_a_chunk_and_again_is_none(idle: FakeSlurm, ledger: Ledger) -> None:
    idle.set("max_array", 11)
    done = committed(40, ledger)
    assert [each.tasks for each in done] == [10] * 4
    assert {each.job_name: each.tasks for each in done} == names(idle)
    assert {each.job_id for each in done} == {str(task["array"]) for task in idle.jobs()}
    assert Counter(id_ for each in done for id_ in each.trials) == Counter(trial.id for trial in trials(40))
    assert [idle.tasks(str(each.job_id))[0]["throttle"] for each in done] == [2, 2, 1, 1]
    assert len(idle.calls("sbatch")) == 4

    again = proposed(40, ledger)
    assert again.chunks == ()
    assert again.queued == 40
    assert committed(40, ledger) == []
    assert len(idle.calls("sbatch")) == 4
    added = committed(42, ledger)
    assert [each.trials for each in added] == [[trial.id for trial in trials(42)[40:]]], "only what is new"


def test_a_call_for_all_chunks_is_enough_however_many_were_submitted(idle: FakeSlurm, ledger: Ledger) -> None:
    for count in range(1, 6):
        committed(count, ledger)
    before = len(idle.calls())
    proposed(6, ledger)
    assert Counter(call[0] for call in idle.calls()[before:]) == {"squeue": 1, "scontrol": 1}


def test_the_text_that_is_shown_is_the_text_that_is_submitted(idle: FakeSlurm, ledger: Ledger) -> None:
    shown = proposed(5, ledger).texts()
    assert not ledger.path.exists(), "looking writes nothing"
    assert idle.calls("sbatch") == []
    (done,) = committed(5, ledger)
    submitted = (idle.folder / "jobs" / str(done.job_id) / "slurm_script").read_text()

    def without(text: str) -> str:
        text = text.replace(str(done.intent["code"]["path"]), str(ledger.path / "code" / "TREE"))
        return re.sub(r"\b\d{4}-\d{6}-[0-9a-f]{6}\b", "TOKEN", text)

    assert [without(text) for text in shown] == [without(submitted)]
    assert f"--job-name={done.job_name}" in submitted
    assert "--array=0-4%5" in submitted
    assert "--requeue" in submitted


def test_the_records_around_a_call(idle: FakeSlurm, ledger: Ledger) -> None:
    (done,) = committed(3, ledger)
    assert Submission.at(done.path) == done
    assert done.whole_trials() == trials(3)
    assert done.job_ids() == [task["key"] for task in idle.jobs()]
    assert done.closed == ""
    code = Path(done.intent["code"]["path"])
    assert code.parent == ledger.path / "code"
    assert (code / "suite" / "trial.py").exists(), "the code is frozen before anything is queued"


# What a crash leaves between the intent and the job id


def call_sbatch(made: Submission) -> str:
    """sbatch itself, by an slq submit that dies before it can write the job id."""
    executor = Executor(made, SITE, tasks=made.tasks)
    return call(executor, ArrayTask(str(made.path), "root", "short", "data", None))


def test_a_job_whose_id_was_not_written_is_found_by_its_name(idle: FakeSlurm, ledger: Ledger) -> None:
    unwritten = intent(3, ledger)
    job = call_sbatch(unwritten)
    assert unwritten.job_id is None
    assert proposed(3, ledger).chunks == (), "even before it is found nobody submits it again"
    assert resolve(submissions(ledger)) == [unwritten]
    assert unwritten.job_id == job
    assert resolve(submissions(ledger)) == []
    assert committed(3, ledger) == []
    assert len(idle.calls("sbatch")) == 1


def test_a_job_that_has_ended_meanwhile_is_found_in_accounting(fake_slurm: FakeSlurm, ledger: Ledger) -> None:
    unwritten = intent(2, ledger)
    job = fake_slurm.sbatch("true", "--array=0-1", f"--job-name={unwritten.job_name}")
    fake_slurm.wait(job, "COMPLETED")
    assert resolve(submissions(ledger)) == [unwritten]
    assert unwritten.job_id == job


def test_an_intent_that_never_reached_slurm_is_submitted_anew(idle: FakeSlurm, ledger: Ledger) -> None:
    lost = intent(3, ledger)
    idle.sbatch("true", f"--job-name={lost.job_name}x")
    assert resolve(submissions(ledger)) == [], "another job's name only begins so"
    (done,) = committed(3, ledger)
    assert lost.job_id is None
    assert done.trials == lost.trials
    assert len(idle.calls("sbatch")) == 2


def test_an_intent_is_given_up_when_it_is_old(idle: FakeSlurm, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after its sbatch Slurm might still be working on it."""
    lost, heard = intent(1, ledger), intent(2, ledger)
    monkeypatch.setattr(submit, "OLD", 0.0)
    call_sbatch(heard)
    idle.fail("slurmctld")
    with pytest.raises(UserError):
        resolve(submissions(ledger))
    assert lost.closed == "", "nobody answered"
    idle.fail()
    assert resolve(submissions(ledger)) == [heard]
    assert lost.closed.startswith("no job was made")
    assert heard.closed == ""


def test_several_cut_off_submissions_take_one_look(idle: FakeSlurm, ledger: Ledger) -> None:
    unwritten = [intent(count, ledger) for count in (1, 2, 3)]
    jobs = [call_sbatch(each) for each in unwritten[:2]]
    before = len(idle.calls())
    assert [each.job_id for each in resolve(submissions(ledger))] == jobs
    assert Counter(each[0] for each in idle.calls()[before:]) == {"squeue": 1, "sacct": 1}
    assert unwritten[2].job_id is None


def test_a_silent_controller_is_no_proof_that_there_is_no_job(idle: FakeSlurm, ledger: Ledger) -> None:
    call_sbatch(intent(3, ledger))
    idle.fail("slurmctld")
    with pytest.raises(UserError, match=r"Slurm's controller does not answer.*\nsubmit again later"):
        committed(3, ledger)
    idle.fail()
    assert committed(3, ledger) == []
    assert len(names(idle)) == 1


# What sbatch may say


def test_a_refusal_tells_slurms_reason_and_the_next_step(idle: FakeSlurm, ledger: Ledger) -> None:
    wrong = SITE.model_copy(update={"partition": "grpu"})
    with pytest.raises(UserError) as refused:
        committed(3, ledger, wrong)
    assert "invalid partition specified: grpu" in str(refused.value)
    assert str(refused.value).endswith("see: slq site check fake")
    (closed,) = submissions(ledger)
    assert closed.closed.startswith("refused by sbatch: ")
    (done,) = committed(3, ledger)
    assert done.job_id
    assert len(names(idle)) == 1


def test_a_refusal_in_the_middle_keeps_what_was_submitted_before_it(idle: FakeSlurm, ledger: Ledger) -> None:
    idle.set("max_array", 11)
    proposal = proposed(40, ledger)
    idle.set("max_submit", 25)
    with pytest.raises(UserError, match="job submit limit"):
        list(commit(proposal, Path("data"), allow_dirty=True))
    assert [bool(each.job_id) for each in submissions(ledger)] == [True, True, False]
    idle.set("max_submit", "")
    done = committed(40, ledger)
    assert sum(len(each.trials) for each in done) == 20
    assert len(idle.jobs()) == 40


class Pauses:
    """Stands for the module time, without waiting; something may happen in a pause."""

    time, strftime, localtime = time.time, time.strftime, time.localtime

    def __init__(self, then: Callable[[int], object] = lambda count: None) -> None:
        self.seconds: list[float] = []
        self.then = then

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.then(len(self.seconds))


def test_an_answer_that_got_lost_submits_nothing_twice(
    idle: FakeSlurm, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "time", pauses := Pauses())
    idle.fail("sbatch-lost")
    (done,) = committed(3, ledger)
    assert pauses.seconds == [2]
    assert names(idle) == {done.job_name: 3}
    assert done.job_id == str(idle.jobs()[0]["array"])


def test_a_controller_that_answers_again_is_asked_again(
    idle: FakeSlurm, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "time", pauses := Pauses(lambda count: idle.fail() if count == 3 else None))
    proposal = proposed(3, ledger)
    idle.fail("slurmctld")
    (done,) = commit(proposal, Path("data"), allow_dirty=True)
    assert pauses.seconds == [2, 4, 8]
    assert names(idle) == {done.job_name: 3}


def test_a_controller_that_died_after_it_took_the_job_is_not_given_another(
    idle: FakeSlurm, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sbatch gets no answer, squeue gets none either, and then both work again."""
    monkeypatch.setattr(submit, "time", pauses := Pauses(lambda count: idle.fail() if count == 2 else None))
    proposal = proposed(3, ledger)
    idle.fail("sbatch-lost", "squeue", "slurmdbd")
    (done,) = commit(proposal, Path("data"), allow_dirty=True)
    assert pauses.seconds == [2, 4]
    assert names(idle) == {done.job_name: 3}


def test_patience_ends(idle: FakeSlurm, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "time", pauses := Pauses())
    idle.fail("slurmctld")
    proposal = proposed(3, ledger)
    with pytest.raises(UserError, match=r"controller does not answer: .*Unable to contact.*\nsubmit again later"):
        list(commit(proposal, Path("data"), allow_dirty=True))
    assert pauses.seconds == list(submit.PAUSES)
    (cut_off,) = submissions(ledger)
    assert cut_off.closed == "", "it may have been heard"
    idle.fail()
    assert len(committed(3, ledger)) == 1


def test_without_sbatch_the_message_says_where_to_go(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert proposed(2, ledger).texts()[0].startswith("#!/bin/bash"), "a dry run needs no Slurm"
    with pytest.raises(UserError, match="no sbatch here; submit from a login node"):
        list(commit(proposed(2, ledger), Path("data"), allow_dirty=True))
    assert [each.closed for each in submissions(ledger)] == ["not submitted: there is no sbatch"]


def test_uncommitted_code_is_refused_before_anything_is_queued(
    idle: FakeSlurm, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def refuse(path: Path, *, allow_dirty: bool) -> Frozen:
        asked.append(allow_dirty)
        raise UserError("the code differs from its commit")

    monkeypatch.setattr(submit, "freeze", refuse)
    with pytest.raises(UserError, match="differs"):
        list(commit(proposed(3, ledger), Path("data"), allow_dirty=False))
    assert asked == [False]
    assert idle.jobs() == []
    assert submissions(ledger) == []


DIES_ONCE = """#!/bin/bash
# the task that has the id of its whole array as its own is killed once, while the others wait for its return
if [ "$SLURM_JOB_ID" = "$SLURM_ARRAY_JOB_ID" ]; then
    [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] || kill -9 $$
    touch "$0.back"
else
    until [ -e "$0.back" ]; do sleep 0.1; done
fi
"""


def test_a_task_that_was_killed_is_requeued_alone(fake_slurm: FakeSlurm, ledger: Ledger, tmp_path: Path) -> None:
    fake_slurm.set("slots", 3)
    task = tmp_path / "task.sh"
    task.write_text(DIES_ONCE)
    task.chmod(0o755)
    (done,) = committed(3, ledger, SITE.model_copy(update={"python": str(task)}))
    fake_slurm.wait(str(done.job_id), "COMPLETED")
    assert sorted(each["restarts"] for each in fake_slurm.tasks(str(done.job_id))) == [0, 0, 1]
    (record,) = done.path.glob("crashes-*.txt")
    assert record.read_text().split()[1] == "137"


def test_what_was_cancelled_covers_nothing_any_more(idle: FakeSlurm, ledger: Ledger) -> None:
    (done,) = committed(3, ledger)
    assert proposed(3, ledger).chunks == ()
    done.close("cancelled")  # and its tasks are still ending
    again = proposed(3, ledger)
    assert (again.queued, len(again.trials)) == (0, 3)


def test_a_job_that_appears_after_its_submission_was_cancelled_can_be_cancelled(
    idle: FakeSlurm, ledger: Ledger
) -> None:
    (done,) = committed(3, ledger)
    done.close("cancelled")  # by a slq cancel that came before sbatch was heard
    assert cancel_all(ledger) == [done.job_id]
    assert not [task for task in idle.jobs() if task["state"] == "PENDING"]
    assert cancel_all(ledger) == []


def test_an_old_intent_that_slurm_does_not_know_is_given_up(
    idle: FakeSlurm, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    young = intent(2, ledger)
    assert resolve([young]) == []
    assert young.closed == ""
    monkeypatch.setattr(submit, "OLD", -1.0)
    assert resolve([young]) == []
    assert "no job was made" in young.closed


@pytest.mark.parametrize(
    ("site", "options", "words"),
    [
        (SITE, {"gpus_per_trial": 0.5}, "for --backend ray"),
        (SITE, {"scheduler": "asha"}, "for --backend ray"),
        (SITE, {"backend": "ray", "gpus_per_trial": 1.0}, "more than gpus = 0"),
    ],
)
def test_what_a_site_cannot_give_is_refused_at_once(
    ledger: Ledger, site: Site, options: dict[str, Any], words: str
) -> None:
    sweep = Sweep("short", "", trials(2))
    with pytest.raises(UserError, match=words):
        propose(sweep, ledger, site, **{"backend": "array", **options})
    wide = Sweep("short", "", (trial(0).model_copy(update={"threads": site.cpus + 1}),))
    with pytest.raises(UserError, match="threads"):
        propose(wide, ledger, site, "array")


def test_a_sweep_larger_than_the_submit_limit_takes_fewer_tasks(idle: FakeSlurm, ledger: Ledger) -> None:
    idle.set("max_submit", 25)
    (done,) = committed(40, ledger)
    assert (done.tasks, len(done.trials)) == (25, 40)


def test_one_submission_of_a_sweep_at_a_time(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "LOCK", 0.1)
    with alone(ledger):
        with pytest.raises(UserError, match="another slq submit"), alone(ledger):
            raise AssertionError("two at once")
        with alone(Ledger(ledger.root, "another")):
            pass
    with alone(ledger):
        pass


def test_the_estimate_comes_from_finished_trials(idle: FakeSlurm, ledger: Ledger) -> None:
    assert proposed(3, ledger).estimate() == "unknown until a trial has finished, or with --probe"
    attempt = ledger.trial(trial(0).id).try_claim(trial(0).config())
    assert attempt is not None
    with attempt.running():
        attempt.finish({"config": trial(0).config(), "cost": {"wall_seconds": 1800.0}})
    assert proposed(3, ledger).estimate() == "1 CPU-hours"
    on_gpus = SITE.model_copy(update={"gpus": 2})
    assert proposed(3, ledger, on_gpus).estimate() == "2 GPU-hours"
    assert len(proposed(3, ledger).trials) == 2
