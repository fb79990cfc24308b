"""What every method must do as a trial: reload exactly, be deterministic, resume bit-exactly, refuse what is impossible."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
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


class Killed(BaseException):
    """Stands for the end of the process."""


class Saves:
    """`checkpoint.save`, which counts its calls, and after some of them ends the process."""

    def __init__(self, deaths: Collection[int] = ()) -> None:
        self.real, self.deaths, self.count = checkpoint.save, deaths, 0

    def __call__(self, *arguments: Any) -> None:
        self.real(*arguments)
        self.count += 1
        if self.count in self.deaths:
            raise Killed


@dataclass(frozen=True)
class Undisturbed:
    """A trial that ran from start to end, and how often it saved a checkpoint: at every step."""

    trial: Trial
    work: Work
    saves: int


@pytest.fixture(scope="module")
def undisturbed(made: Path) -> Callable[[dict[str, Any]], Undisturbed]:
    """Runs a method's trial, once for all tests."""
    ran: dict[str, Undisturbed] = {}

    def run(method: dict[str, Any]) -> Undisturbed:
        settings = {**SHORT, "runtime": {"checkpoint_seconds": 1e-9, "log_steps": 2}}
        trial = Trial.model_validate({**settings, "method": method})
        if trial.id not in ran:
            ledger = Ledger(made, "undisturbed")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(checkpoint, "save", saves := Saves())
                assert run_trial(trial, ledger, Path("data"))
            ran[trial.id] = Undisturbed(trial, ledger.trial(trial.id), saves.count)
        return ran[trial.id]

    return run


@every_method
def test_ends_quantized_and_reloads_exactly(
    method: dict[str, Any], undisturbed: Callable[[dict[str, Any]], Undisturbed], tmp_path: Path
) -> None:
    ran = undisturbed(method)
    trial, work = ran.trial, ran.work
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
    source = open_data("digits", Path("data"), tmp_path / "cache")
    model = build_network("lenet5", 1, 28, 10, seed=99).to(HERE.device)
    load_network(work.model, model)
    make_deterministic(trial.threads)
    assert asdict(evaluate(model, source, HERE)) == result["quantized"]


@every_method
def test_is_deterministic(
    method: dict[str, Any], undisturbed: Callable[[dict[str, Any]], Undisturbed], tmp_path: Path
) -> None:
    one, again = undisturbed(method), Ledger(tmp_path, "again")
    torch.manual_seed(one.saves)  # state that others left behind must not matter
    torch.rand(3)
    run_trial(one.trial, again, Path("data"))
    two = again.trial(one.trial.id)
    assert outcome(two.result()) == outcome(one.work.result())
    assert two.model.read_bytes() == one.work.model.read_bytes()


@pytest.mark.parametrize("name", ["ttq", "soft-to-hard"])
def test_a_batch_may_be_larger_than_the_data(name: str, make_trial: Callable[..., Trial], tmp_path: Path) -> None:
    """It is then all of the data, incomplete as it is."""
    trial = make_trial(CONFIGURATIONS[name], retrain={"epochs": 1, "batch_size": 5000})
    results = []
    for ledger in (Ledger(tmp_path, "one"), Ledger(tmp_path, "two")):
        torch.manual_seed(len(results))
        run_trial(trial, ledger, Path("data"))
        results.append(outcome(ledger.trial(trial.id).result()))
    assert results[0] == results[1]


def training(work: Work) -> dict[int, dict[str, Any]]:
    """The recorded training points by step, over all attempts."""
    events = [e for attempt in work.attempts() for e in attempt.events() if e["event"] == "train"]
    return {e["step"]: {key: value for key, value in e.items() if key != "t"} for e in events}


@every_method
def test_resumes_bit_exactly(
    method: dict[str, Any],
    undisturbed: Callable[[dict[str, Any]], Undisturbed],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a checkpoint at every step, killed after the first, amid re-training, and after the last: as if nothing had been."""
    whole = undisturbed(method)
    trial, last = whole.trial, whole.saves
    if last == 0:
        pytest.skip("nothing to resume: a trial without stages saves no checkpoint")
    # A stage saves once when it has snapped, at each of its steps (9, or 1 where stages share few), and when it closes.
    deaths = sorted({1, min(last // 2 + 3, last), last})
    saves, ledger = Saves(deaths), Ledger(tmp_path, "killed")
    monkeypatch.setattr(checkpoint, "save", saves)
    work = ledger.trial(trial.id)
    for n in deaths:
        with pytest.raises(Killed):
            run_trial(trial, ledger, Path("data"))
        assert saves.count == n, "what was done before is not done again"
        assert work.state() is State.LOST
    assert run_trial(trial, ledger, Path("data"))
    assert saves.count == last
    assert all("resuming at stage" in attempt.log() for attempt in work.attempts()[1:])
    assert outcome(work.result()) == outcome(whole.work.result())
    assert training(work) == training(whole.work)
    assert work.model.read_bytes() == whole.work.model.read_bytes()


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
