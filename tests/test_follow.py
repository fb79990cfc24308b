"""Following a log while it grows and goes over from attempt to attempt, without waiting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from suite.follow import follow
from suite.ledger import Ledger
from suite.stop import Stopped
from tests.submitted import Scene, trial


@pytest.fixture
def scene(ledger: Ledger) -> Scene:
    return Scene(ledger, 1)


def attempted(scene: Scene, text: str, error: BaseException | None = None) -> None:
    """An attempt that says something, and ends with an error or a result."""
    attempt = scene.work(0).try_claim(trial(0).config())
    assert attempt is not None
    with suppress(Stopped, ValueError), attempt.running():
        attempt.say(text)
        if error is not None:
            raise error
        attempt.finish({})
        attempt.say("afterwards")


def followed(scene: Scene, *steps: Callable[[], object]) -> str:
    """What is said while these things happen, one at each pause."""
    left = iter(steps)
    return "".join(follow(scene.work(0), lambda: next(left)()))


def test_all_attempts_to_the_end(scene: Scene) -> None:
    first, second = partial(attempted, scene, "one", Stopped("preempted")), partial(attempted, scene, "two")
    said = followed(scene, lambda: None, first, second)
    assert [line.rpartition("  ")[2] for line in said.splitlines() if line] == ["one", "attempt 2", "two", "afterwards"]


def test_it_begins_with_the_newest_attempt_and_ends_with_a_failure(scene: Scene) -> None:
    for text in ("old", "new"):
        attempted(scene, text, ValueError("no"))
    said = followed(scene)
    assert "old" not in said
    assert "new" in said
    assert "ValueError: no" in said


def test_growing_line_by_line(scene: Scene) -> None:
    scene.attempt(0, "")
    log = scene.work(0).path / "attempts" / "1" / "log.txt"
    pieces = follow(scene.work(0), lambda: None)
    log.write_bytes(b"a ")
    assert next(pieces) == "a "
    half = "ü".encode()
    with log.open("ab") as file:
        file.write(b"b" + half[:1])
        file.flush()
        assert next(pieces) == "b", "half a character waits for its other half"
        file.write(half[1:] + b"\n")
    assert next(pieces) == "ü\n"
    scene.done(0)
    assert list(pieces) == []


def test_work_that_is_done_is_shown_at_once(scene: Scene) -> None:
    scene.attempt(0, "")
    (scene.work(0).path / "attempts" / "1" / "log.txt").write_text("all\n")
    scene.done(0)
    assert followed(scene) == "all\n"


def test_work_that_is_done_without_attempts_ends(scene: Scene) -> None:
    scene.done(0)
    assert followed(scene) == ""
