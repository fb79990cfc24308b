"""What every method must do as a trial: reload exactly, be deterministic, resume bit-exactly, refuse what is impossible."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from suite import checkpoint
from suite.config import Trial
from suite.data import open_data
from suite.evaluate import evaluate
from suite.ledger import Ledger, State, Work
from suite.nets import build_network, quantizable
from suite.pack.store import load_network, load_state
from suite.session import best_device
from suite.train import Compute, make_deterministic
from suite.trial import run_trial
from tests.conftest import SHORT
from tests.contract.configurations import BAD, CONFIGURATIONS, most_values

HERE = Compute(best_device(), bfloat16=False)  # where the trials of this file run

every_method = pytest.mark.parametrize("method", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())


def outcome(result: dict[str, Any] | None) -> dict[str, Any]:
    """A result without what may differ between two runs of one trial: what it cost, and in how many attempts."""
    assert result is not None
    kept = {key: value for key, value in result.items() if key not in ("cost", "sources")}
    return kept | {"steps": result["cost"]["steps"], "data": result["sources"]["data_sha256"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that holds the baseline of all trials of `make_trial`, so that not every test makes it anew."""
    root = tmp_path_factory.mktemp("made")
    trial = Trial.model_validate({**SHORT, "method": {"name": "full"}})
    run_trial(trial, Ledger(root, "short"), Path("data"))
    return root


@pytest.fixture(autouse=True)
def _baseline_at_hand(made: Path, tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "runs"):
        shutil.copytree(made / "baselines", root / "baselines")


@every_method
def test_ends_quantized_and_reloads_exactly(
    method: dict[str, Any], make_trial: Callable[..., Trial], ledger: Ledger
) -> None:
    trial = make_trial(method)
    assert run_trial(trial, ledger, Path("data"))
    work = ledger.trial(trial.id)
    result, state = work.result(), load_state(work.model)
    assert result is not None
    selected = trial.method.select(trial.layer_names())
    assert [layer["name"] for layer in result["layers"]] == selected
    for layer in result["layers"]:
        assert len(torch.unique(state[f"{layer['name']}.weight"])) == layer["values"]
        promised = most_values(method)
        assert promised is None or layer["values"] <= promised
    if method["name"] in ("twn", "ttq") or getattr(trial.method, "tune", "none") != "none":
        # Re-training sees the very network that comes out.
        assert result["stages"][0]["retrained"] == result["quantized"]
    source = open_data("digits", Path("data"), ledger.root / "cache")
    model = build_network("lenet5", 1, 28, 10, seed=99).to(HERE.device)
    load_network(work.model, model)
    make_deterministic(trial.threads)
    assert asdict(evaluate(model, source, HERE)) == result["quantized"]


@every_method
def test_is_deterministic(method: dict[str, Any], make_trial: Callable[..., Trial], tmp_path: Path) -> None:
    """With a batch larger than the data, which is then all of the data, incomplete as it is."""
    trial = make_trial(method, retrain={"epochs": 1, "batch_size": 5000})
    results = []
    for name in ("one", "two"):
        ledger = Ledger(tmp_path / name, "short")
        torch.manual_seed(len(results))  # state that others left behind must not matter
        torch.rand(3)
        run_trial(trial, ledger, Path("data"))
        results.append(outcome(ledger.trial(trial.id).result()))
    assert results[0] == results[1]


def training(work: Work) -> dict[int, dict[str, Any]]:
    """The recorded training points by step, over all attempts."""
    events = [e for attempt in work.attempts() for e in attempt.events() if e["event"] == "train"]
    return {e["step"]: {key: value for key, value in e.items() if key != "t"} for e in events}


class Killed(BaseException):
    """Stands for the end of the process."""


class DyingSave:
    """`checkpoint.save`, after whose n-th call the process ends."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.real, self.dies_after, self.count = checkpoint.save, dies_after, 0

    def __call__(self, *arguments: Any) -> None:
        self.real(*arguments)
        self.count += 1
        if self.count == self.dies_after:
            raise Killed


@every_method
def test_resumes_bit_exactly(
    method: dict[str, Any], make_trial: Callable[..., Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checkpoint at every step, stopped after the first, after the last, and amid re-training: always the same."""
    trial = make_trial(method, runtime={"checkpoint_seconds": 1e-9, "log_steps": 2})
    undisturbed = Ledger(tmp_path, "undisturbed")  # of the same root: they share the baseline
    counting = DyingSave()
    monkeypatch.setattr(checkpoint, "save", counting)
    run_trial(trial, undisturbed, Path("data"))
    if counting.count == 0:
        pytest.skip("nothing to resume: a trial without stages saves no checkpoint")
    # A stage saves once when it has snapped, at each of its steps (9, or 1 where stages share few), and when it closes.
    for n in sorted({1, min(counting.count // 2 + 3, counting.count), counting.count}):
        ledger = Ledger(tmp_path, f"stopped-after-{n}")
        monkeypatch.setattr(checkpoint, "save", DyingSave(dies_after=n))
        with pytest.raises(Killed):
            run_trial(trial, ledger, Path("data"))
        assert ledger.trial(trial.id).state() is State.LOST
        monkeypatch.setattr(checkpoint, "save", DyingSave())
        assert run_trial(trial, ledger, Path("data"))
        assert "resuming at stage" in ledger.trial(trial.id).attempts()[-1].log()
        assert outcome(ledger.trial(trial.id).result()) == outcome(undisturbed.trial(trial.id).result())
        assert training(ledger.trial(trial.id)) == training(undisturbed.trial(trial.id))
        assert ledger.trial(trial.id).model.read_bytes() == undisturbed.trial(trial.id).model.read_bytes()


@pytest.mark.parametrize(("name", "options"), BAD)
def test_refuses_impossible_settings(name: str, options: dict[str, Any], make_trial: Callable[..., Trial]) -> None:
    """For the option's own sake: a misspelt one would be refused, too."""
    with pytest.raises(ValidationError) as caught:
        make_trial({"name": name, **options})
    errors = caught.value.errors()
    texts = " ".join(f"{error['loc']} {error['msg']}" for error in errors)
    assert any(option in texts for option in options or ("bits", "rate", "step"))
    assert "wat" in options or all(error["type"] != "extra_forbidden" for error in errors)


@every_method
def test_a_broken_baseline_is_refused_by_name_of_the_layer(
    method: dict[str, Any], make_trial: Callable[..., Trial], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not make_trial(method).method.select(["conv1", "conv2", "fc1"]):
        pytest.skip("quantizes nothing")

    def load_broken(path: Path, model: torch.nn.Module) -> None:
        load_network(path, model)
        next(iter(quantizable(model).values())).data.view(-1)[3] = float("nan")
        list(quantizable(model).values())[2].data.view(-1)[3] = float("inf")

    monkeypatch.setattr("suite.trial.load_network", load_broken)
    trial = make_trial(method)
    with pytest.raises(ValueError, match=r"layer \S+ has NaN or infinite weights"):
        run_trial(trial, ledger, Path("data"))
    assert ledger.trial(trial.id).state() is State.FAILED
