"""Plans: where each trial stands, what is run first, how long it takes; and looking changes nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from suite import claim
from suite.cli import main
from suite.cli.run import _report_failures
from suite.config import Trial
from suite.files import read_json, write_json
from suite.launch import local
from suite.launch.plan import MAX_FAILURES, MAX_LOSSES, Plan, Standing, forgive, make_plan, write_plan
from suite.ledger import Ledger, OpenAttempt, State
from suite.sweep import Sweep, load_sweep
from tests.conftest import Slq

MakeTrial = Callable[..., Trial]

SLQ = {"name": "slq", "bits": 5}
TEXT = """
defaults: {network: lenet5, data: digits}
grid:
  - method: [{name: full}, {name: kmeans, bits: 3}, {name: slq, bits: 5}]
    seed: [0, 1]
"""


def sweep_of(*trials: Trial) -> Sweep:
    return Sweep("short", "", trials)


def standings(plan: Plan) -> list[Standing]:
    return [entry.standing for entry in plan.entries]


def begin(ledger: Ledger, trial: Trial) -> OpenAttempt:
    attempt = ledger.trial(trial.id).try_claim(trial.config())
    assert attempt is not None
    return attempt


def done(ledger: Ledger, trial: Trial, seconds: float = 1.0) -> None:
    with begin(ledger, trial).running() as attempt:
        attempt.finish({"config": trial.config(), "cost": {"wall_seconds": seconds}})


def broken(ledger: Ledger, trial: Trial, error: BaseException) -> None:
    with pytest.raises(type(error)), begin(ledger, trial).running():
        raise error


def failed(ledger: Ledger, trial: Trial) -> None:
    broken(ledger, trial, FloatingPointError("diverged"))


def interrupted(ledger: Ledger, trial: Trial) -> None:
    broken(ledger, trial, KeyboardInterrupt())


def lost(ledger: Ledger, trial: Trial) -> None:
    """An attempt whose owner was killed."""
    kill(begin(ledger, trial))


def kill(attempt: OpenAttempt) -> None:
    """Let the attempt's claim be that of a process that is gone."""
    content = read_json(attempt.path / claim.FILE)
    write_json(attempt.path / claim.FILE, {**content, "owner": {**content["owner"], "born": "0"}})


def test_where_each_trial_stands(ledger: Ledger, make_trial: MakeTrial) -> None:
    new, is_done, running, failed_once, was_interrupted, was_lost, given_up = (
        make_trial(SLQ, seed=s) for s in range(7)
    )
    done(ledger, is_done)
    begin(ledger, running)
    failed(ledger, failed_once)
    interrupted(ledger, was_interrupted)
    lost(ledger, was_lost)
    for _ in range(MAX_FAILURES):
        failed(ledger, given_up)
    sweep = sweep_of(new, is_done, running, failed_once, was_interrupted, was_lost, given_up)
    plan = make_plan(sweep, ledger)
    assert standings(plan) == ["new", "done", "running", "retry", "retry", "retry", "failed"]
    assert plan.counts() == {"new": 1, "retry": 3, "running": 1, "done": 1, "failed": 1}
    assert {trial.seed for trial in plan.missing} == {0, 3, 4, 5}
    assert [work.id for work in forgive(sweep, ledger)] == [given_up.id]
    again = make_plan(sweep, ledger)
    assert standings(again)[-1] == "retry"
    assert given_up in again.missing


def test_only_errors_use_up_the_tries(ledger: Ledger, make_trial: MakeTrial) -> None:
    trial = make_trial(SLQ)
    sweep = sweep_of(trial)
    for happen in (failed, lost, interrupted, lost, interrupted, failed):
        happen(ledger, trial)
        assert standings(make_plan(sweep, ledger)) == ["retry"]
    failed(ledger, trial)
    assert standings(make_plan(sweep, ledger)) == ["failed"]


def test_a_trial_that_dies_at_the_same_place_is_left_alone(ledger: Ledger, make_trial: MakeTrial) -> None:
    trial = make_trial(SLQ)
    sweep = sweep_of(trial)
    for _ in range(MAX_LOSSES):
        assert standings(make_plan(sweep, ledger)) in (["new"], ["retry"])
        lost(ledger, trial)
    assert standings(make_plan(sweep, ledger)) == ["failed"]
    forgive(sweep, ledger)
    assert standings(make_plan(sweep, ledger)) == ["retry"]
    assert ledger.trial(trial.id).losses() == 0


def test_a_trial_that_gets_further_each_time_it_is_killed_goes_on(ledger: Ledger, make_trial: MakeTrial) -> None:
    trial = make_trial(SLQ)
    for step in range(2 * MAX_LOSSES):
        attempt = begin(ledger, trial)
        attempt.emit("train", stage=1 + step // 5, step=step)
        kill(attempt)
    assert standings(make_plan(sweep_of(trial), ledger)) == ["retry"]
    assert ledger.trial(trial.id).losses() == 1


def damage(ledger: Ledger, trial: Trial, name: str, text: str) -> None:
    (ledger.trial(trial.id).path / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("result.json", "{", "result.json is damaged (Expecting property name"),
        ("result.json", '{"schema": 99}', "result.json has schema 99, this version reads up to 1; update slq"),
        ("config.json", "", "config.json is damaged (it is empty); delete it"),
        ("attempts/1/provenance.json", "[1]", "provenance.json is damaged ([1] in place of a mapping); delete it"),
        ("forgiven.json", "{}", "forgiven.json is damaged (it lacks schema, attempts); delete it"),
    ],
)
def test_a_damaged_trial_is_told_and_left_alone_and_the_rest_is_planned(
    ledger: Ledger, make_trial: MakeTrial, name: str, text: str, words: str
) -> None:
    new, sound, *bad = (make_trial(SLQ, seed=seed) for seed in range(4))
    for trial in (sound, bad[0]):
        done(ledger, trial, seconds=60)
    failed(ledger, bad[1])
    for trial in bad:
        damage(ledger, trial, name, text)
    plan = make_plan(sweep_of(new, sound, *bad), ledger)
    assert standings(plan) == ["new", "done", "unreadable", "unreadable"]
    assert [words in entry.problem for entry in plan.entries] == [False, False, True, True]
    assert (plan.missing, plan.seconds()) == ([new], 60)


def test_the_command_tells_of_a_damaged_trial_and_shows_the_plan(used: tuple[Path, Ledger], slq: Slq) -> None:
    file, ledger = used
    trial = load_sweep(file).trials[4]
    damage(ledger, trial, "result.json", "[]")
    ended = slq("plan", file, "--root", ledger.root)
    assert ended.code == 0
    assert "1 unreadable" in ended.out
    assert f"  unreadable: {trial.label}: {ledger.trial(trial.id).path}/result.json is damaged ([] in" in ended.out


def test_a_run_ends_with_what_is_damaged(
    ledger: Ledger, make_trial: MakeTrial, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = make_trial(SLQ)
    done(ledger, trial)
    damage(ledger, trial, "result.json", "")
    with pytest.raises(typer.Exit) as ended:
        _report_failures(make_plan(sweep_of(trial), ledger), {}, "slq logs x.yaml")
    assert ended.value.exit_code == 1
    assert "result.json is damaged (it is empty); delete it" in capsys.readouterr().out.replace("\n", "")


def test_an_attempt_that_does_not_say_how_it_ended_is_lost(used: tuple[Path, Ledger], slq: Slq) -> None:
    file, ledger = used
    work = ledger.trial(load_sweep(file).trials[2].id)
    with (work.attempts()[0].path / "events.jsonl").open("a") as events:
        events.write('{"event": "end"}\n')
    ended = slq("status", file, "--root", ledger.root)
    assert ended.code == 0
    assert "it does not say how it ended" in ended.out


def test_a_damaged_orphan_replaces_nothing(ledger: Ledger, make_trial: MakeTrial) -> None:
    before, now = make_trial(SLQ, holdout=64), make_trial(SLQ, holdout=65)
    failed(ledger, before)
    assert standings(make_plan(sweep_of(now), ledger)) == ["changed"]
    damage(ledger, before, "config.json", "[")
    assert standings(make_plan(sweep_of(now), ledger)) == ["new"]


@pytest.mark.parametrize("result", [{}, {"config": [], "cost": {}}, {"config": {"method": "x"}}])
def test_a_result_without_its_cost_gives_no_estimate(
    ledger: Ledger, make_trial: MakeTrial, result: dict[str, Any]
) -> None:
    new, finished = make_trial(SLQ, seed=0), make_trial(SLQ, seed=1)
    with begin(ledger, finished).running() as attempt:
        attempt.finish(result)
    plan = make_plan(sweep_of(new, finished), ledger)
    assert (standings(plan), plan.seconds()) == (["new", "done"], None)


def test_changed_settings_and_orphans(ledger: Ledger, make_trial: MakeTrial) -> None:
    before, removed = make_trial(SLQ), make_trial({"name": "kmeans", "bits": 4})
    done(ledger, before)
    failed(ledger, removed)
    after, other = make_trial({**SLQ, "rounds": 3}), make_trial(SLQ, seed=1)
    plan = make_plan(sweep_of(after, other), ledger)
    assert standings(plan) == ["changed", "new"]
    assert {work.id for work in plan.orphans} == {before.id, removed.id}
    assert plan.counts() == {"new": 1, "changed": 1, "orphan": 2}
    assert set(plan.missing) == {after, other}
    assert plan.entries[0].changes() == "method.rounds 10 -> 3"
    done(ledger, after)
    assert standings(make_plan(sweep_of(after, other), ledger)) == ["done", "new"]


def test_runtime_settings_may_be_edited_freely(ledger: Ledger, make_trial: MakeTrial) -> None:
    done(ledger, make_trial(SLQ))
    plan = make_plan(sweep_of(make_trial(SLQ, runtime={"log_steps": 7})), ledger)
    assert plan.counts() == {"done": 1}


def test_one_trial_of_each_baseline_comes_first(ledger: Ledger, make_trial: MakeTrial) -> None:
    trials = [make_trial({"name": "kmeans", "bits": bits}, seed=seed) for seed in range(3) for bits in (2, 3, 4)]
    missing = make_plan(sweep_of(*trials), ledger).missing
    assert [trial.seed for trial in missing[:3]] == [0, 1, 2]
    assert missing[:3] == [trials[0], trials[3], trials[6]]
    assert missing[3:] == [trials[i] for i in (1, 2, 4, 5, 7, 8)], "the rest is in the order of the file"


def test_no_estimate_before_a_trial_has_finished(ledger: Ledger, make_trial: MakeTrial) -> None:
    trial = make_trial(SLQ)
    failed(ledger, trial)
    assert make_plan(sweep_of(trial), ledger).seconds() is None


def test_the_estimate_is_of_the_same_kind_or_unknown(ledger: Ledger, make_trial: MakeTrial) -> None:
    slq = [make_trial(SLQ, seed=seed) for seed in range(4)]
    kmeans = make_trial({"name": "kmeans", "bits": 3})
    narrow = make_trial({"name": "slq", "bits": 3})
    done(ledger, slq[0], seconds=10)
    done(ledger, slq[1], seconds=20)
    done(ledger, kmeans, seconds=1)
    assert make_plan(sweep_of(*slq, kmeans), ledger).seconds() == pytest.approx(2 * 15)
    # nothing like it was measured, and others say nothing of it
    unlike = make_plan(sweep_of(*slq[:3], kmeans, narrow), ledger)
    assert unlike.seconds() is None
    assert unlike.unmeasured() == [narrow]
    assert unlike.seconds(probed={narrow.id: 7, slq[2].id: 1000}) == pytest.approx(15 + 7), (
        "what was measured counts more"
    )
    longer = make_trial(SLQ, seed=5, retrain={"epochs": 100})
    assert make_plan(sweep_of(*slq[:2], longer), ledger).seconds() is None
    assert make_plan(sweep_of(slq[0], kmeans), ledger).seconds() == 0


def test_the_written_plan_names_every_trial(ledger: Ledger, make_trial: MakeTrial) -> None:
    trials = [make_trial(SLQ, seed=seed) for seed in range(2)]
    write_plan(sweep_of(*trials), ledger)
    written = json.loads((ledger.path / "plan.json").read_text())
    assert [(each["id"], each["config"]) for each in written["trials"]] == [(t.id, t.config()) for t in trials]


def test_the_same_plan_is_written_once(ledger: Ledger, make_trial: MakeTrial) -> None:
    """Tables and figures that are older than it are not given to MLflow."""
    first, second = make_trial(SLQ), make_trial(SLQ, seed=1)
    file = ledger.path / "plan.json"
    write_plan(sweep_of(first), ledger)
    for plan, changes in [((first,), False), ((first, second), True), ((first, second), False)]:
        before = file.stat().st_ino
        write_plan(sweep_of(*plan), ledger)
        assert (file.stat().st_ino != before) == changes
    file.write_text("[")
    write_plan(sweep_of(first), ledger)
    assert [trial["id"] for trial in json.loads(file.read_text())["trials"]] == [first.id]


# Looking changes nothing


def listing(folder: Path) -> dict[str, Any]:
    """Everything about every file and folder that a writer would change."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.stat().st_ino,
            path.read_bytes() if path.is_file() else 0,
        )
        for path in [folder, *folder.rglob("*")]
    }


@pytest.fixture
def used(tmp_path: Path) -> tuple[Path, Ledger]:
    """A sweep file and a ledger in which everything has happened, a torn file included."""
    file = tmp_path / "short.yaml"
    file.write_text(TEXT)
    ledger = Ledger(tmp_path / "runs", "short")
    trials = load_sweep(file).trials
    begin(ledger, trials[0]).emit("start", attempt=1)
    failed(ledger, trials[1])
    lost(ledger, trials[2])
    interrupted(ledger, trials[3])
    done(ledger, trials[4])
    orphan = ledger.trial("slq-5b-loss-lenet5-digits-s9-0000000000").try_claim({})
    assert orphan is not None
    with (orphan.path / "events.jsonl").open("a") as events:
        events.write('{"event": "tr')
    return file, ledger


@pytest.mark.parametrize(
    "command",
    [["plan"], ["plan", "--verbose"], ["status"], ["logs", "k-means-3b-lenet5-digits-s0"], ["logs", "full"]],
    ids=" ".join,
)
def test_looking_changes_nothing(
    used: tuple[Path, Ledger], command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, ledger = used
    before = listing(ledger.root)
    monkeypatch.setattr(sys, "argv", ["slq", command[0], str(file), "--root", str(ledger.root), *command[1:]])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr() != ("", "")
    assert listing(ledger.root) == before


def test_looking_at_a_root_that_is_not_there_does_not_make_it(
    used: tuple[Path, Ledger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("plan", "status", "logs"):
        part = ["x"] if command == "logs" else []
        monkeypatch.setattr(sys, "argv", ["slq", command, str(used[0]), *part, "--root", str(tmp_path / "none")])
        with pytest.raises(SystemExit):
            main()
    assert not (tmp_path / "none").exists()


def test_a_state_is_read_without_the_owner_noticing(ledger: Ledger, make_trial: MakeTrial) -> None:
    trial = make_trial(SLQ)
    with begin(ledger, trial).running() as attempt:
        before = listing(ledger.root)
        assert ledger.trial(trial.id).state() is State.RUNNING
        assert standings(make_plan(sweep_of(trial), ledger)) == ["running"]
        assert listing(ledger.root) == before
        attempt.finish({})


def test_waiting_for_another_process_makes_no_plan_until_it_has_ended(
    ledger: Ledger, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = make_trial(SLQ)
    elsewhere, plans, naps = begin(ledger, trial), [], []

    def plan(sweep: Sweep, ledger: Ledger) -> Plan:
        plans.append(make_plan(sweep, ledger))
        return plans[-1]

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            with elsewhere.running():
                elsewhere.finish({})

    monkeypatch.setattr(local, "make_plan", plan)
    monkeypatch.setattr(local, "time", SimpleNamespace(sleep=nap))
    last, errors = local.run_local(sweep_of(trial), ledger, Path(), local.Workers(1))
    assert (standings(last), errors, len(naps), len(plans)) == (["done"], {}, 3, 2)
