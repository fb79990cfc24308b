"""Where trials are: the ledger and Slurm put together, one case at a time. Nothing is concluded from silence."""

from __future__ import annotations

import pytest

from suite.launch.plan import MAX_LOSSES
from suite.launch.queue import Report
from suite.launch.whereabouts import COMMON, Place, Submitted, Where, ask, output_of, where
from suite.ledger import Ledger
from tests.submitted import Scene, end, point, start


@pytest.fixture
def scene(ledger: Ledger) -> Scene:
    return Scene(ledger, 4)


def look(scene: Scene, report: Report | None = None) -> Submitted:
    return ask(scene.ledger, (lambda names: report) if report is not None else scene.ask)


def places(scene: Scene, report: Report | None = None) -> list[Where]:
    submitted = look(scene, report)
    works = [scene.work(seed) for seed in range(scene.count)]
    return [where(work, work.state(), submitted) for work in works]


def test_without_submissions_slurm_is_not_asked(scene: Scene) -> None:
    scene.done(0)
    scene.attempt(1, "", start())
    scene.attempt(2, "", start(), end("failed", "ValueError: no"), live=False)
    got = places(scene)
    assert [each.place for each in got] == [Place.DONE, Place.RUNNING, Place.FAILED, Place.NEW]
    assert got[2].why == "ValueError: no"
    assert scene.calls == 0


def test_one_call_for_all_submissions(scene: Scene) -> None:
    scene.submit("a", "7", range(2))
    scene.submit("b", "8", range(2, 4), backend="ray")
    names = {}
    ask(scene.ledger, lambda asked: names.update(asked) or Report(source="sacct"))
    assert names == {"7": "slq-a", "8": "slq-b"}


def test_queued_with_slurms_reason(scene: Scene) -> None:
    scene.submit("a", "7", range(2))
    scene.submit("b", "8", range(2, 4))
    for task in range(2):
        scene.slurm(f"7_{task}", "a", "PENDING", reason="JobArrayTaskLimit")
        scene.slurm(f"8_{task}", "b", "PENDING")
    limited = "as many tasks run as may at once (JobArrayTaskLimit)"
    assert [each.why for each in places(scene)] == [limited] * 2 + [COMMON] * 2
    assert {each.place for each in places(scene)} == {Place.QUEUED}
    assert look(scene).expected() == {trial.id for trial in scene.trials}


def test_more_trials_than_tasks_wait_for_a_free_one(scene: Scene) -> None:
    scene.submit("a", "7", range(4), tasks=1)
    scene.slurm("7_0", "a", "RUNNING", nodes="n1")
    scene.attempt(0, "7_0", start())
    got = places(scene)
    assert [each.place for each in got] == [Place.RUNNING] + [Place.QUEUED] * 3
    assert got[0].job is scene.jobs["7_0"]
    assert got[1].why == "for the next task that is free"


def test_jobs_that_ended_leave_new_trials_new(scene: Scene) -> None:
    scene.submit("a", "7", range(2), tasks=1)
    scene.slurm("7_0", "a", "COMPLETED")
    assert [each.place for each in places(scene)] == [Place.NEW] * 4
    assert look(scene).expected() == set()


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (Report(problem="sacct: no; squeue: no"), "Slurm does not answer"),
        (Report({}, "squeue", "sacct: no"), "without accounting Slurm does not say how jobs ended"),
        (Report({}, "sacct"), "Slurm knows nothing of 2 of its 2 jobs"),
    ],
)
def test_silence_is_unknown_and_nothing_else(scene: Scene, report: Report, words: str) -> None:
    scene.submit("a", "7", range(2))
    scene.attempt(1, "7_1", start(), live=False)
    new, lost, *rest = places(scene, report)
    assert (new.place, new.why) == (Place.UNKNOWN, words)
    assert (lost.place, lost.why) == (Place.UNKNOWN, f"cause unknown: Slurm has no record of its job; {words}")
    assert [each.place for each in rest] == [Place.NEW] * 2


def test_what_the_ledger_knows_stands_without_slurm(scene: Scene) -> None:
    scene.submit("a", "7", range(4))
    scene.done(0)
    scene.attempt(1, "7_1", start())
    scene.attempt(2, "7_2", start(), end("failed", "ValueError: no"), live=False)
    got = [each.place for each in places(scene, Report(problem="no answer"))]
    assert got == [Place.DONE, Place.RUNNING, Place.FAILED, Place.UNKNOWN]


def test_a_submission_that_was_cut_off_before_its_job_was_known(scene: Scene) -> None:
    scene.submit("a", None, range(2))
    got = places(scene)
    assert got[0].place is Place.UNKNOWN
    assert "slq submit" in got[0].why
    assert scene.calls == 0, "there is no job to ask for"


def test_closed_submissions_promise_nothing(scene: Scene) -> None:
    scene.submit("a", "7", range(2)).close("cancelled")
    scene.submit("b", None, range(2, 4)).close("refused by sbatch")
    assert [each.place for each in places(scene, Report({}, "sacct"))] == [Place.NEW] * 4


def test_a_later_submission_takes_up_what_an_earlier_one_left(scene: Scene) -> None:
    scene.submit("a", "7", range(4))
    scene.submit("b", "8", range(4))
    for task in range(4):
        scene.slurm(f"7_{task}", "a", "CANCELLED", by="0")
        scene.slurm(f"8_{task}", "b", "PENDING")
    assert {each.place for each in places(scene)} == {Place.QUEUED}


def test_preempted_and_waiting_to_go_on(scene: Scene) -> None:
    scene.submit("a", "7", range(1))
    reason = "preempted or out of time (SIGUSR2)"
    scene.attempt(0, "7_0", start(), end("interrupted", reason), live=False)
    scene.slurm("7_0", "a", "PENDING", reason="BeginTime", restarts=1)
    assert places(scene)[0] == Where(Place.INTERRUPTED, reason, scene.jobs["7_0"])


def test_a_lost_node_and_the_job_requeued(scene: Scene) -> None:
    scene.submit("a", "7", range(1))
    lost = scene.slurm("7_0", "a", "NODE_FAIL", nodes="n3", start=1.0, end=2.0)
    scene.slurm("7_0", "a", "PENDING", restarts=1, earlier=(lost,))
    scene.attempt(0, "7_0", start(), live=False)
    assert places(scene)[0].place is Place.INTERRUPTED
    assert places(scene)[0].why == "node failure of n3"


def test_slurm_knows_of_a_loss_before_the_claim_expires(scene: Scene) -> None:
    scene.submit("a", "7", range(2))
    lost = scene.slurm("7_0", "a", "NODE_FAIL", nodes="n3", start=1.0, end=2.0)
    scene.slurm("7_0", "a", "PENDING", restarts=1, earlier=(lost,))
    scene.slurm("7_1", "a", "CANCELLED", by="0", start=1.0, end=2.0)
    scene.attempt(0, "7_0", start(), live=True)
    assert places(scene)[0] == Where(Place.INTERRUPTED, "node failure of n3", scene.jobs["7_0"])
    scene.attempt(0, "7_0", start(), restart=1, live=True)
    scene.slurm("7_0", "a", "RUNNING", restarts=1, earlier=(lost,), start=3.0)
    assert places(scene)[0].place is Place.RUNNING, "this attempt is in the second run of the job, and that runs"


def test_lost_for_good_with_the_cause(scene: Scene) -> None:
    scene.submit("a", "7", range(2))
    scene.slurm("7_0", "a", "TIMEOUT", start=1.0, end=2.0)
    scene.slurm("7_1", "a", "CANCELLED", by="0", start=1.0, end=2.0)
    scene.attempt(0, "7_0", start(), live=False)
    scene.attempt(1, "7_1", start(), live=False)
    got = places(scene)
    assert [(each.place, each.why) for each in got[:2]] == [
        (Place.LOST, "time limit reached"),
        (Place.LOST, "cancelled by root"),
    ]


def test_memory_and_crashes_are_found_in_the_submissions_folder(scene: Scene) -> None:
    submission = scene.submit("a", "7", range(2))
    submission.logs("7_0")[1].write_text("slurmstepd: error: Exceeded job memory limit\n")
    scene.attempt(0, "7_0", start(t=100.0), live=False)
    scene.slurm("7_0", "a", "FAILED", signal=9, start=90.0, end=110.0)
    (submission.path / "crashes-7_1.txt").write_text("105 74 n1\n")
    run = scene.slurm("7_1", "a", "REQUEUED", start=90.0, end=110.0)
    scene.slurm("7_1", "a", "PENDING", restarts=1, earlier=(run,))
    scene.attempt(1, "7_1", start(t=100.0), live=False)
    assert [each.why for each in places(scene)[:2]] == ["out of memory (SIGKILL)", "disk full (exit code 74)"]


def test_a_trial_that_dies_at_the_same_place_each_time_is_left_alone(scene: Scene) -> None:
    scene.submit("a", "7", range(1))
    scene.slurm("7_0", "a", "PENDING", restarts=MAX_LOSSES)
    for restart in range(MAX_LOSSES):
        assert places(scene)[0].place in (Place.QUEUED, Place.INTERRUPTED)
        scene.attempt(0, "7_0", start(), point(5, 10), restart=restart, live=False)
    assert places(scene)[0].place is Place.FAILED
    assert "slq retry" in places(scene)[0].why


def test_a_job_of_somebody_elses_sweep_is_not_asked_for(scene: Scene) -> None:
    scene.submit("a", "7", range(1))
    scene.attempt(1, "999", start(), live=False)
    assert places(scene)[1] == Where(Place.LOST, "")


def test_states_that_nobody_knows_are_unknown(scene: Scene) -> None:
    scene.submit("a", "7", range(1))
    scene.slurm("7_0", "a", "TELEPORTED")
    assert places(scene)[0].place is Place.UNKNOWN


def test_where_a_job_writes(scene: Scene) -> None:
    submission = scene.submit("a", "7", range(2))
    out, err = submission.logs("7_1")
    assert output_of(scene.ledger, "7_1") == []
    out.write_text("")
    assert output_of(scene.ledger, "7_1") == [out]
    err.write_text("")
    assert output_of(scene.ledger, "7_1") == [out, err]
    assert output_of(scene.ledger, "") == output_of(scene.ledger, "8_1") == []
