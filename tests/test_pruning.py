"""Pruned starting points: made once, shared, exact to the weight, and the same however often they were interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite import checkpoint
from suite.config import Trial
from suite.errors import UserError
from suite.ledger import Ledger
from suite.pack.store import load_state
from suite.trial import run_trial
from tests.contract.test_methods import Killed, Saves

PRUNE = {"kept": {"conv2": 0.5, "fc1": 0.1}, "rounds": 3, "epochs": 2, "batch_size": 128}
SIZES = {"conv2": 2400, "fc1": 48000}


def zeros(path: Path) -> dict[str, int]:
    return {name: int((tensor == 0).sum()) for name, tensor in load_state(path).items() if name.endswith("weight")}


def test_trials_share_it_and_keep_its_zeros(make_trial: Callable[..., Trial], ledger: Ledger) -> None:
    methods: list[dict[str, Any]] = [{"name": "full"}, {"name": "deep-compression", "tune": "mean"}, {"name": "twn"}]
    trials = [make_trial(method, prune=PRUNE) for method in methods]
    for trial in trials:
        assert run_trial(trial, ledger, Path("data"))
    start = ledger.baseline(trials[0].start_id)
    assert len(start.attempts()) == 1
    pruned = zeros(start.model)
    assert pruned["fc1.weight"] == SIZES["fc1"] - round(0.1 * SIZES["fc1"])
    assert pruned["conv2.weight"] == SIZES["conv2"] - round(0.5 * SIZES["conv2"])
    assert pruned["fc2.weight"] == 0
    found, full = start.result(), ledger.trial(trials[0].id).result()
    assert found is not None
    assert full is not None
    assert full["quantized"] == {key: found["metrics"][key] for key in full["quantized"]}
    assert full["start"]["id"] == start.id
    assert found["metrics"]["kept"] == pytest.approx(1 - sum(pruned.values()) / 61470, abs=1e-9)
    for trial in trials[1:]:
        after = zeros(ledger.trial(trial.id).model)
        assert all(after[name] >= count for name, count in pruned.items())


def test_one_threshold_for_all_layers(make_trial: Callable[..., Trial], ledger: Ledger) -> None:
    trial = make_trial({"name": "full"}, prune={**PRUNE, "kept": 0.2, "rounds": 1})
    run_trial(trial, ledger, Path("data"))
    after = zeros(ledger.baseline(trial.start_id).model)
    assert sum(after.values()) == pytest.approx(0.8 * 61470, abs=6)
    assert after["fc1.weight"] / SIZES["fc1"] > after["conv2.weight"] / SIZES["conv2"]


@pytest.mark.parametrize("dies_after", [2, 7, 12])
def test_it_resumes_bit_exactly(
    dies_after: int, make_trial: Callable[..., Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = make_trial({"name": "full"}, prune=PRUNE, runtime={"checkpoint_seconds": 1e-9})
    models = []
    for name in ("undisturbed", "killed"):
        ledger = Ledger(tmp_path / name, "short")
        run_trial(make_trial({"name": "full"}), ledger, Path("data"))  # makes the baseline
        if name == "killed":
            monkeypatch.setattr(checkpoint, "save", Saves([dies_after]))
            with pytest.raises(Killed):
                run_trial(trial, ledger, Path("data"))
            monkeypatch.setattr(checkpoint, "save", Saves())
        run_trial(trial, ledger, Path("data"))
        models.append(ledger.baseline(trial.start_id).model.read_bytes())
        assert len(ledger.baseline(trial.start_id).attempts()) == (2 if name == "killed" else 1)
    assert models[0] == models[1]


@pytest.mark.parametrize(
    "method",
    [
        {"name": "kmeans", "bits": 3, "tune": "mean"},
        {"name": "twn"},
        {"name": "slq", "bits": 2, "partition": "magnitude"},
    ],
    ids=lambda method: method["name"],
)
def test_a_trial_that_begins_pruned_resumes_bit_exactly(
    method: dict[str, Any], make_trial: Callable[..., Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = make_trial(method, prune={**PRUNE, "rounds": 1}, runtime={"checkpoint_seconds": 1e-9})
    run_trial(make_trial({"name": "full"}, prune={**PRUNE, "rounds": 1}), Ledger(tmp_path, "start"), Path("data"))
    models = []
    for name, deaths in (("undisturbed", []), ("killed", [5])):
        ledger = Ledger(tmp_path, name)  # of the same root: they share the starting point
        monkeypatch.setattr(checkpoint, "save", Saves(deaths))
        if deaths:
            with pytest.raises(Killed):
                run_trial(trial, ledger, Path("data"))
            monkeypatch.setattr(checkpoint, "save", Saves())
        run_trial(trial, ledger, Path("data"))
        models.append(ledger.trial(trial.id).model.read_bytes())
    assert models[0] == models[1]


def test_a_start_made_with_other_data_is_refused(make_trial: Callable[..., Trial], ledger: Ledger) -> None:
    trial = make_trial({"name": "full"}, prune={**PRUNE, "rounds": 1})
    run_trial(trial, ledger, Path("data"))
    file = ledger.baseline(trial.start_id).path / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"data_sha256": "0123456789"}))
    other = make_trial({"name": "twn"}, prune={**PRUNE, "rounds": 1})
    with pytest.raises(UserError, match=trial.start_id):
        run_trial(other, ledger, Path("data"))
