"""What every method must do. A new method adds its configurations to `CONFIGURATIONS` and inherits the whole list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from suite import checkpoint
from suite.config import Recipe, Trial
from suite.data import open_data
from suite.evaluate import HeldOutLoss, evaluate
from suite.ledger import Ledger, State, Work
from suite.methods import AnyMethod, Method
from suite.methods.base import Net
from suite.nets import build_network, quantizable
from suite.pack.store import load_network, load_state
from suite.quant.layer import Layer
from suite.train import Compute, Frozen, Phase, TrainingData, make_deterministic, make_optimizer, plain, train, trainable
from suite.trial import run_trial

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "full": {"name": "full"},
    "kmeans-4": {"name": "kmeans", "bits": 4},
    "kmeans-2-quantile": {"name": "kmeans", "bits": 2, "init": "quantile"},
    "slq-5": {"name": "slq", "bits": 5},
    "slq-4-magnitude": {"name": "slq", "bits": 4, "partition": "magnitude"},
    "slq-3-network": {"name": "slq", "bits": 3, "scope": "network"},
    "slq-2-random": {"name": "slq", "bits": 2, "partition": "random"},
    "slq-3-reverse-free-zero": {"name": "slq", "bits": 3, "partition": "reverse", "pin_zero": False, "init": "linear"},
    "slq-3-skips": {"name": "slq", "bits": 3, "quantize_first": False, "quantize_last": False, "train_biases": False},
    "mlq-2": {"name": "mlq", "bits": 2},
    "mlq-3-loss": {"name": "mlq", "bits": 3, "order": "loss", "groups": 2},
    "mlq-2-together": {"name": "mlq", "bits": 2, "compensation": False},
}
BAD: list[tuple[str, dict[str, Any]]] = [
    ("kmeans", {"bits": 1}),
    ("kmeans", {"bits": 9}),
    ("slq", {"bits": 1}),
    ("slq", {"bits": 5, "schedule": [5, 9, 13]}),
    ("slq", {"bits": 3, "schedule": [5, 3]}),
    ("slq", {"bits": 3, "schedule": []}),
    ("slq", {"bits": 3, "partition": "biggest"}),
    ("slq", {"bits": 3, "wat": 1}),
    ("mlq", {"bits": 5}),
    ("mlq", {"bits": 2, "groups": 0}),
    ("mlq", {"bits": 2, "groups": 2, "compensation": False}),
    ("mlq", {"bits": 2, "schedule": [3, 2]}),
    ("mlq", {"bits": 2, "order": "loss", "compensation": False}),
]
CPU = Compute(torch.device("cpu"), bfloat16=False)

every_method = pytest.mark.parametrize("method", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())


def outcome(result: dict[str, Any] | None) -> dict[str, Any]:
    """A result without what may differ between two runs of one trial: what it cost, and in how many attempts."""
    assert result is not None
    kept = {key: value for key, value in result.items() if key not in ("cost", "sources")}
    return kept | {"steps": result["cost"]["steps"], "data": result["sources"]["data_sha256"]}


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
        values = torch.unique(state[f"{layer['name']}.weight"])
        assert len(values) == layer["values"] <= 2 ** (method["bits"] - 1) + 1
        assert set(values.tolist()) <= set(layer["codebook"])
    source = open_data("digits", Path("data"), ledger.root / "cache")
    model = build_network("lenet5", 1, 28, 10, seed=99)
    load_network(work.model, model)
    make_deterministic(trial.threads)
    assert asdict(evaluate(model, source, CPU)) == result["quantized"]


@every_method
def test_is_deterministic(method: dict[str, Any], make_trial: Callable[..., Trial], tmp_path: Path) -> None:
    trial = make_trial(method)
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
    """With a checkpoint at every step, stopped after the first, after the last, and twice amid re-training: always the same."""
    trial = make_trial(method, runtime={"checkpoint_seconds": 1e-9, "log_steps": 2})
    run_trial(make_trial({"name": "full"}), Ledger(tmp_path, "baseline"), Path("data"))
    undisturbed = Ledger(tmp_path, "undisturbed")  # of the same root: they share the baseline
    counting = DyingSave()
    monkeypatch.setattr(checkpoint, "save", counting)
    run_trial(trial, undisturbed, Path("data"))
    if counting.count == 0:
        pytest.skip("nothing to resume: a trial without stages saves no checkpoint")
    # A stage saves once when it has snapped, at each of its steps (9, or 1 where stages share few), and when it closes.
    for n in sorted({1, min(5, counting.count), min(counting.count // 2 + 3, counting.count), counting.count}):
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


@every_method
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_frozen_weights_never_move_in_training(method: dict[str, Any], optimizer: str, tmp_path: Path) -> None:
    quantizer: Method = TypeAdapter(AnyMethod).validate_python(method)
    data = TrainingData.split(open_data("digits", Path("data"), tmp_path), 64)
    model = build_network("lenet5", 1, 28, 10, seed=0)
    weights = quantizable(model)
    layers = {name: Layer.untouched(weights[name]) for name in quantizer.select(list(weights))}
    net = Net(layers, HeldOutLoss(model, data, CPU), seed=0)
    recipe = Recipe.model_validate(
        {"optimizer": optimizer, "momentum": 0.9, "weight_decay": 0.1, "learning_rate": 0.01}
    )
    moved = False
    for stage in range(quantizer.stages(len(layers))):
        quantizer.quantize(stage, net)
        before = {name: layer.weight.detach().clone() for name, layer in layers.items()}
        fresh = make_optimizer(trainable(model, layers, lambda name: True), recipe)
        frozen = Frozen(layers.values())
        train(model, plain(model), fresh, frozen, data, recipe, 0, Phase(0, 5), CPU, lambda rate: None)
        for name, layer in layers.items():
            assert torch.equal(layer.weight[layer.frozen], before[name][layer.frozen])
            moved |= not torch.equal(layer.weight, before[name])
    assert moved == (quantizer.stages(len(layers)) > 1)
    assert all(layer.frozen.all() for layer in layers.values())


@pytest.mark.parametrize(("name", "options"), BAD)
def test_refuses_impossible_settings(name: str, options: dict[str, Any], make_trial: Callable[..., Trial]) -> None:
    with pytest.raises(ValidationError):
        make_trial({"name": name, **options})


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


@every_method
def test_all_zero_and_few_valued_layers(method: dict[str, Any]) -> None:
    """A layer of zeros, and one with fewer values than centres, end as they are."""
    quantizer: Method = TypeAdapter(AnyMethod).validate_python(method)
    weights = {"first": torch.zeros(6, 5), "middle": torch.tensor([0.5, -0.25, 0.5, 0.0]), "last": torch.zeros(3)}
    layers = {name: Layer.untouched(weights[name].clone()) for name in quantizer.select(list(weights))}
    net = Net(layers, loss=lambda: 1.0, seed=0)
    for stage in range(quantizer.stages(len(layers))):
        quantizer.quantize(stage, net)
    for name, layer in layers.items():
        assert layer.frozen.all()
        if name != "middle":
            assert not layer.weight.any()


@every_method
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_equal_their_codebook(method: dict[str, Any], dtype: torch.dtype) -> None:
    quantizer: Method = TypeAdapter(AnyMethod).validate_python(method)
    weights = {
        name: torch.randn(200, generator=torch.Generator().manual_seed(i)).to(dtype) for i, name in enumerate("abc")
    }
    layers = {name: Layer.untouched(weights[name]) for name in quantizer.select(list(weights))}
    net = Net(layers, loss=lambda: 1.0, seed=0)
    for stage in range(quantizer.stages(len(layers))):
        quantizer.quantize(stage, net)
    for layer in layers.values():
        assert layer.weight.dtype == dtype
        assert set(layer.weight.double().tolist()) <= set(layer.codebook.tolist())
