"""Trial folders that are damaged or half-written: told by trial, file, flaw and remedy; all else is shown."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import suite
from suite import claim
from suite.errors import UserError
from suite.launch.plan import is_missing, is_over, standing
from suite.launch.worker import _each_once
from suite.ledger import SCHEMA, Ledger, OpenAttempt, Work, in_words
from suite.snapshot import Watch
from suite.sweep import Sweep, load_sweep
from tests.conftest import Slq
from tests.test_load import SWEEP, attempt, stage_one, stage_two

DELETE = "delete it"
CONFIG, RESULT, PROVENANCE = "config.json", "result.json", "attempts/1/provenance.json"


def write(text: str | bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(text if isinstance(text, bytes) else text.encode())


def edit(**changes: Any) -> Callable[[Path], object]:
    """Other values for some keys; None takes one out."""

    def change(file: Path) -> None:
        content = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return change


def into_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def unreadable(file: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    file.chmod(0)


ANY_FILE: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "empty": (write(""), ["it is empty", DELETE]),
    "cut": (write('{"schema": 1, "trial": "k'), ["is damaged (Unterminated string", DELETE]),
    "list": (write("[1]"), ["[1] in place of a mapping", DELETE]),
    "number": (write("3"), ["3 in place of a mapping", DELETE]),
    "deep": (write("[" * 100_000), ["it is nested too deeply", DELETE]),
    "null": (write("null"), ["null in place of a mapping", DELETE]),
    "no UTF-8": (write(b'{"a": "\xff"}'), ["it is no text in UTF-8", DELETE]),
    "folder": (into_folder, ["it is a folder", DELETE]),
    "forbidden": (unreadable, ["cannot be read (Permission denied)"]),
    "newer": (edit(schema=SCHEMA + 1), [f"has schema {SCHEMA + 1}, this version reads up to {SCHEMA}; update slq"]),
    "schema is a word": (edit(schema="one"), ["schema is 'one'", DELETE]),
}
DAMAGES = [
    *((name, what, *damage) for name in (CONFIG, RESULT, PROVENANCE) for what, damage in ANY_FILE.items()),
    (CONFIG, "lacks", edit(schema=None), ["it lacks schema", DELETE]),
    (CONFIG, "lacks a setting", edit(method=None), ["its method is None, planned is {'name'", DELETE]),
    (CONFIG, "another setting", edit(seed="x"), ["its seed is 'x', planned is 0", DELETE]),
    (RESULT, "lacks", edit(schema=None), ["it lacks schema", DELETE]),
    (PROVENANCE, "commit", edit(commit=["a"]), ["commit is ['a']", DELETE]),
    (PROVENANCE, "dirty", edit(dirty="no"), ["dirty is 'no'", DELETE]),
    (PROVENANCE, "versions", edit(versions=[1]), ["versions is [1]", DELETE]),
    ("forgiven.json", "empty", write(""), ["it is empty", DELETE]),
    ("forgiven.json", "a word", write('{"schema": 1, "attempts": "x"}'), ["attempts is 'x'", DELETE]),
]
every_damage = pytest.mark.parametrize(
    ("name", "damage", "words"), [d[0:1] + d[2:] for d in DAMAGES], ids=[f"{d[0]}: {d[1]}" for d in DAMAGES]
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def sweep(file: Path) -> Sweep:
    return load_sweep(file)


@pytest.fixture
def ledger(sweep: Sweep, tmp_path: Path) -> Ledger:
    """Three of six trials are done; the first one is that which is damaged."""
    ledger = Ledger(tmp_path / "runs", sweep.name)
    for trial in sweep.trials[:3]:
        attempt(ledger, trial, stage_one, stage_two, top1=0.9)
        provenance = ledger.trial(trial.id).path / PROVENANCE
        provenance.write_text(json.dumps({"commit": "c0ffee", "dirty": False, "versions": {"torch": "2.0"}}))
    return ledger


def attempt_at(work: Work, config: dict[str, Any]) -> OpenAttempt:
    begun = work.try_claim(config)
    assert begun is not None
    return begun


@pytest.fixture
def bad(ledger: Ledger, sweep: Sweep) -> Work:
    return ledger.trial(sweep.trials[0].id)


@every_damage
def test_every_reader_tells_it_in_a_line_and_shows_the_rest(
    slq: Slq,
    file: Path,
    sweep: Sweep,
    ledger: Ledger,
    bad: Work,
    name: str,
    damage: Callable[[Path], object],
    words: list[str],
) -> None:
    damage(bad.path / name)
    status = slq("status", file, "--root", ledger.root)
    assert (status.code, "2 of 6 trials done, 3 new, 1 unreadable" in status.out) == (0, True), status
    assert "6 trials (3 new, 2 done, 1 unreadable)" in slq("plan", file, "--root", ledger.root).out
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = suite.load(file, ledger.root)
    (warning,) = (str(each.message) for each in caught)
    assert frame["state"].tolist() == ["unreadable", "done", "done", "new", "new", "new"]
    (shown,) = [line for line in status.out.splitlines() if line.startswith("unreadable: ")]
    for text in (shown, warning):
        assert [word for word in (bad.id, name, *words) if word not in text] == [], text
        assert "Error" not in text
        assert "\n" not in text


@pytest.mark.parametrize(
    "line",
    [b"x\n", b"[]\n", b'{"t": 1}\n', b"\xff\n", b"[" * 100_000 + b"\n"],
    ids=["no JSON", "list", "no kind", "no UTF-8", "deep"],
)
def test_damaged_lines_among_the_events_are_counted(
    slq: Slq, file: Path, ledger: Ledger, bad: Work, line: bytes
) -> None:
    events = bad.path / "attempts" / "1" / "events.jsonl"
    whole = suite.load_steps(file, ledger.root)
    first, rest = events.read_bytes().split(b"\n", 1)
    events.write_bytes(first + b"\n" + 2 * line + rest)
    with pytest.warns(UserWarning, match=f"{bad.id} is shown without 2 damaged lines of attempts/1/events.jsonl"):
        steps = suite.load_steps(file, ledger.root)
    assert steps.equals(whole)
    events.write_bytes(first + b"\n" + rest + b'{"t": 5, "event": "tra')  # as a killed process leaves it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert suite.load_steps(file, ledger.root).equals(whole)


def test_events_that_are_a_folder_cost_the_courses_alone(slq: Slq, file: Path, ledger: Ledger, bad: Work) -> None:
    into_folder(bad.path / "attempts" / "1" / "events.jsonl")
    assert suite.load(file, ledger.root)["top1"].notna().sum() == 3
    with pytest.warns(UserWarning, match=r"events.jsonl is damaged \(it is a folder\); delete it, and only what"):
        steps = suite.load_steps(file, ledger.root)
    assert steps["id"].nunique() == 2


def test_a_config_that_was_deleted_is_taken_from_the_result(ledger: Ledger, sweep: Sweep, bad: Work) -> None:
    settings = sweep.trials[0].config()
    (bad.path / RESULT).write_text(json.dumps({"schema": SCHEMA, "config": settings}))
    (bad.path / CONFIG).unlink()
    assert bad.config() == settings
    bad.check(settings)


def test_what_may_differ_between_attempts_is_no_damage(bad: Work, sweep: Sweep) -> None:
    edit(runtime={"log_steps": 99}, retrain={"epochs": 999})(bad.path / CONFIG)  # k-means trains nothing
    bad.check(sweep.trials[0].canonical())
    with pytest.raises(UserError, match="its seed is 0, planned is 7"):
        bad.check({**sweep.trials[0].canonical(), "seed": 7})


def test_settings_of_the_retraining_are_those_planned_where_there_is_one(ledger: Ledger, sweep: Sweep) -> None:
    trial = sweep.trials[2]
    work = ledger.trial(trial.id)
    edit(runtime={"log_steps": 99})(work.path / CONFIG)
    assert standing(work, trial.canonical()) == "done"
    edit(retrain={**trial.config()["retrain"], "epochs": 999})(work.path / CONFIG)
    assert standing(work, trial.canonical()) == "unreadable"


def test_what_cannot_change_the_outcome_may_be_edited_without_a_warning(file: Path, ledger: Ledger) -> None:
    file.write_text(SWEEP.replace("{network", "{runtime: {log_steps: 7}, network"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert suite.load(file, ledger.root)["state"].tolist() == ["done"] * 3 + ["new"] * 3


@pytest.mark.parametrize("settings", [[1], None, "x"])
def test_a_result_without_settings_is_no_substitute_for_a_config(
    slq: Slq, file: Path, ledger: Ledger, bad: Work, settings: Any
) -> None:
    (bad.path / CONFIG).unlink()
    (bad.path / RESULT).write_text(json.dumps({"schema": SCHEMA, "config": settings}))
    for command in ("plan", "status"):
        ended = slq(command, file, "--root", ledger.root)
        words = f"result.json is damaged (config is {json.dumps(settings)}); delete it, and the trial runs again"
        assert (ended.code, words in ended.out) == (0, True), ended


@every_damage
def test_what_is_damaged_is_left_alone_by_all_and_waited_for_by_none(
    sweep: Sweep, ledger: Ledger, bad: Work, name: str, damage: Callable[[Path], object], words: list[str]
) -> None:
    damage(bad.path / name)
    if name != RESULT:
        (bad.path / RESULT).unlink()
    only = Sweep(sweep.name, "", sweep.trials[:3])
    assert standing(bad, only.trials[0].canonical()) == "unreadable"
    assert not is_missing(bad, only.trials[0].canonical())
    assert list(_each_once(only.trials, ledger)) == []
    assert is_over(only, ledger)
    snapshot = Watch(only, ledger).look()
    assert (snapshot.finished, snapshot.left, snapshot.is_over()) == (2, 0, True)


def test_a_running_trial_is_judged_when_it_has_ended(sweep: Sweep, ledger: Ledger) -> None:
    trial = sweep.trials[3]
    work = ledger.trial(trial.id)
    attempt_at(work, trial.config())
    (work.path / CONFIG).write_text("")
    assert standing(work, trial.canonical()) == "running"
    assert Watch(sweep, ledger).look().counts == {"done": 3, "running": 1, "new": 2}
    claim.release(work.path / "attempts" / "1")
    assert standing(work, trial.canonical()) == "unreadable"


def test_a_look_reads_each_trial_once_and_those_that_are_done_never_again(
    sweep: Sweep, ledger: Ledger, bad: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = ledger.trial(sweep.trials[3].id)
    attempt_at(lost, sweep.trials[3].config())
    claim.release(lost.path / "attempts" / "1")
    read: Counter[str] = Counter()
    check = Work.check

    def counted(work: Work, planned: Any = None) -> None:
        read[work.id] += 1
        check(work, planned)

    monkeypatch.setattr(Work, "check", counted)
    watch = Watch(sweep, ledger)
    assert watch.look().counts == {"done": 3, "lost": 1, "new": 2}
    assert set(read.values()) == {1}
    (bad.path / RESULT).write_text("")
    assert watch.look().finished == 3
    assert [read[trial.id] for trial in sweep.trials] == [1, 1, 1, 2, 2, 2]
    assert Watch(sweep, ledger).look().finished == 2


def test_what_makes_no_sense_may_be_the_readers_fault_and_is_not_to_be_removed() -> None:
    told = [in_words(error) for error in (AttributeError("'int' has no 'get'"), TypeError("x"), IndexError("y"))]
    assert told[0] == "what it recorded makes no sense (AttributeError: 'int' has no 'get'); restore its files"
    assert not any("remove" in text for text in told)
    assert in_words(KeyError("t")).startswith("what it recorded lacks 't'; restore its files, or remove its folder")


def test_events_and_their_damaged_lines_take_one_reading(bad: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    (attempt,) = bad.attempts()
    events = attempt.events()
    file = attempt.path / "events.jsonl"
    file.write_bytes(b"x\n" + file.read_bytes() + b'{"t": 5, "event": "tra')
    parsed = []
    monkeypatch.setattr(
        suite.ledger, "_parse", lambda line, parse=suite.ledger._parse: parsed.append(line) or parse(line)
    )
    assert attempt.read_events() == (events, 1)
    assert len(parsed) == len(events) + 2


def test_figures_and_report_tell_of_damaged_lines_once(slq: Slq, file: Path, sweep: Sweep, ledger: Ledger) -> None:
    attempt(ledger, sweep.trials[3], stage_one)
    cut_off = ledger.trial(sweep.trials[3].id)
    events = cut_off.path / "attempts" / "1" / "events.jsonl"
    events.write_bytes(b"x\n" + events.read_bytes())
    for command in ("figures", "report"):
        ended = slq(command, file, "--root", ledger.root)
        assert ended.code == 0
        assert ended.out.count(f"{cut_off.id} is shown without 1 damaged line of attempts/1/events.jsonl") == 1
    page = (ledger.root / "reports" / "small.html").read_text()
    assert page.count("1 damaged line of events.jsonl left out") == 1
