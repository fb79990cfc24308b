"""Optimiser steps in which frozen weights stand still: torch's own with restoring, and kernels for large networks."""

from __future__ import annotations

import sys

import pytest
import torch

from suite import masked
from suite.config import Recipe
from suite.quant.layer import Layer
from tests.masked_steps import Run, check

SGD = Recipe(learning_rate=0.05, weight_decay=0.1)
ADAM = Recipe(learning_rate=0.01, weight_decay=0.1, optimizer="adam")
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(params=["plain", "kernels"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "kernels":
        monkeypatch.setattr(masked, "LARGE", 0)
    else:
        monkeypatch.setitem(sys.modules, "suite.masked_cpu", None)  # importing it fails
    return str(request.param)


@pytest.mark.parametrize("recipe", [SGD, SGD.model_copy(update={"momentum": 0.0}), ADAM])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_frozen_weights_keep_their_bits_and_others_move_as_ever(
    recipe: Recipe, layout: torch.memory_format, way: str
) -> None:
    ours, plain = (Run.of(recipe, masked=masked, layout=layout) for masked in (True, False))
    for run in (ours, plain):
        run.go(12)
    check(ours, plain)


@pytest.mark.parametrize("recipe", [SGD, ADAM])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_saved_state_goes_on_as_if_nothing_had_happened(recipe: Recipe, layout: torch.memory_format, way: str) -> None:
    whole, first, second = (Run.of(recipe, masked=True, layout=layout) for _ in range(3))
    whole.go(6)
    first.go(3)
    with torch.no_grad():
        for weight, reached in zip(second.weights, first.weights, strict=True):
            weight.copy_(reached)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.random.set_state(first.random.get_state())
    second.go(3)
    for weight, expected in zip(second.weights, whole.weights, strict=True):
        assert torch.equal(weight, expected)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}),
        (torch.optim.SGD, {"momentum": 0.9, "maximize": True}),
        (torch.optim.Adam, {"amsgrad": True}),
        (torch.optim.Adam, {"maximize": True}),
        (torch.optim.Adam, {"decoupled_weight_decay": True}),
        (torch.optim.AdamW, {}),
    ],
)
def test_what_no_kernel_does_is_left_to_torch(
    kind: type[torch.optim.Optimizer], settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masked, "LARGE", 0)
    steps = []
    for is_masked in (True, False):
        rng = torch.Generator().manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(400, generator=rng))
        layer = Layer.untouched(weight)
        layer.frozen = torch.rand(400, generator=rng) < 0.5
        optimizer = kind([weight], lr=0.01, weight_decay=0.1, **settings)
        step = masked.masked_step(optimizer, [layer]) if is_masked else optimizer.step
        for _ in range(4):
            weight.grad = torch.randn(400, generator=rng)
            step()
        steps.append(weight.detach()[~layer.frozen])
    assert torch.equal(*steps)


def test_nothing_frozen_is_torchs_own_step() -> None:
    run = Run.of(SGD, masked=False)
    assert masked.masked_step(run.optimizer, []) == run.optimizer.step


@pytest.mark.parametrize("way", ["kernels"], indirect=True)
def test_a_layer_without_gradient_is_passed_over(way: str) -> None:
    run = Run.of(SGD, masked=True)
    run.weights[2].grad = torch.ones(50)
    run.step()
    assert torch.equal(run.weights[0], run.starts[0])
    assert not torch.equal(run.weights[2], run.starts[2])
