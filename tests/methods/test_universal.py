"""Universal compression: what is stored decodes to the weights, whose error is uniform and does not depend on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from suite.methods.base import Net
from suite.methods.universal import Universal
from suite.quant.lattice import LATTICES
from suite.quant.layer import Layer

KINDS: dict[str, dict[str, Any]] = {
    "Z": {"lattice": "Z"},
    "Z^3": {"lattice": "Z", "dimension": 3},
    "A2": {"lattice": "A2"},
    "D4": {"lattice": "D4"},
    "E8": {"lattice": "E8"},
    "undithered": {"lattice": "D4", "dither": False},
}
every_kind = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())


def make_net(*sizes: int, seed: int = 0, scale: float = 0.05, pruned: bool = False) -> Net:
    random = torch.Generator().manual_seed(11)
    layers = {}
    for i, size in enumerate(sizes):
        weight = torch.randn(size, generator=random) * scale
        live = (weight.abs() > scale) if pruned else None
        layers[f"layer{i}"] = Layer.untouched(weight if live is None else weight * live, live)
    return Net(layers, lambda: 0.0, seed=seed)


def weights_of(net: Net) -> dict[str, Tensor]:
    return {name: layer.weight.clone() for name, layer in net.layers.items()}


@every_kind
@pytest.mark.parametrize("pruned", [False, True])
def test_what_is_stored_decodes_to_the_weights(options: dict[str, Any], pruned: bool) -> None:
    net = make_net(403, 50, pruned=pruned)
    before, method = weights_of(net), Universal(step=0.7, **options)
    decided = method.quantize(0, net)
    for name, layer in net.layers.items():
        assert torch.equal(layer.coded().decoded(), layer.weight)
        assert bool(layer.frozen.all())
        assert layer.codebook.shape[1:] == (() if method.block == 1 else (method.block,))
        assert len(layer.codes) == -(-len(layer.values()) // method.block)
        assert len(layer.codes.unique()) == len(layer.codebook) <= decided["clusters"]
        assert (layer.dither is None) == (not method.dither)
        if pruned:
            assert torch.equal(layer.weight == 0, before[name] == 0)


@every_kind
def test_error_stays_in_the_cell(options: dict[str, Any]) -> None:
    net = make_net(4_000)
    before = net.layers["layer0"].weight.clone()
    step = Universal(step=1.0, **options).quantize(0, net)["edge"]
    lattice = LATTICES[options["lattice"]]
    error = (net.layers["layer0"].weight - before).double().view(-1, lattice.dimension) * (1 - 1e-5)
    assert not lattice.nearest(error, step).any()


def test_step_is_relative_to_the_live_weights_of_the_network() -> None:
    step = Universal(step=0.5).quantize(0, make_net(900, 100, scale=0.02))["edge"]
    small = Universal(step=0.5).quantize(0, make_net(900, 100, scale=0.01))["edge"]
    assert step == pytest.approx(0.01, rel=0.1)
    assert small == pytest.approx(step / 2)
    live = make_net(900, pruned=True)
    root = float(live.layers["layer0"].values().double().square().mean().sqrt())
    assert Universal(step=0.5).quantize(0, live)["edge"] == pytest.approx(root / 2)


def test_error_is_uniform_and_independent_of_the_weights() -> None:
    net = make_net(20_000)
    before = net.layers["layer0"].weight.double()
    step = Universal(step=3.0).quantize(0, net)["edge"]
    error = (net.layers["layer0"].weight - before).double()
    assert stats.kstest(error.numpy(), "uniform", args=(-step / 2, step)).pvalue > 0.01
    assert abs(float(torch.corrcoef(torch.stack([error, before]))[0, 1])) < 4 / 20_000**0.5
    plain = make_net(20_000)
    Universal(step=3.0, dither=False).quantize(0, plain)
    undithered = (plain.layers["layer0"].weight - before).double()
    assert float(torch.corrcoef(torch.stack([undithered, before]))[0, 1]) < -0.2  # what the dither is against


@every_kind
@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_rate_is_met_and_not_exceeded(options: dict[str, Any], rate: float) -> None:
    net = make_net(24_000, 2_400)
    decided = Universal(rate=rate, **options).quantize(0, net)
    assert decided["entropy"] <= rate
    assert decided["entropy"] == pytest.approx(rate, rel=0.02)
    codes = [layer.codes for layer in net.layers.values()]
    bits = sum(len(c) * stats.entropy(torch.bincount(c.long()).numpy(), base=2) for c in codes)
    assert decided["entropy"] == pytest.approx(bits / 26_400)


def test_better_lattice_has_a_smaller_error_at_the_same_rate() -> None:
    errors = []
    for lattice in ("Z", "A2", "D4"):
        net = make_net(60_000)
        before = net.layers["layer0"].weight.clone()
        Universal(lattice=lattice, rate=1.5).quantize(0, net)
        errors.append(float((net.layers["layer0"].weight - before).square().mean()))
    assert errors == sorted(errors, reverse=True)


def test_dither_is_that_of_the_trial_and_the_layer() -> None:
    one, same, other = make_net(50, 50), make_net(50, 50), make_net(50, 50, seed=1)
    for net in (one, same, other):
        Universal(step=1.0).quantize(0, net)
    seeds = [[layer.dither.seed for layer in net.layers.values() if layer.dither] for net in (one, same, other)]
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == 4
    assert torch.equal(one.layers["layer0"].weight, same.layers["layer0"].weight)


def test_zeros_stay_zeros_and_equal_weights_are_no_trouble() -> None:
    layers = {"zeros": Layer.untouched(torch.zeros(6, 5)), "equal": Layer.untouched(torch.full((7,), 0.5))}
    Universal(lattice="A2", step=0.5).quantize(0, Net(layers, lambda: 0.0, seed=0))
    assert not layers["zeros"].weight.any()
    assert layers["zeros"].dither is None
    assert layers["equal"].weight.sub(0.5).abs().max() < 0.5
    zeros = {"zeros": Layer.untouched(torch.zeros(6))}
    decided = Universal(rate=1.0).quantize(0, Net(zeros, lambda: 0.0, seed=0))
    assert decided["clusters"] == 1
    assert not zeros["zeros"].weight.any()


@every_kind
@pytest.mark.parametrize("size", [{"step": 1.0}, {"rate": 0.5}], ids=["step", "rate"])
def test_a_layer_that_is_pruned_away_stays_so(options: dict[str, Any], size: dict[str, float]) -> None:
    net = make_net(400)
    net.layers["gone"] = Layer.untouched(torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.bool))
    Universal.model_validate(options | size).quantize(0, net)
    assert not net.layers["gone"].weight.any()
    assert bool(net.layers["gone"].frozen.all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_decodes_exactly(dtype: torch.dtype) -> None:
    layers = {"a": Layer.untouched(torch.randn(300, generator=torch.Generator().manual_seed(0)).to(dtype))}
    Universal(lattice="E8", step=0.5).quantize(0, Net(layers, lambda: 0.0, seed=0))
    assert layers["a"].weight.dtype == dtype
    assert torch.equal(layers["a"].coded().decoded(), layers["a"].weight)


@pytest.mark.parametrize("tune", ["sum", "mean"])
@pytest.mark.parametrize("lattice", ["Z", "E8"])
def test_points_can_be_trained_under_the_dither(tune: str, lattice: str) -> None:
    net = make_net(1_003, 96, pruned=True)
    method = Universal.model_validate({"lattice": lattice, "step": 1.0, "tune": tune})
    assert method.stages(2) == 2
    method.quantize(0, net)
    seen = method.through(0, net.layers, 0.0)
    assert seen is not None
    for name, layer in net.layers.items():
        assert torch.equal(seen.weights[name], layer.weight)
        seen.weights[name].sum().backward()
        layer.learned["centres"].data[layer.codebook != 0] += 0.01
    seen = method.through(0, net.layers, 1.0)
    assert seen is not None
    method.quantize(1, net)
    for name, layer in net.layers.items():
        assert torch.equal(seen.weights[name], layer.weight)
        assert torch.equal(layer.coded().decoded(), layer.weight)


def test_too_many_points_are_refused_with_step_and_count() -> None:
    with pytest.raises(
        ValueError, match=r"step 5\S+e-07 needs 3\d{4} points of lattice Z for layer layer0, at most 32767"
    ):
        Universal(step=1e-5).quantize(0, make_net(40_000))


def test_a_rate_beyond_the_number_of_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="rate 9 cannot be reached"):
        Universal(rate=9.0).quantize(0, make_net(100))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"step": 1.0, "rate": 1.0},
        {"step": 0.0},
        {"rate": -1.0},
        {"step": 1.0, "lattice": "D8"},
        {"step": 1.0, "lattice": "E8", "dimension": 8},
        {"step": 1.0, "dimension": 0},
    ],
)
def test_refuses_impossible_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Universal.model_validate(options)


def test_label_tells_lattice_and_step() -> None:
    assert Universal(lattice="E8", step=0.5).label == "Universal E8 step 0.5"
    assert Universal(dimension=4, rate=2.0, dither=False).label == "Universal Z^4 2b undithered"
