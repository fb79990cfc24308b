"""Claims: of any number of contenders one wins, a dead owner blocks nobody, and an owner that lost its work is told."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from suite import claim
from suite.claim import Owner, SupersededError, is_live, last_attempt, release, try_claim
from suite.files import write_json

PROCESSES, ROUNDS = 8, 20

CLAIM_AND_WAIT = """
import sys, time
from pathlib import Path
from suite.claim import try_claim
assert try_claim(Path(sys.argv[1])) is not None
print("claimed", flush=True)
time.sleep(600)
"""


def put_claim(attempts: Path, number: int = 1, *, expires_in: float = 100.0, **owner: Any) -> Path:
    """An attempt of this very process, changed by `owner`, with a claim that expires in so many seconds."""
    attempt = attempts / str(number)
    attempt.mkdir(parents=True)
    write_json(
        attempt / claim.FILE, {"owner": {**asdict(Owner.current()), **owner}, "expires": time.time() + expires_in}
    )
    return attempt


def contend(folder: Path, barrier: Barrier) -> list[bool]:
    """Whether this process won each round; all contenders start each round together."""
    won = []
    for number in range(ROUNDS):
        barrier.wait(60)
        won.append(try_claim(folder / str(number)) is not None)
    return won


def contender(folder: Path, barrier: Barrier, wins: Any) -> None:
    wins.put(contend(folder, barrier))


@pytest.mark.slow
def test_of_many_contenders_exactly_one_wins(tmp_path: Path) -> None:
    taken_over = range(0, ROUNDS, 2)  # in every other round the work of somebody who is gone is to be had
    for number in taken_over:
        put_claim(tmp_path / str(number), expires_in=-1, host="elsewhere")
    spawn = multiprocessing.get_context("spawn")
    barrier, wins = spawn.Barrier(PROCESSES), spawn.Queue()
    processes = [spawn.Process(target=contender, args=(tmp_path, barrier, wins)) for _ in range(PROCESSES)]
    try:
        for process in processes:
            process.start()
        outcomes = [wins.get(timeout=90) for _ in processes]
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    assert [sum(won) for won in zip(*outcomes, strict=True)] == [1] * ROUNDS
    for number in range(ROUNDS):
        expected = ["1", "2"] if number in taken_over else ["1"]
        assert sorted(p.name for p in (tmp_path / str(number)).iterdir()) == expected, "nothing is left of the losers"


def test_the_slower_of_two_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen that nobody is at it; the second arrives when the first has the number already."""
    first = try_claim(tmp_path)
    monkeypatch.setattr(claim, "last_attempt", lambda attempts: 0)
    assert first is not None
    assert try_claim(tmp_path) is None
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_a_live_claim_refuses(tmp_path: Path) -> None:
    held = try_claim(tmp_path / "attempts")
    assert held is not None
    assert held.number == 1
    assert is_live(held.attempt)
    assert try_claim(tmp_path / "attempts") is None
    held.check()


def test_a_killed_owner_is_taken_over_at_once(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "claimed\n"
        assert try_claim(tmp_path) is None
        owner.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10  # far less than the expiry; nobody has waited for the zombie yet
        while (taken := try_claim(tmp_path)) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert taken is not None
        assert taken.number == 2
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("owner", "expires_in", "live"),
    [
        ({}, 100, True),
        ({}, -1, False),
        ({"host": "elsewhere"}, 100, True),
        ({"host": "elsewhere"}, -1, False),
        ({"host": "elsewhere", "pid": 2**22 + 1, "born": "1"}, 100, True),  # cannot be known from here
        ({"born": "1"}, 100, False),  # the number of a dead process was given to another, this one
        ({"pid": 2**22 + 1}, 100, False),  # no such process
    ],
    ids=["mine", "mine-expired", "foreign", "foreign-expired", "foreign-unknown", "pid-reused", "gone"],
)
def test_who_may_be_taken_over(tmp_path: Path, owner: dict[str, Any], expires_in: float, live: bool) -> None:
    attempt = put_claim(tmp_path, expires_in=expires_in, **owner)
    assert is_live(attempt) is live
    taken = try_claim(tmp_path)
    assert (taken is None) is live
    assert taken is None or taken.number == 2


def test_a_superseded_owner_is_told(tmp_path: Path) -> None:
    put_claim(tmp_path)
    old = claim.Claim(tmp_path / "1")
    old.check()
    write_json(old.attempt / claim.FILE, {"owner": asdict(Owner.current()), "expires": time.time() - 1})
    new = try_claim(tmp_path)
    assert new is not None
    new.check()
    with pytest.raises(SupersededError, match="attempt 1"):
        old.check()


def test_release_lets_others_in_at_once(tmp_path: Path) -> None:
    held = try_claim(tmp_path)
    assert held is not None
    release(held.attempt)
    assert not is_live(held.attempt)
    next_one = try_claim(tmp_path)
    assert next_one is not None
    assert next_one.number == 2


@pytest.mark.parametrize(
    "content",
    ["", '{"owner": {"host": "x", "pi', "\x00\x00", "null", "[]", "5", "{}", '{"owner": {"a": 1}, "expires": 9e99}'],
)
def test_a_damaged_claim_blocks_nobody(tmp_path: Path, content: str) -> None:
    attempt = put_claim(tmp_path)
    (attempt / claim.FILE).write_text(content)
    assert not is_live(attempt)
    taken = try_claim(tmp_path)
    assert taken is not None
    assert taken.number == 2


def test_a_missing_claim_file_blocks_nobody(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    taken = try_claim(tmp_path)
    assert taken is not None
    assert taken.number == 8


def test_the_owner_renews_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "RENEWAL", 0.01)
    held = try_claim(tmp_path)
    assert held is not None
    expiry = expires(held.attempt)
    with held:
        wait_until(lambda: expires(held.attempt) > expiry)
    expiry = expires(held.attempt)
    time.sleep(0.1)
    assert expires(held.attempt) == expiry


def test_a_superseded_owner_renews_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "RENEWAL", 0.05)
    held = try_claim(tmp_path)
    assert held is not None
    expiry = expires(held.attempt)
    (tmp_path / "2").mkdir()
    with held:
        time.sleep(0.3)
    assert expires(held.attempt) == expiry


def test_attempts_are_numbered_and_half_made_ones_do_not_count(tmp_path: Path) -> None:
    assert last_attempt(tmp_path / "none") == 0
    for name in ("9", "10", ".11.abcd", "notes"):
        (tmp_path / name).mkdir()
    assert last_attempt(tmp_path) == 10


def test_this_process_is_alive_and_the_same_each_time() -> None:
    assert Owner.current() == Owner.current()
    assert not Owner.current().is_dead()
    assert Owner.current().pid == os.getpid()


def expires(attempt: Path) -> float:
    return float(json.loads((attempt / claim.FILE).read_text())["expires"])


def wait_until(true: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


# Jobs of Slurm


def test_the_job_is_in_the_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Owner.current().job, Owner.current().restart) == ("", 0)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert (Owner.current().job, Owner.current().restart) == ("17", 0)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "15")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    held = try_claim(tmp_path / "attempts")
    assert held is not None
    owner = claim.owner_of(held.attempt)
    assert owner is not None
    assert (owner.job, owner.restart) == ("15_4", 2)


@pytest.mark.parametrize(
    ("job", "restart", "live"),
    [("15_4", 0, False), ("15_4", 1, False), ("15_4", 2, True), ("15_4", 3, True), ("15_5", 0, True), ("", 0, True)],
)
def test_an_earlier_run_of_our_own_job_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, restart: int, live: bool
) -> None:
    attempt = put_claim(tmp_path, host="elsewhere", job=job, restart=restart)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "15")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert is_live(attempt) is live


def test_outside_of_slurm_no_job_is_known_to_be_over(tmp_path: Path) -> None:
    assert is_live(put_claim(tmp_path, host="elsewhere", job="", restart=-1))


def test_claims_of_older_versions_are_read(tmp_path: Path) -> None:
    attempt = put_claim(tmp_path, host="elsewhere")
    content = json.loads((attempt / claim.FILE).read_text())
    del content["owner"]["job"], content["owner"]["restart"]
    write_json(attempt / claim.FILE, content)
    assert is_live(attempt)
