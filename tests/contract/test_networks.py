"""What every method must do with layers and networks of every kind. The trials of the other file use one network only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from suite.config import Recipe
from suite.methods import AnyMethod, Method
from suite.nets import quantizable
from suite.quant.layer import Layer
from tests.contract.configurations import CONFIGURATIONS, most_values
from tests.contract.harness import carry_out, images

every_method = pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())


def build(options: dict[str, Any]) -> Method:
    method: Method = TypeAdapter(AnyMethod).validate_python(options)
    return method


class Tied(nn.Module):
    """Encoder and decoder share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.again = nn.Linear(12, 12)
        self.again.weight = self.first.weight
        self.middle = nn.Linear(12, 10)
        self.last = nn.Linear(10, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.again(torch.relu(self.first(inputs)))
        out: Tensor = self.last(torch.relu(self.middle(torch.relu(hidden))))
        return out


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 3),
    )


def linear_only() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 9), nn.ReLU(), nn.Linear(9, 3))


def poor() -> nn.Module:
    """The first and the last layer are all zeros, the one between has three values."""
    model = linear_only()
    first, middle, last = quantizable(model).values()
    first.data.zero_()
    last.data.zero_()
    middle.data.copy_(torch.tensor([0.5, -0.25, 0.0])[torch.arange(90) % 3].view(9, 10))
    return model


NETWORKS = {
    "grouped-and-depthwise": (convolutional, (4, 8, 8)),
    "tied": (Tied, (12,)),
    "linear-only": (linear_only, (12,)),
    "zeros-and-few-values": (poor, (12,)),
}


def check(layer: Layer, options: dict[str, Any]) -> None:
    """Quantized for good: frozen, what its codes say, and no more values than the method promises."""
    assert layer.frozen.all()
    assert torch.equal(layer.coded().decoded(), layer.weight.detach())
    assert torch.isfinite(layer.weight).all()
    if options.get("scope") == "filter":
        assert all(len(torch.unique(weights)) <= 3 for weights in layer.weight.flatten(1))
    promised = most_values(options)
    if promised is not None:
        assert len(torch.unique(layer.values())) <= promised


@every_method
@pytest.mark.parametrize("network", NETWORKS)
def test_ends_quantized(options: dict[str, Any], network: str) -> None:
    torch.manual_seed(3)
    make, shape = NETWORKS[network]
    model, method = make(), build(options)
    ran = carry_out(method, model, images(*shape))
    assert list(ran.layers) == method.select(list(quantizable(model)))
    for layer in ran.layers.values():
        check(layer, options)


@every_method
def test_a_layer_of_zeros_stays_zero_without_training(options: dict[str, Any]) -> None:
    model, method = poor(), build(options)
    ran = carry_out(method, model, images(12), recipe=Recipe(learning_rate=1e-30, weight_decay=0))
    for name, layer in ran.layers.items():
        if name != "2":
            assert layer.weight.abs().max() < 1e-20


@every_method
def test_pruned_weights_stay_zero_and_out_of_the_clusters(options: dict[str, Any]) -> None:
    torch.manual_seed(3)
    model, method = linear_only(), build(options)
    live = {}
    for name, weight in quantizable(model).items():
        live[name] = weight.detach().abs() > weight.detach().abs().median()
        weight.data.masked_fill_(~live[name], 0.0)

    def still_zero(layers: dict[str, Layer], before: dict[str, Tensor]) -> None:
        for name, layer in layers.items():
            assert not layer.weight[~live[name]].any()

    ran = carry_out(method, model, images(12), live=live, after_phase=still_zero)
    for name, layer in ran.layers.items():
        assert not layer.weight[~live[name]].any()
        assert len(layer.values()) == int(live[name].sum())
        check(layer, options)


@every_method
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(options: dict[str, Any], dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    model = linear_only().to(dtype)
    for layer in carry_out(build(options), model, images(12, dtype=dtype)).layers.values():
        assert layer.weight.dtype == dtype
        check(layer, options)


@every_method
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_frozen_weights_never_move(options: dict[str, Any], optimizer: str) -> None:
    torch.manual_seed(3)
    recipe = Recipe.model_validate(
        {"optimizer": optimizer, "momentum": 0.9, "weight_decay": 0.1, "learning_rate": 0.01}
    )

    def unmoved(layers: dict[str, Layer], before: dict[str, Tensor]) -> None:
        for name, layer in layers.items():
            assert torch.equal(layer.weight[layer.frozen], before[name][layer.frozen])

    method = build(options)
    ran = carry_out(method, convolutional(), images(4, 8, 8), recipe=recipe, after_phase=unmoved)
    assert bool(ran.moved) == (method.stages(len(ran.layers)) > 1)
    assert not any(layer.learned for layer in ran.layers.values()), "what was learned belongs into the codebook"


@every_method
def test_the_same_seed_gives_the_same_bits(options: dict[str, Any]) -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        model = convolutional()
        carry_out(build(options), model, images(4, 8, 8), seed=5)
        weights.append([p.detach().clone() for p in model.parameters()])
        torch.rand(7)  # random state that others leave behind
    assert all(torch.equal(one, two) for one, two in zip(*weights, strict=True))
