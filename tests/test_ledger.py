"""The ledger: what the files of a piece of work say, whatever happened to its owners."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite import claim
from suite.claim import SupersededError
from suite.errors import UserError
from suite.files import read_json, write_atomic, write_json
from suite.ledger import SCHEMA, TAIL, Attempt, Ledger, OpenAttempt, State, Work

CONFIG = {"network": "lenet5"}

WRITE_FOREVER = """
import sys
from pathlib import Path
from suite.files import write_json
n = 0
while True:
    n += 1
    write_json(Path(sys.argv[1]), {"n": n, "padding": "x" * 300_000, "end": n})
"""


@pytest.fixture
def work(ledger: Ledger) -> Work:
    return ledger.trial("t")


def begin(work: Work) -> OpenAttempt:
    attempt = work.try_claim(CONFIG)
    assert attempt is not None
    return attempt


def fail(work: Work) -> None:
    with pytest.raises(ZeroDivisionError), begin(work).running():
        _ = 1 / 0


def interrupt(work: Work) -> None:
    with pytest.raises(KeyboardInterrupt), begin(work).running():
        raise KeyboardInterrupt


def vanish(work: Work) -> None:
    """An attempt whose owner is gone without a word."""
    attempt = begin(work)
    attempt.emit("start", attempt=attempt.number)
    attempt.emit("train", step=1)
    content = json.loads((attempt.path / claim.FILE).read_text())
    write_json(attempt.path / claim.FILE, {**content, "owner": {**content["owner"], "born": "0"}})


def succeed(work: Work, **result: Any) -> None:
    with begin(work).running() as attempt:
        attempt.finish({"top1": 0.9, **result})


# States


def test_new(work: Work, ledger: Ledger) -> None:
    assert work.state() is State.NEW
    assert (work.result(), work.config(), work.attempts(), work.newest_attempt()) == (None, {}, [], None)
    assert (work.failures(), work.why_failed()) == (0, "")
    assert ledger.trials() == []


def test_running_then_done(work: Work, ledger: Ledger) -> None:
    with begin(work).running() as attempt:
        work.checkpoint.write_bytes(b"state")
        assert work.state() is State.RUNNING
        assert work.try_claim(CONFIG) is None
        attempt.finish({"top1": 0.9})
    assert work.state() is State.DONE
    assert work.result() == {"schema": SCHEMA, "top1": 0.9}
    assert work.config() == {"schema": SCHEMA, **CONFIG}
    assert [event["event"] for event in work.attempts()[0].events()] == ["start", "end"]
    assert not work.checkpoint.exists()
    assert work.try_claim(CONFIG) is None
    assert ledger.trials() == [work]


def test_failed_is_recorded_with_its_traceback_and_raised(work: Work) -> None:
    fail(work)
    assert work.state() is State.FAILED
    assert work.why_failed() == "ZeroDivisionError: division by zero"
    (attempt,) = work.attempts()
    assert "Traceback (most recent call last)" in attempt.log()
    assert "_ = 1 / 0" in attempt.log()
    assert attempt.newest("end")["outcome"] == "failed"  # type: ignore[index]


def test_interrupted_is_lost_not_failed(work: Work) -> None:
    interrupt(work)
    assert work.state() is State.LOST
    assert work.failures() == 0
    assert work.attempts()[0].newest("end")["outcome"] == "interrupted"  # type: ignore[index]
    assert begin(work).number == 2, "it can be taken up at once"


def test_vanished_is_lost(work: Work) -> None:
    vanish(work)
    assert work.state() is State.LOST
    assert work.why_failed() == ""
    assert begin(work).number == 2


def test_a_failure_after_the_result_leaves_it_done(work: Work) -> None:
    def finish_and_fail() -> None:
        with begin(work).running() as attempt:
            attempt.finish({})
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        finish_and_fail()
    assert work.state() is State.DONE


def test_done_while_somebody_looks_is_never_lost(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that looks at result and claim while the owner finishes sees it running or done, nothing else."""
    is_live, open_attempt = claim.is_live, begin(work)

    def finish_meanwhile(path: Path) -> bool:
        monkeypatch.setattr(claim, "is_live", is_live)
        with open_attempt.running():
            open_attempt.finish({})
        return is_live(path)

    monkeypatch.setattr(claim, "is_live", finish_meanwhile)
    assert work.state() is State.DONE


def test_failures_count_errors_only(work: Work) -> None:
    for happen, failures in [(fail, 1), (vanish, 1), (interrupt, 1), (fail, 2), (fail, 3)]:
        happen(work)
        assert work.failures() == failures
    assert work.state() is State.FAILED
    succeed(work)
    assert work.state() is State.DONE
    assert work.failures() == 3
    assert [attempt.number for attempt in work.attempts()] == [1, 2, 3, 4, 5, 6]


# Claims


def test_work_finished_between_look_and_claim(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(work)
    try_claim = claim.try_claim

    def finished_meanwhile(attempts: Path) -> claim.Claim | None:
        monkeypatch.setattr(claim, "try_claim", try_claim)
        succeed(work)
        return try_claim(attempts)

    monkeypatch.setattr(claim, "try_claim", finished_meanwhile)
    assert work.try_claim(CONFIG) is None
    assert work.state() is State.DONE
    assert sorted(p.name for p in (work.path / "attempts").iterdir()) == ["1", "2"], "no stray attempt"


def test_a_superseded_owner_writes_no_result(work: Work) -> None:
    old = begin(work)
    content = json.loads((old.path / claim.FILE).read_text())
    write_json(old.path / claim.FILE, {**content, "expires": 0})
    new = begin(work)
    with pytest.raises(SupersededError), old.running():
        old.finish({"top1": 0.1})
    assert work.result() is None
    assert work.state() is State.RUNNING, "the new owner is not disturbed"
    assert old.path.joinpath("events.jsonl").read_text().count('"superseded"') == 1
    with new.running():
        new.finish({"top1": 0.9})
    assert work.result() == {"schema": SCHEMA, "top1": 0.9}
    assert work.failures() == 0


def test_the_config_of_the_first_attempt_stays(work: Work) -> None:
    interrupt(work)
    attempt = work.try_claim({"network": "another"})
    assert attempt is not None
    assert work.config() == {"schema": SCHEMA, **CONFIG}


# Events


def test_a_torn_last_line_is_left_out(work: Work) -> None:
    attempt = begin(work)
    attempt.emit("train", step=1)
    attempt.emit("train", step=2)
    file = attempt.path / "events.jsonl"
    file.write_bytes(file.read_bytes() + b'{"t": 5, "event": "tra')
    reader = Attempt(attempt.path)
    assert [event["step"] for event in reader.events()] == [1, 2]
    assert reader.newest()["step"] == 2  # type: ignore[index]


names = st.sampled_from(["start", "train", "eval", "end"])
values = st.dictionaries(st.sampled_from(["step", "wörd"]), st.integers() | st.sampled_from(["", "ß\n{}"]), max_size=2)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # it writes files
@given(events=st.lists(st.tuples(names, values), max_size=8), part=st.floats(0, 1))
def test_wherever_a_crash_cuts_the_file_the_whole_lines_are_read(
    events: list[tuple[str, dict[str, Any]]], part: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        attempt = begin(Work(Path(folder)))
        for kind, fields in events:
            attempt.emit(kind, **fields)
        file, reader = attempt.path / "events.jsonl", Attempt(attempt.path)
        whole, content = reader.events(), file.read_bytes()
        assert [event["event"] for event in whole] == [kind for kind, _ in events]
        cut = round(part * len(content))
        file.write_bytes(content[:cut])
        left = reader.events()
        # a line that lacks nothing but its line feed is whole
        assert left == whole[: len(left)]
        assert len(left) in (content[:cut].count(b"\n"), content[: cut + 1].count(b"\n"))
        assert reader.newest() == (left[-1] if left else None)
        assert reader.newest("eval") == next((e for e in reversed(left) if e["event"] == "eval"), None)


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "end"}',
        '{"event": "train", "step": "x"}',
        '{"event": "train", "stage": []}',
        '{"event": "snap", "step": Infinity}',
    ],
)
def test_events_that_make_no_sense_keep_no_state_from_being_told(work: Work, line: str) -> None:
    vanish(work)
    with (work.attempts()[0].path / "events.jsonl").open("a") as file:
        file.write(f"{line}\n")
    assert work.state() is State.LOST
    assert (work.failures(), work.losses() <= 1) == (0, True)


def test_events_that_are_a_folder_keep_no_state_from_being_told(work: Work) -> None:
    attempt = begin(work)
    (attempt.path / "events.jsonl").unlink()
    (attempt.path / "events.jsonl").mkdir()
    claim.release(attempt.path)
    assert work.state() is State.LOST
    with pytest.raises(
        UserError, match=r"events\.jsonl is damaged \(it is a folder\); delete it, and only what was measured"
    ):
        work.attempts()[0].events()


def test_a_pardon_that_is_damaged_counts_as_none(work: Work) -> None:
    fail(work)
    (work.path / "forgiven.json").write_text("[")
    assert work.failures() == 1


def test_newest_in_a_long_file(work: Work) -> None:
    attempt = begin(work)
    ranked = {"scores": {f"layer{i}": [1.234567890123456789e-5] * 129 for i in range(57)}}  # ResNet-56 at 8 bits
    line = json.dumps({"t": 1.0, "event": "train", "step": 1}).encode() + b"\n"
    attempt.emit("baseline")
    with (attempt.path / "events.jsonl").open("ab") as file:
        file.write(line * (3 * TAIL // len(line)))
    attempt.emit("snap", stage=3, **ranked)
    reader = Attempt(attempt.path)
    assert reader.newest()["stage"] == 3  # type: ignore[index]
    assert reader.newest("train")["step"] == 1  # type: ignore[index]
    assert reader.newest("baseline") is None, "the beginning of the file is not read"
    assert reader.events()[0]["event"] == "baseline"


def test_no_events_yet(work: Work) -> None:
    attempt = Attempt(work.path / "attempts" / "1")
    assert (attempt.events(), attempt.newest(), attempt.log(), attempt.provenance()) == ([], None, "", {})


def test_numbers_that_json_does_not_know_are_refused(work: Work, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        begin(work).emit("train", loss=math.nan)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": math.inf})
    assert not (tmp_path / "x.json").exists()


def test_a_log_cut_within_a_character_is_readable(work: Work) -> None:
    attempt = begin(work)
    attempt.say("Größe")
    file = attempt.path / "log.txt"
    file.write_bytes(file.read_bytes()[:-3])  # half of "ß" is left
    assert "Grö" in Attempt(attempt.path).log()


# Files


def test_a_result_of_a_newer_version_is_refused(work: Work) -> None:
    write_json_into(work.path / "result.json", {"schema": SCHEMA + 1})
    with pytest.raises(UserError) as caught:
        work.result()
    assert f"schema {SCHEMA + 1}" in str(caught.value)
    assert f"up to {SCHEMA}" in str(caught.value)
    assert str(work.path) in str(caught.value)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"n": 1})

    def half(temporary: Path) -> None:
        temporary.write_text('{"n": ')
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, half)
    assert read_json(path) == {"n": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_write_makes_the_folder_and_one_that_fails_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.txt"

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, fail)
    assert not list(tmp_path.iterdir())
    path.parents[1].mkdir()
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, fail)
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"], "it was there before"
    write_atomic(path, lambda temporary: temporary.write_text("whole"))
    assert path.read_text() == "whole"


def test_a_trial_that_was_removed_while_it_ran_does_not_come_back(tmp_path: Path) -> None:
    work = Work(tmp_path / "x")
    attempt = work.try_claim(CONFIG)
    assert attempt is not None
    shutil.rmtree(work.path)
    with pytest.raises(FileNotFoundError):
        attempt.check()
    with pytest.raises(FileNotFoundError):
        claim.release(attempt.path)
    assert not work.path.exists()


@pytest.mark.slow
def test_kill_during_write_leaves_no_half_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for i in range(12):
        writer = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(path)], start_new_session=True)
        try:
            before = path.stat().st_ino if path.exists() else None
            deadline = time.monotonic() + 30
            while not path.exists() or path.stat().st_ino == before:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            for _ in range(5):  # a reader at any moment
                whole(read_json(path))
            time.sleep(0.0013 * i)
        finally:
            writer.kill()
            writer.wait()
        whole(read_json(path))


def whole(value: Any) -> None:
    assert value["n"] == value["end"]
    assert len(value["padding"]) == 300_000


def test_no_such_file_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json") is None


def write_json_into(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, value)
