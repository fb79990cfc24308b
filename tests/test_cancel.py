"""Cancelling: only what is ours, with one scancel, and on record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from suite.errors import UserError
from suite.launch.cancel import cancel_all, cancel_trial
from suite.launch.submission import submissions
from suite.ledger import Ledger
from tests.submitted import Scene, start

if TYPE_CHECKING:
    from tests.fake_slurm.fixture import FakeSlurm

pytest_plugins = "tests.fake_slurm.fixture"


@pytest.fixture(autouse=True)
def _room(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set("slots", 8)


@pytest.fixture
def scene(ledger: Ledger) -> Scene:
    return Scene(ledger, 4)


def run(slurm: FakeSlurm, token: str, *options: str) -> str:
    return slurm.sbatch("sleep 600", f"--job-name=slq-{token}", *options)


def closed(scene: Scene) -> dict[str, str]:
    return {each.token: each.closed for each in submissions(scene.ledger)}


def test_a_whole_sweep(scene: Scene, fake_slurm: FakeSlurm) -> None:
    array, single = run(fake_slurm, "a", "--array=0-3%1"), run(fake_slurm, "b")
    other = run(fake_slurm, "of-somebody-else")
    scene.submit("a", array, range(4))
    scene.submit("b", single, range(4), backend="ray")
    scene.submit("over", "1", range(4))
    fake_slurm.wait(f"{array}_0", "RUNNING")
    fake_slurm.wait(other, "RUNNING")
    assert set(cancel_all(scene.ledger)) == {array, single}
    assert all(state.startswith("CANCELLED") for job in (array, single) for state in fake_slurm.wait(job))
    assert fake_slurm.states(other) == ["RUNNING"]
    assert len(fake_slurm.calls("scancel")) == 1
    assert closed(scene) == {"a": "cancelled", "b": "cancelled", "over": ""}
    assert cancel_all(scene.ledger) == []
    assert len(fake_slurm.calls("scancel")) == 1, "nothing is left to cancel"


def test_a_job_whose_id_was_never_recorded_is_found_by_its_name(scene: Scene, fake_slurm: FakeSlurm) -> None:
    job = run(fake_slurm, "a", "--array=0-1")
    scene.submit("a", None, range(2))
    scene.submit("never-came", None, range(2))
    assert cancel_all(scene.ledger) == [job]
    assert closed(scene) == {"a": "cancelled", "never-came": "cancelled"}


def test_a_job_id_that_now_belongs_to_somebody_else_is_left_alone(scene: Scene, fake_slurm: FakeSlurm) -> None:
    other = run(fake_slurm, "x")
    scene.submit("a", other, range(2))
    assert cancel_all(scene.ledger) == []
    assert not fake_slurm.calls("scancel")


def test_what_is_closed_already_keeps_its_reason(scene: Scene, fake_slurm: FakeSlurm) -> None:
    scene.submit("a", None, range(2)).close("refused by sbatch")
    cancel_all(scene.ledger)
    assert closed(scene) == {"a": "refused by sbatch"}


def test_without_submissions_slurm_is_left_alone(scene: Scene, fake_slurm: FakeSlurm) -> None:
    assert cancel_all(scene.ledger) == []
    assert not fake_slurm.calls()


@pytest.mark.parametrize("down", ["squeue", "scancel"])
def test_if_slurm_does_not_answer_nothing_is_recorded(scene: Scene, fake_slurm: FakeSlurm, down: str) -> None:
    job = run(fake_slurm, "a", "--array=0-1")
    scene.submit("a", job, range(2))
    fake_slurm.fail(down)
    with pytest.raises(UserError, match=r"cancelled.*Unable to contact slurm controller"):
        cancel_all(scene.ledger)
    assert closed(scene) == {"a": ""}
    fake_slurm.fail()
    assert cancel_all(scene.ledger) == [job]


def test_one_trial(scene: Scene, fake_slurm: FakeSlurm) -> None:
    job = run(fake_slurm, "a", "--array=0-3")
    scene.submit("a", job, range(4))
    scene.attempt(2, f"{job}_2", start())
    fake_slurm.wait(job, "RUNNING")
    assert cancel_trial(scene.ledger, scene.work(2)) == f"{job}_2"
    fake_slurm.wait(f"{job}_2")
    assert sorted(fake_slurm.states(job))[1:] == ["RUNNING"] * 3
    assert closed(scene) == {"a": ""}, "its other tasks go on"
    with pytest.raises(UserError, match=f"job {job}_2, which ran .* is over"):
        cancel_trial(scene.ledger, scene.work(2))


def test_trials_that_cannot_be_cancelled_alone(scene: Scene, fake_slurm: FakeSlurm) -> None:
    job = run(fake_slurm, "b")
    scene.submit("b", job, range(4), backend="ray")
    scene.attempt(0, job, start())
    scene.attempt(1, f"{job}", start(), live=False)
    scene.attempt(2, "77_1", start())
    scene.attempt(3, "", start())
    with pytest.raises(UserError, match="together with others"):
        cancel_trial(scene.ledger, scene.work(0))
    for seed in (1, 2, 3):
        with pytest.raises(UserError, match="does not run in a job of this sweep"):
            cancel_trial(scene.ledger, scene.work(seed))
    assert not fake_slurm.calls("scancel")
