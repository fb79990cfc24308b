"""How often Slurm is asked, without waiting for anything."""

from __future__ import annotations

import itertools
import random

import pytest

from suite.launch.polling import BRISK, BUDGET, JITTER, SELDOM, SOON, Lookout, Polling
from suite.launch.queue import Report
from suite.launch.whereabouts import Place, Submitted, gather
from suite.ledger import Ledger
from tests.submitted import Scene


class Middle(random.Random):
    """No luck at all."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def test_soon_after_a_change_then_ever_more_seldom() -> None:
    polling = Polling(Middle())
    first = [polling.after(answered=True, changed=False) for _ in range(12)]
    assert first[0] == SOON
    assert all(a < b or a == b == SELDOM for a, b in itertools.pairwise(first))
    assert first[-1] == SELDOM
    polling.after(answered=True, changed=True)
    assert polling.after(answered=True, changed=False) == BRISK


def test_a_sweep_in_which_something_happens_all_the_time_is_not_asked_for_every_second() -> None:
    polling = Polling(Middle())
    delays = [polling.after(answered=True, changed=True) for _ in range(20)]
    assert delays[0] == SOON
    assert delays[-10:] == [BRISK] * 10


def test_watchers_do_not_ask_at_the_same_moment() -> None:
    delays = {Polling(random.Random(seed)).after(answered=True, changed=True) for seed in range(50)}
    assert len(delays) == 50
    assert min(delays) >= SOON * (1 - JITTER)
    assert max(delays) <= SOON * (1 + JITTER)


def test_failures_are_budgeted_and_forgiven() -> None:
    polling = Polling(Middle())
    delays = [polling.after(answered=False, changed=False) for _ in range(BUDGET - 1)]
    assert not polling.gave_up()
    assert max(delays) < SELDOM
    assert polling.after(answered=False, changed=False) == SELDOM
    assert polling.gave_up()
    polling.after(answered=True, changed=True)
    assert not polling.gave_up()
    assert polling.after(answered=True, changed=False) == BRISK


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def scene(ledger: Ledger) -> Scene:
    scene = Scene(ledger, 2)
    scene.submit("a", "7", range(2))
    scene.slurm("7_0", "a", "RUNNING")
    scene.slurm("7_1", "a", "PENDING")
    return scene


class Watched:
    """A lookout over a scene whose Slurm may be silent."""

    def __init__(self, scene: Scene) -> None:
        self.clock, self.silent, self.asked, self.scene = Clock(), False, 0, scene
        self.lookout = Lookout(scene.ledger, Polling(Middle()), self._ask, self.clock)

    def _ask(self, ledger: Ledger) -> Submitted:
        from suite.launch.submission import submissions

        self.asked += 1
        return gather(
            submissions(ledger), lambda names: Report(problem="no answer") if self.silent else self.scene.ask(names)
        )

    def later(self, seconds: float = 2 * SELDOM) -> Submitted:
        self.clock.now += seconds
        return self.lookout.submitted()


def test_slurm_is_asked_only_when_it_is_time(scene: Scene) -> None:
    watched = Watched(scene)
    assert watched.later(0).report.jobs.keys() == {"7_0", "7_1"}
    watched.later(SOON / 2)
    assert watched.asked == 1
    watched.later(SOON / 2)
    assert watched.asked == 2


def test_elapsed_time_is_no_change(scene: Scene) -> None:
    watched = Watched(scene)
    watched.later()
    for elapsed in range(10):
        scene.slurm("7_0", "a", "RUNNING", elapsed=float(elapsed))
        watched.later()
    before = watched.asked
    watched.later(BRISK * 1.5)
    assert watched.asked == before, "it has become slow"


def test_what_was_known_stands_for_a_while_when_slurm_falls_silent(scene: Scene) -> None:
    watched = Watched(scene)
    watched.later()
    watched.silent = True
    seen = [watched.later() for _ in range(BUDGET)]
    for submitted in seen[:-1]:
        assert submitted.report.jobs.keys() == {"7_0", "7_1"}
        assert "what is shown of jobs is older" in submitted.report.problem
    assert f"{BUDGET - 1} times in a row" in seen[-2].report.problem
    assert not seen[-1].report.jobs, "after that, nothing is known any more"
    assert seen[-1].ahead(scene.trials[1].id).place is Place.UNKNOWN
    assert "only now and then" in seen[-1].report.problem
    watched.silent = False
    assert watched.later().report == Report(scene.jobs, "sacct")


def test_a_first_look_without_an_answer_knows_nothing(scene: Scene) -> None:
    watched = Watched(scene)
    watched.silent = True
    assert watched.later().report == Report(problem="no answer")


def test_without_submissions_nothing_is_a_failure(ledger: Ledger) -> None:
    watched = Watched(Scene(ledger, 1))
    for _ in range(2 * BUDGET):
        assert watched.later() == Submitted()
    assert not watched.lookout.polling.failures
