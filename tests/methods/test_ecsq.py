"""ECSQ on a small network: targets are met over what shares a codebook, and pruned weights take no part."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from suite.methods.base import Net
from suite.methods.ecsq import ECSQ
from suite.quant.entropy import entropy
from suite.quant.layer import Layer
from tests.methods.test_hessian import live_weights, no_images, small_net


def run(net: Net, **options: Any) -> dict[str, Any]:
    decided = ECSQ(**options).quantize(0, net)
    json.dumps(decided, allow_nan=False)
    return decided


def bits(layers: list[Layer]) -> float:
    return entropy(torch.bincount(torch.cat([layer.codes for layer in layers]).long()))


def error(net: Net, before: Tensor) -> float:
    return float((live_weights(net) - before).double().square().mean())


@pytest.mark.parametrize("kind", ["uniform", "iterative"])
@pytest.mark.parametrize("curvature", ["hessian", "adam", "none"])
@pytest.mark.parametrize("scope", ["network", "layer"])
def test_a_rate_is_met(kind: str, curvature: str, scope: str) -> None:
    net = small_net(pruned=True)
    decided = run(net, rate=2.5, kind=kind, curvature=curvature, scope=scope)
    layers = list(net.layers.values())
    for number, together in enumerate([layers] if scope == "network" else [[layer] for layer in layers]):
        assert 1.8 < bits(together) <= 2.5  # of few weights the entropy jumps
        assert decided["codebooks"][number]["entropy"] == pytest.approx(bits(together))
        assert all(torch.equal(layer.codebook, together[0].codebook) for layer in together)
    for layer in layers:
        assert layer.frozen.all()
        assert torch.equal(layer.weight, layer.coded().decoded())
        assert layer.live is not None
        assert torch.equal(layer.weight != 0, layer.live)  # zero is not among the centres


def test_a_step_is_taken_as_it_is() -> None:
    net = small_net()
    before = live_weights(net)
    net.sample = no_images
    run(net, step=0.05, curvature="none")
    offset = 0.0 if (live_weights(net)[before.abs() < 0.025]).unique().numel() == 1 else 0.5
    cluster = (before.double() / 0.05 - 0.5 - offset).ceil()
    for index in cluster.unique():
        mine = live_weights(net)[cluster == index]
        assert mine.unique().numel() == 1
        assert float(mine[0]) == pytest.approx(float(before[cluster == index].double().mean()), abs=1e-6)


def test_a_number_of_clusters_is_not_exceeded() -> None:
    net = small_net()
    assert 12 <= run(net, clusters=16)["clusters"] <= 16


def test_iteration_beats_uniform_in_what_it_minimises() -> None:
    found = {}
    for kind in ("uniform", "iterative"):
        decided = run(small_net(pruned=True), rate=2.0, kind=kind)["codebooks"][0]
        found[kind] = decided["error"] + 0.01 * decided["entropy"]
    assert found["iterative"] < found["uniform"]


def test_a_steeper_slope_costs_accuracy_and_saves_bits() -> None:
    outcomes = []
    for slope in (1e-4, 1e-2):
        net = small_net()
        before = live_weights(net)
        decided = run(net, kind="iterative", slope=slope, curvature="none")
        assert decided["codebooks"][0]["slope"] == slope
        outcomes.append((bits(list(net.layers.values())), error(net, before)))
    assert outcomes[0][0] > outcomes[1][0]
    assert outcomes[0][1] < outcomes[1][1]


@pytest.mark.parametrize("options", [{"rate": 2.0}, {"rate": 2.0, "kind": "iterative"}, {"clusters": 4}, {"step": 0.1}])
@pytest.mark.parametrize("scope", ["network", "layer"])
def test_zero_and_few_valued_layers(options: dict[str, Any], scope: str) -> None:
    """Layers of zeros, of three values, and wholly pruned, end as they are where each has its own codebook."""
    weights = [torch.zeros(6, 5), torch.tensor([0.5, -0.25, 0.5, 0.0]), torch.zeros(3)]
    layers = {str(i): Layer.untouched(weight.clone()) for i, weight in enumerate(weights)}
    layers["2"] = Layer.untouched(weights[2].clone(), torch.zeros(3, dtype=torch.bool))
    run(Net(layers, lambda: 1.0, 0), curvature="none", scope=scope, **options)
    for layer, weight in zip(layers.values(), weights, strict=True):
        assert layer.frozen.all()
        if scope == "layer":
            assert torch.equal(layer.weight, weight)


def test_centres_are_trained_together() -> None:
    net = small_net(pruned=True)
    method = ECSQ(rate=2.0, tune="mean")
    method.quantize(0, net)
    assert method.through(0, net.layers, 0.0) is not None
    method.quantize(1, net)
    assert len({tuple(layer.codebook.tolist()) for layer in net.layers.values()}) == 1


@pytest.mark.parametrize(
    "options",
    [{}, {"rate": 2, "step": 0.1}, {"rate": 0}, {"rate": 16}, {"step": 0}, {"clusters": 0}, {"slope": 0.1},
     {"kind": "iterative", "step": 0.1}, {"kind": "iterative", "clusters": 8}, {"kind": "iterative"},
     {"kind": "iterative", "slope": 0}, {"kind": "lloyd", "rate": 2}],
)  # fmt: skip
def test_refuses_impossible_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ECSQ(**options)


def test_labels_tell_configurations_apart() -> None:
    assert ECSQ(rate=2.5).label == "ECSQ uniform 2.5b"
    assert ECSQ(kind="iterative", slope=0.01, curvature="none").label == "ECSQ iterative slope 0.01 none"
    assert ECSQ(clusters=8).label == "ECSQ uniform K=8"
    assert ECSQ(step=0.1).label == "ECSQ uniform step 0.1"
