"""Trials that do worse than others are stopped early: asked to, saved, not done, and able to go on later."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from suite.config import Trial
from suite.errors import UserError
from suite.launch.early import ACCURACY, PERCENT, REASON, Early, standing_of, was_stopped_early
from suite.launch.plan import Standing, standing
from suite.ledger import Ledger, State
from suite.trial import run_trial


@dataclass(frozen=True)
class Candidate:
    """What Tune's schedulers need of its trials."""

    trial_id: str


def early(name: str, folder: Path) -> Early:
    made = Early.of(name, folder / "verdicts")
    assert made is not None
    return made


@pytest.mark.parametrize("name", ["asha", "median"])
def test_the_worst_is_judged_and_tune_ends_nothing_itself(name: str, tmp_path: Path) -> None:
    chosen = early(name, tmp_path)
    scheduler = chosen.scheduler()
    candidates = {Candidate(f"t{i}"): accuracy for i, accuracy in enumerate([0.9, 0.92, 0.94, 0.3])}
    for candidate in candidates:
        scheduler.on_trial_add(None, candidate)
    for percent in (20, 40, 60, 80):
        for candidate, accuracy in candidates.items():
            result = {"trial": candidate.trial_id, PERCENT: percent, ACCURACY: accuracy}
            assert scheduler.on_trial_result(None, candidate, result) == scheduler.CONTINUE
    assert chosen.judged("t3")
    assert not chosen.judged("t2"), "the best goes on"
    for candidate in candidates:  # the last report tells how it ended
        scheduler.on_trial_complete(None, candidate, {"trial": candidate.trial_id, "error": ""})


def test_nothing_is_judged_at_the_start(tmp_path: Path) -> None:
    chosen = early("asha", tmp_path)
    scheduler = chosen.scheduler()
    for i, accuracy in enumerate([0.9, 0.92, 0.94, 0.3]):
        scheduler.on_trial_add(None, candidate := Candidate(f"t{i}"))
        scheduler.on_trial_result(None, candidate, {"trial": f"t{i}", PERCENT: 20, ACCURACY: accuracy})
    assert not any(chosen.judged(f"t{i}") for i in range(4))


def test_trials_with_different_numbers_of_stages_are_compared_at_equal_shares() -> None:
    assert standing_of({"stage": 1, "stages": 4, "top1": 0.5}) == {PERCENT: 25.0, ACCURACY: 0.5}
    assert standing_of({"stage": 2, "stages": 8, "top1": 0.5}) == {PERCENT: 25.0, ACCURACY: 0.5}


def test_names(tmp_path: Path) -> None:
    assert Early.of("none", tmp_path) is None
    with pytest.raises(UserError, match="allowed: none, asha, median - did you mean 'asha'"):
        Early.of("ahsa", tmp_path)


PACK = """
import json, sys
from pathlib import Path
from suite.config import Trial
from suite.launch.early import Early
from suite.launch.local import Workers, _ray
from suite.launch.pack import pack
from suite.ledger import Ledger

root, scheduler, *trials = sys.argv[1:]
with _ray(Workers(1)) as storage:
    said = pack(
        [Trial.model_validate_json(trial) for trial in trials], Ledger(Path(root), "short"), Path("data"), storage,
        cpus=lambda _: 1, gpus=0.0, at_once=1, early=Early.of(scheduler, Path(root) / "verdicts"),
    )
print(json.dumps(said))
"""


def packed(ledger: Ledger, scheduler: str, *trials: Trial) -> dict[str, str]:
    """What went wrong; in a process of its own, as Ray reads its environment when it is first imported."""
    command = [sys.executable, "-c", PACK, str(ledger.root), scheduler, *(trial.model_dump_json() for trial in trials)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    said: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.slow
def test_a_judged_trial_saves_is_not_done_and_goes_on_later_as_if_nothing_had_been(
    tmp_path: Path, make_trial: Callable[..., Trial], ledger: Ledger
) -> None:
    def trial(learning_rate: float) -> Trial:
        retrain = {"epochs": 3, "batch_size": 128, "learning_rate": learning_rate}
        method = {"name": "slq", "bits": 5, "schedule": [3, 9, 13, 15, 17]}
        return make_trial(method, retrain=retrain, baseline={"epochs": 4, "batch_size": 128})

    first, second = trial(0.02), trial(1e-6)  # the second one never recovers from being quantized
    good, bad = ledger.trial(first.id), ledger.trial(second.id)
    said = packed(ledger, "asha", first, second)
    assert list(said) == [bad.id]
    assert REASON in said[bad.id]
    assert good.state() is State.DONE
    assert bad.result() is None
    assert bad.checkpoint.exists()
    assert was_stopped_early(bad)
    assert not was_stopped_early(good)
    assert bad.why_failed() == "stopped early by asha: others did better"
    assert standing(bad) is not Standing.FAILED

    assert run_trial(second, ledger, Path("data"))
    assert "resuming at stage" in bad.attempts()[-1].log()
    assert bad.state() is State.DONE
    assert not was_stopped_early(bad)
    undisturbed = Ledger(tmp_path / "undisturbed", "short")
    run_trial(second, undisturbed, Path("data"))
    assert bad.model.read_bytes() == undisturbed.trial(bad.id).model.read_bytes()
