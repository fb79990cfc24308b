"""Hessian-weighted k-means on a small network: what it minimises, what it shares, and how shared centres are trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from suite.methods.base import Net
from suite.methods.hessian import HessianKMeans
from suite.methods.pooled import live_curvature
from suite.methods.shared import CENTRES
from suite.nets.layers import quantizable
from suite.quant.layer import Layer


def small_net(pruned: bool = False, seed: int = 0) -> Net:
    """Two convolutions and a linear layer; pruned: without the weights below 0.1."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True),
            nn.Flatten(), nn.Linear(24, 5),
        )  # fmt: skip
        images, labels = torch.randn(40, 1, 10, 10), torch.randint(0, 5, (40,))
    layers = {}
    for name, weight in quantizable(model).items():
        live = weight.detach().abs() > 0.1
        weight.data *= live if pruned else 1
        layers[name] = Layer.untouched(weight, live if pruned else None)

    def loss() -> float:
        with torch.no_grad():
            return float(F.cross_entropy(model(images), labels))

    def sample(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(images[:count].split(16), labels[:count].split(16), strict=True)

    return Net(layers, loss, seed, model, sample)


def no_images(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    raise AssertionError("asked for images without need")


def live_weights(net: Net) -> Tensor:
    return torch.cat([layer.values() for layer in net.layers.values()])


def predicted_rise(before: Tensor, after: Tensor, bend: dict[str, Tensor]) -> float:
    return float((torch.cat(list(bend.values())) * (before - after).double().square()).sum()) / 2


def run(net: Net, **options: Any) -> dict[str, Any]:
    """Stage 0; the record must be JSON."""
    decided = HessianKMeans(**options).quantize(0, net)
    json.dumps(decided, allow_nan=False)
    return decided


@pytest.mark.parametrize("pruned", [False, True])
def test_one_codebook_for_all_layers_and_centres_at_weighted_means(pruned: bool) -> None:
    net = small_net(pruned)
    before, bend = live_weights(net), live_curvature(net, "hessian", 1000, None)
    decided = run(net, clusters=8)
    books = [layer.codebook for layer in net.layers.values()]
    assert all(torch.equal(book, books[0]) for book in books)
    assert decided["clusters"] == len(books[0]) <= 8
    codes = torch.cat([layer.codes for layer in net.layers.values()]).long()
    h = torch.cat(list(bend.values()))
    h = h.clamp(min=0.1 * float(h.mean()))
    means = torch.bincount(codes, h * before) / torch.bincount(codes, h)
    torch.testing.assert_close(books[0], means, rtol=1e-5, atol=1e-6)
    for layer in net.layers.values():
        assert layer.frozen.all()
        if layer.live is not None:
            assert not layer.weight[~layer.live].any()
            assert layer.weight[layer.live].all()  # no cluster at zero


@pytest.mark.parametrize("scope", ["network", "layer"])
def test_minimises_what_the_loss_is_predicted_to_rise(scope: str) -> None:
    rises = {}
    for curvature in ("hessian", "none"):
        net = small_net(pruned=True)
        before, bend = live_weights(net), live_curvature(net, "hessian", 1000, None)
        run(net, clusters=6, scope=scope, curvature=curvature)
        rises[curvature] = predicted_rise(before, live_weights(net), bend)
    assert rises["hessian"] < 0.98 * rises["none"]


def test_each_layer_may_have_its_own_codebook() -> None:
    net = small_net()
    decided = run(net, bits=3, scope="layer")
    books = [layer.codebook for layer in net.layers.values()]
    assert len(decided["codebooks"]) == len(books) == 3
    assert all(len(book) == 5 for book in books)
    assert not torch.equal(books[0], books[1])


def test_curvatures_differ_and_none_looks_at_no_image() -> None:
    books = []
    for options in (
        {"curvature": "hessian"},
        {"curvature": "adam"},
        {"samples": 3},
        {"draws": 2},
        {"curvature": "none"},
    ):
        net = small_net()
        if options.get("curvature") == "none":
            net.sample = no_images
        run(net, clusters=4, **options)
        books.append(tuple(net.layers["0"].codebook.tolist()))
    assert len(set(books)) == len(books)


def test_curvature_follows_the_order_of_the_live_weights() -> None:
    for kind in ("hessian", "adam"):
        whole, pruned = small_net(), small_net(pruned=True)
        for name, layer in whole.layers.items():
            layer.weight.data.copy_(pruned.layers[name].weight.data)
        everywhere = live_curvature(whole, kind, 40, None)  # type: ignore[arg-type]
        alive = live_curvature(pruned, kind, 40, None)  # type: ignore[arg-type]
        for name, layer in pruned.layers.items():
            assert layer.live is not None
            assert torch.equal(alive[name], everywhere[name][layer.live.flatten()])


@pytest.mark.parametrize("tune", ["sum", "mean"])
def test_a_shared_codebook_stays_shared_while_it_is_trained(tune: str) -> None:
    net = small_net(pruned=True)
    method = HessianKMeans(clusters=4, tune=tune)  # type: ignore[arg-type]
    assert method.stages(3) == 2
    method.quantize(0, net)
    (centres,) = [layer.learned[CENTRES] for layer in net.layers.values() if layer.learned]
    seen = method.through(0, net.layers, 0.5)
    assert seen is not None
    for name, layer in net.layers.items():
        assert torch.equal(seen.weights[name], layer.weight)
    slopes = {name: torch.randn(layer.weight.shape) for name, layer in net.layers.items()}
    sum((seen.weights[name] * slopes[name]).sum() for name in net.layers).backward()  # type: ignore[union-attr]
    codes = torch.cat([layer.codes for layer in net.layers.values()]).long()
    summed = torch.bincount(codes, torch.cat([slopes[n][layer.live] for n, layer in net.layers.items()]))
    assert centres.grad is not None
    torch.testing.assert_close(
        centres.grad, (summed / (codes.bincount() if tune == "mean" else 1)).float(), rtol=1e-4, atol=1e-5
    )
    with torch.no_grad():
        centres -= 0.1 * centres.grad
    trained = centres.detach().clone()
    before = {name: layer.codes.clone() for name, layer in net.layers.items()}
    decided = method.quantize(1, net)
    assert decided["clusters"] == len(trained)
    for name, layer in net.layers.items():
        assert torch.equal(layer.codebook, trained.double())
        assert torch.equal(layer.codes, before[name])
        assert torch.equal(layer.values(), trained[layer.codes.long()])
        assert not layer.learned


def test_codebooks_of_layers_are_trained_one_by_one() -> None:
    net = small_net()
    method = HessianKMeans(clusters=4, scope="layer", tune="sum")
    method.quantize(0, net)
    assert all(CENTRES in layer.learned for layer in net.layers.values())
    assert method.through(0, net.layers, 0.0) is not None
    method.quantize(1, net)
    assert not any(layer.learned for layer in net.layers.values())


@pytest.mark.parametrize("scope", ["network", "layer"])
def test_dead_and_wholly_pruned_layers(scope: str) -> None:
    net = small_net(pruned=True)
    first, second, _ = net.layers.values()
    first.weight.data.zero_()  # nothing behind it has a curvature any more, but for biases
    second.weight.data.zero_()
    net.layers["3"] = Layer.untouched(second.weight, torch.zeros_like(second.weight, dtype=torch.bool))
    run(net, clusters=4, scope=scope)
    assert not second.weight.any()
    assert all(layer.frozen.all() and len(layer.codebook) <= 4 for layer in net.layers.values())
    if scope == "layer":
        assert not first.weight.any()


def test_is_deterministic_under_a_seed() -> None:
    outcomes = []
    for _ in range(2):
        net = small_net()
        outcomes.append((run(net, clusters=8, init="kmeans++", draws=3), live_weights(net).tolist()))
        torch.rand(3)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    "options",
    [{}, {"bits": 3, "clusters": 4}, {"bits": 9}, {"clusters": 1}, {"clusters": 257}, {"clusters": 4, "curvature": "x"},
     {"clusters": 4, "samples": 0}, {"clusters": 4, "draws": 0}, {"clusters": 4, "floor": 0}, {"clusters": 4, "init": "ladder"}],
)  # fmt: skip
def test_refuses_impossible_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HessianKMeans(**options)


def test_labels_tell_configurations_apart() -> None:
    assert HessianKMeans(bits=4).label == "Hessian k-means 4b"
    assert HessianKMeans(clusters=64, curvature="adam").label == "Hessian k-means K=64 adam"
