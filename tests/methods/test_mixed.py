"""Mixed bits on a small network: within the budget, and where they are needed."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from suite.methods.base import Net
from suite.methods.mixed import MixedKMeans, loss_with
from suite.methods.pooled import live_curvature
from suite.quant.init import codebook_size
from suite.quant.layer import Layer
from tests.methods.test_hessian import no_images, small_net


def run(net: Net, **options: Any) -> dict[str, Any]:
    decided = MixedKMeans(**options).quantize(0, net)
    json.dumps(decided, allow_nan=False)
    return decided


@pytest.mark.parametrize("sensitivity", ["loss", "hessian"])
@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("budget", [2.0, 3.3, 9.0])
def test_the_cheapest_widths_within_the_budget(sensitivity: str, pruned: bool, budget: float) -> None:
    net = small_net(pruned)
    decided = run(net, budget=budget, widths=(2, 3, 4, 6), sensitivity=sensitivity)
    counts = [len(layer.values()) for layer in net.layers.values()]
    costs = [dict(zip((2, 3, 4, 6), c, strict=True)) for c in decided["costs"].values()]

    def average(widths: tuple[int, ...]) -> float:
        return sum(w * n for w, n in zip(widths, counts, strict=True)) / sum(counts)

    def total(widths: tuple[int, ...]) -> float:
        return sum(c[w] for c, w in zip(costs, widths, strict=True))

    chosen = tuple(decided["widths"].values())
    assert average(chosen) == pytest.approx(decided["average"])
    assert decided["average"] <= budget
    fitting = [widths for widths in product((2, 3, 4, 6), repeat=3) if average(widths) <= budget]
    assert total(chosen) == pytest.approx(min(map(total, fitting)), rel=1e-9, abs=1e-12)
    for (name, layer), width in zip(net.layers.items(), chosen, strict=True):
        assert decided["widths"][name] == width
        assert len(layer.codebook) <= codebook_size(width)
        assert layer.frozen.all()
        assert torch.equal(layer.weight, layer.coded().decoded())


def test_the_layer_that_the_loss_depends_on_gets_the_bits() -> None:
    net = small_net()
    target = net.layers["3"].weight.detach().clone()
    net.loss = lambda: float((net.layers["3"].weight.detach() - target).square().sum())
    net.sample = no_images
    decided = run(net, budget=5.5, widths=(2, 6))
    assert decided["widths"] == {"0": 2, "3": 6, "6": 2}
    assert decided["costs"]["0"] == [0.0, 0.0]
    assert decided["costs"]["3"][0] > decided["costs"]["3"][1] > 0


def test_costs_are_what_happens_to_the_loss_and_measuring_leaves_no_trace() -> None:
    net = small_net(pruned=True)
    layer = net.layers["3"]
    weight, frozen, before = layer.weight.detach().clone(), layer.frozen.clone(), net.loss()
    centres = torch.tensor([-0.2, 0.2], dtype=torch.float64)
    measured = loss_with(net, layer, centres)
    assert torch.equal(layer.weight, weight)
    assert torch.equal(layer.frozen, frozen)
    assert len(layer.codebook) == 0
    layer.weight.data = 0.2 * weight.sign()  # pruned zeros stay
    assert measured == pytest.approx(net.loss(), abs=1e-6)
    assert measured != pytest.approx(before, abs=1e-4)


def test_hessian_costs_are_half_the_curvature_times_the_squared_errors() -> None:
    net = small_net(pruned=True)
    bend = live_curvature(net, "hessian", 1000, None)
    before = {name: layer.values().clone() for name, layer in net.layers.items()}
    net.loss = lambda: pytest.fail("asked for the loss without need")
    decided = run(net, budget=4, widths=(4,), sensitivity="hessian")
    for name, layer in net.layers.items():
        squares = (layer.values() - before[name]).double().square()
        assert decided["costs"][name] == [pytest.approx(float((bend[name] * squares).sum()) / 2, rel=1e-3)]


def test_zero_and_few_valued_and_pruned_layers() -> None:
    weights = [torch.zeros(6, 5), torch.tensor([0.5, -0.25, 0.5, 0.0]), torch.zeros(3)]
    layers = {str(i): Layer.untouched(weight.clone()) for i, weight in enumerate(weights)}
    layers["2"] = Layer.untouched(weights[2].clone(), torch.zeros(3, dtype=torch.bool))
    run(Net(layers, lambda: 1.0, 0), budget=3)
    for layer, weight in zip(layers.values(), weights, strict=True):
        assert layer.frozen.all()
        assert torch.equal(layer.weight, weight)


def test_is_deterministic_and_trains_centres() -> None:
    outcomes = []
    for _ in range(2):
        net = small_net()
        method = MixedKMeans(budget=3, tune="sum", init="kmeans++")
        decided = method.quantize(0, net)
        assert method.through(0, net.layers, 0.0) is not None
        method.quantize(1, net)
        outcomes.append((decided, [layer.weight.tolist() for layer in net.layers.values()]))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "budget"),
        ({"budget": 1.5}, "budget 1.5 is below the smallest width, 2 bits"),
        ({"budget": 4, "widths": (4, 3)}, "must rise within 2 to 8"),
        ({"budget": 4, "widths": ()}, "must rise within 2 to 8"),
        ({"budget": 4, "widths": (1, 3)}, "must rise within 2 to 8"),
        ({"budget": 4, "widths": (3, 9)}, "must rise within 2 to 8"),
        ({"budget": 4, "sensitivity": "guess"}, "sensitivity"),
    ],
)
def test_refuses_impossible_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MixedKMeans(**options)


def test_the_label_says_budget_and_measure() -> None:
    assert MixedKMeans(budget=3.5).label == "mixed k-means 3.5b loss"
