"""Soft-to-hard vector quantization as a method: soft views, annealing, shared centres, hard codes at the end."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from suite.methods.base import Net, Through
from suite.methods.soft import SoftToHard
from suite.quant.layer import Layer

scopes = pytest.mark.parametrize("scope", ["network", "layer"])
dimensions = pytest.mark.parametrize("dimension", [1, 2, 3])


def make_net(*sizes: int, pruned: bool = False, dtype: torch.dtype = torch.float32) -> Net:
    random = torch.Generator().manual_seed(21)
    layers = {}
    for i, size in enumerate(sizes):
        weight = torch.randn(size, generator=random) * 0.05
        live = (weight.abs() > 0.03) if pruned else None
        layers[f"layer{i}"] = Layer.untouched((weight if live is None else weight * live).to(dtype), live)
    return Net(layers, lambda: 0.0, seed=0)


def seen_by(method: SoftToHard, net: Net, progress: float) -> Through:
    return method.through(0, net.layers, progress)


def distinct(tensors: list[Tensor]) -> int:
    return len(torch.cat([t.flatten() for t in tensors]).unique())


@scopes
@dimensions
@pytest.mark.parametrize("pruned", [False, True])
def test_ends_with_so_many_codes(scope: str, dimension: int, pruned: bool) -> None:
    method = SoftToHard.model_validate({"clusters": 6, "dimension": dimension, "scope": scope})
    net = make_net(301, 100, pruned=pruned)
    before = {name: layer.weight.clone() for name, layer in net.layers.items()}
    assert method.stages(2) == 2
    method.quantize(0, net)
    assert not any(bool(layer.frozen[layer.weight != 0].any()) for layer in net.layers.values())
    method.quantize(1, net)
    for name, layer in net.layers.items():
        assert layer.codebook.shape == ((6,) if dimension == 1 else (6, dimension))
        assert bool(layer.frozen.all())
        assert torch.equal(layer.coded().decoded(), layer.weight)
        assert layer.learned == {}
        if pruned:
            assert not layer.weight[before[name] == 0].any()
    books = [layer.codebook for layer in net.layers.values()]
    assert torch.equal(*books) == (scope == "network")


def test_codes_are_of_the_nearest_centres() -> None:
    net = make_net(300)
    method = SoftToHard(clusters=5)
    method.quantize(0, net)
    latent, centres = net.layers["layer0"].weight.clone(), net.layers["layer0"].learned["centres"].detach().flatten()
    method.quantize(1, net)
    nearest = (latent.unsqueeze(1) - centres).abs().argmin(1)
    assert torch.equal(net.layers["layer0"].weight, centres[nearest])


@scopes
@dimensions
def test_soft_view_tends_to_the_hard_weights(scope: str, dimension: int) -> None:
    options = {"clusters": 6, "dimension": dimension, "scope": scope, "sigma_start": 1e-9, "sigma_end": 1e9}
    method, net = SoftToHard.model_validate(options), make_net(301, 100)
    method.quantize(0, net)
    for progress, spread in ((0.0, 1e-6), (1.0, None)):
        seen = seen_by(method, net, progress).weights
        if spread is not None:  # all centres count alike
            assert all(
                float((w[: dimension * 30 : dimension] - w[0]).detach().abs().max()) < spread for w in seen.values()
            )
    latent = {name: layer.weight.clone() for name, layer in net.layers.items()}
    method.quantize(1, net)
    for name, layer in net.layers.items():
        agree = (seen[name] - layer.weight).abs() < 1e-5
        assert float(agree.double().mean()) > 0.98  # all but vectors between two centres
        assert not torch.equal(latent[name], layer.weight)


def test_weights_centres_and_entropy_are_trained_together() -> None:
    """Gradient descent on the penalty lowers the entropy of the codes; it moves weights and centres."""
    method = SoftToHard(clusters=8, sigma_start=10.0, sigma_end=10.0)
    entropies = []
    for steps in (0, 60):
        net = make_net(600)
        layer = net.layers["layer0"]
        method.quantize(0, net)
        layer.weight.requires_grad_()
        both = [layer.weight, layer.learned["centres"]]
        for _ in range(steps):
            penalty = seen_by(method, net, 0.5).penalty
            assert penalty is not None
            for trained, gradient in zip(both, torch.autograd.grad(penalty, both), strict=True):
                assert gradient.any()
                trained.data -= 2e-3 * gradient / gradient.square().mean().sqrt()
        layer.weight.requires_grad_(False)
        entropies.append(method.quantize(1, net)["entropy"]["layer0"])
    assert entropies[1] < entropies[0] - 0.3


@scopes
def test_penalty_is_beta_times_a_bound_of_the_entropy(scope: str) -> None:
    """At a high hardness it is the entropy of the codes, per vector, of one histogram or weighted over the layers'."""
    options = {"clusters": 5, "scope": scope, "beta": 2.5, "sigma_start": 1e8, "sigma_end": 1e8}
    method, net = SoftToHard.model_validate(options), make_net(300, 100)
    method.quantize(0, net)
    penalty = seen_by(method, net, 0.0).penalty
    assert penalty is not None
    method.quantize(1, net)
    codes = [layer.codes for layer in net.layers.values()]
    groups = [torch.cat(codes)] if scope == "network" else codes
    nats = 0.0
    for group in groups:
        share = torch.bincount(group.long()).double() / len(group)
        nats -= len(group) * float(torch.special.xlogy(share, share).sum())
    assert penalty.item() == pytest.approx(2.5 * nats / 400, rel=1e-3)


def test_no_penalty_without_beta() -> None:
    net = make_net(100)
    method = SoftToHard(beta=0.0)
    method.quantize(0, net)
    assert seen_by(method, net, 0.0).penalty is None


def test_one_codebook_for_the_network_is_one_tensor() -> None:
    net = make_net(100, 100)
    SoftToHard(clusters=4).quantize(0, net)
    assert [list(layer.learned) for layer in net.layers.values()] == [["centres"], []]


def test_gradients_reach_weights_and_centres_of_pruned_vectors_in_double_precision() -> None:
    net = make_net(23, 8, pruned=True, dtype=torch.float64)
    method = SoftToHard(clusters=3, dimension=2, sigma_start=2.0)
    method.quantize(0, net)
    layers = net.layers

    def view(first: Tensor, second: Tensor, centres: Tensor) -> tuple[Tensor, ...]:
        seen = {
            name: Layer(w, old.live, old.frozen, old.codes, old.codebook, old.fixed)
            for (name, old), w in zip(layers.items(), (first, second), strict=True)
        }
        seen["layer0"].learned["centres"] = centres
        through = method.through(0, seen, 0.0)
        assert through.penalty is not None
        return *through.weights.values(), through.penalty

    # The hardness follows the variance of the weights as a number, so finite differences are taken of the centres alone.
    held = [layer.weight for layer in layers.values()]
    assert torch.autograd.gradcheck(lambda c: view(*held, c), (layers["layer0"].learned["centres"],))


@pytest.mark.parametrize("schedule", ["exponential", "linear"])
def test_hardness_rises_from_start_to_end(schedule: str) -> None:
    method = SoftToHard.model_validate({"sigma_start": 4.0, "sigma_end": 400.0, "schedule": schedule})
    hardness = [method.sigma(i / 10) for i in range(11)]
    assert hardness == sorted(hardness)
    assert hardness[0] == pytest.approx(4.0)
    assert hardness[10] == pytest.approx(400.0)
    assert hardness[5] == pytest.approx(40.0 if schedule == "exponential" else 202.0)


def test_hardness_counts_in_variances() -> None:
    """Networks whose weights differ by a factor see the same, up to that factor."""
    method, views = SoftToHard(clusters=4), []
    for factor in (1.0, 8.0):
        net = make_net(200)
        net.layers["layer0"].weight.mul_(factor)
        method.quantize(0, net)
        views.append(seen_by(method, net, 0.3).weights["layer0"] / factor)
    assert torch.allclose(*views, rtol=1e-4, atol=1e-7)


@scopes
def test_all_zero_and_few_valued_layers(scope: str) -> None:
    weights = {"first": torch.zeros(6, 5), "middle": torch.tensor([0.5, -0.25, 0.5, 0.0]), "last": torch.zeros(3)}
    layers = {name: Layer.untouched(weight.clone()) for name, weight in weights.items()}
    method = SoftToHard.model_validate({"clusters": 8, "scope": scope})
    net = Net(layers, lambda: 0.0, seed=0)
    method.quantize(0, net)
    seen = method.through(0, layers, 1.0)
    assert all(math.isfinite(w.sum().item()) for w in seen.weights.values())
    method.quantize(1, net)
    for name, layer in layers.items():
        assert torch.equal(layer.weight, weights[name])


@scopes
@dimensions
def test_a_layer_that_is_pruned_away_stays_so(scope: str, dimension: int) -> None:
    net = make_net(40)
    net.layers["gone"] = Layer.untouched(torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.bool))
    method = SoftToHard.model_validate({"clusters": 4, "scope": scope, "dimension": dimension})
    method.quantize(0, net)
    seen = seen_by(method, net, 0.5)
    assert seen.penalty is not None
    assert math.isfinite(seen.penalty.item())
    method.quantize(1, net)
    assert not net.layers["gone"].weight.any()
    assert not seen.weights["gone"].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_equal_their_codebook(dtype: torch.dtype) -> None:
    net = make_net(200, 50, dtype=dtype)
    method = SoftToHard(clusters=5)
    method.quantize(0, net)
    assert all(w.dtype == dtype for w in seen_by(method, net, 0.2).weights.values())
    method.quantize(1, net)
    weights = [layer.weight for layer in net.layers.values()]
    assert distinct(weights) <= 5
    for layer in net.layers.values():
        assert set(layer.weight.double().tolist()) <= set(layer.codebook.tolist())


@pytest.mark.parametrize(
    "options",
    [
        {"clusters": 1},
        {"dimension": 0},
        {"sigma_start": 0.0},
        {"sigma_start": 10.0, "sigma_end": 1.0},
        {"beta": -1.0},
        {"scope": "filter"},
        {"schedule": "cosine"},
        {"clusters": 32, "wat": 1},
    ],
)
def test_refuses_impossible_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SoftToHard.model_validate(options)
