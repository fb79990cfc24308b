"""Networks in files that are read back exactly or not at all, and their sizes counted by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from suite.methods import KMeans
from suite.methods.base import Net
from suite.nets import build_network, quantizable
from suite.pack.contents import RECORDED
from suite.pack.size import index_width, measure
from suite.pack.store import load_network, load_state, save_network, verify
from suite.quant.dither import Dither
from suite.quant.layer import Layer


def quantized(bits: int) -> tuple[nn.Module, dict[str, Layer]]:
    model = build_network("lenet5", 1, 28, 10, seed=0)
    layers = {name: Layer.untouched(weight) for name, weight in quantizable(model).items()}
    KMeans(bits=bits).quantize(0, Net(layers, loss=lambda: 0.0, seed=0))
    return model, layers


def linear(
    weight: Tensor, codes: list[int], codebook: list[float], live: Tensor | None = None
) -> tuple[nn.Module, dict[str, Layer]]:
    """A network of one layer that has these codes."""
    model = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0]))
    model[0].weight.data.copy_(weight if live is None else weight * live)
    layer = Layer.untouched(model[0].weight, live)
    layer.assign(torch.tensor(codebook, dtype=torch.float64), torch.tensor(codes))
    return model, {"0": layer}


@pytest.mark.parametrize(("clusters", "width"), [(17, 5), (9, 4), (5, 3), (3, 2), (2, 1), (1, 1), (256, 8), (257, 9)])
def test_index_width(clusters: int, width: int) -> None:
    assert index_width(clusters) == width


@pytest.mark.parametrize("bits", [2, 5])
def test_the_parts_add_up_to_the_real_file(tmp_path: Path, bits: int) -> None:
    model, layers = quantized(bits)
    save_network(tmp_path / "m", model, layers)
    size = measure(model, layers, tmp_path / "m")
    weights = 6 * 25 + 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10
    biases = 6 + 16 + 120 + 84 + 10
    assert size.file_bits == 8 * (tmp_path / "m").stat().st_size
    parts = size.codebook_bits + size.position_bits + size.code_bits + size.side_bits + size.other_bits
    assert size.file_bits == parts
    assert (size.weights, size.live, size.full_bits) == (weights, weights, 32 * (weights + biases))
    assert size.other_bits <= 32 * biases
    assert size.side_bits < 8 * 300
    assert size.ratio == size.full_bits / size.file_bits
    assert size.bits_per_weight == (size.file_bits - size.other_bits) / weights
    assert size.index_bits == bits * weights
    fixed = bits * weights + 5 * (2 ** (bits - 1) + 1) * 32
    assert size.fixed_bits_per_weight == fixed / weights
    assert size.fixed_ratio == size.full_bits / (fixed + 32 * biases)
    assert set(size.coders) == {*RECORDED}
    assert size.entropy_bits <= size.coders["huffman"] < size.coders["fixed"]
    assert size.position_bits + size.code_bits <= min(size.coders.values())
    json.dumps(asdict(size), allow_nan=False)


def test_ways_of_counting_by_hand(tmp_path: Path) -> None:
    """A row of 100 weights of which three live, at places 0, 3 and 80, with the codes 0, 0, 1."""
    live = torch.zeros(1, 100, dtype=torch.bool)
    live[0, [0, 3, 80]] = True
    model, layers = linear(torch.ones(1, 100), [0, 0, 1], [1.0, 2.0], live)
    save_network(tmp_path / "m", model, layers)
    size = measure(model, layers, tmp_path / "m")
    assert (size.weights, size.live, size.nonzero, size.index_bits) == (100, 3, 3, 3)
    # a third symbol for pruned weights: two bits for each, and two centres
    assert size.fixed_ratio == pytest.approx(101 * 32 / (100 * 2 + 2 * 32 + 32))
    # differences 1, 3, 77 = 32 + 32 + 13: {1, 3, 32, 32, 13} in 10 bits, codes {0, 0, filler, filler, 1} in 8
    assert size.ratio_deep_compression == pytest.approx(101 * 32 / (10 + 8 + 2 * 32 + 32))
    # of 7 bits: differences 1, 3, 77 in 1 + 2 + 2 bits and as much for the table, codes in 3 + 2
    assert size.ratio_choi == pytest.approx(101 * 32 / (10 + 5 + 2 * 32 + 32))
    assert size.entropy_bits == pytest.approx(2 * math.log2(3 / 2) + math.log2(3))


def test_a_zero_in_the_codebook_stands_for_pruned_weights_too(tmp_path: Path) -> None:
    live = torch.rand(30, 40, generator=torch.Generator().manual_seed(0)) < 0.1
    codes = (torch.arange(int(live.sum())) % 3).tolist()
    model, layers = linear(torch.ones(30, 40), codes, [-1.0, 0.0, 1.0], live)
    save_network(tmp_path / "m", model, layers)
    verify(tmp_path / "m", model)
    size = measure(model, layers, tmp_path / "m")
    assert size.nonzero == sum(code != 1 for code in codes) < size.live == len(codes)
    assert size.fixed_bits_per_weight == (2 * 1200 + 3 * 32) / 1200


def test_layers_with_one_codebook_share_their_code_as_choi_counts(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False))
    layers = {name: Layer.untouched(weight) for name, weight in quantizable(model).items()}
    for layer in layers.values():
        layer.assign(torch.tensor([0.5, 1.5], dtype=torch.float64), torch.tensor([0, 1] * 4))
    save_network(tmp_path / "m", model, layers)
    assert measure(model, layers, tmp_path / "m").ratio_choi == pytest.approx(16 * 32 / ((8 + 1) * 2 + 2 * 32))


def test_an_unquantized_network_has_ratio_one(tmp_path: Path) -> None:
    model = build_network("resnet20", 3, 32, 10, seed=0)
    save_network(tmp_path / "m.safetensors", model, {})
    size = measure(model, {}, tmp_path / "m.safetensors")
    assert (size.ratio, size.bits_per_weight, size.weights) == (1.0, 32.0, 0)
    verify(tmp_path / "m.safetensors", model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("clusters", [1, 3, 500])
def test_reload_is_exact(tmp_path: Path, dtype: torch.dtype, pruned: bool, clusters: int) -> None:
    rng = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5)).to(dtype)
    layers = {}
    for name, weight in quantizable(model).items():
        live = torch.rand(weight.shape, generator=rng) < 0.3 if pruned else None
        weight.data *= 1 if live is None else live
        layer = layers[name] = Layer.untouched(weight, live)
        layer.scale = torch.rand(len(weight), generator=rng).to(dtype).double()
        layer.dither = Dither(7, 0.125) if name == "0" else None
        codes = torch.randint(clusters, (len(layer.values()),), generator=rng)
        layer.assign(torch.randn(clusters, generator=rng).double(), codes)
    save_network(tmp_path / "m", model, layers)
    verify(tmp_path / "m", model)
    for name, tensor in load_state(tmp_path / "m").items():
        assert tensor.dtype == model.state_dict()[name].dtype
        assert torch.equal(tensor, model.state_dict()[name])


@pytest.mark.parametrize("pruned", [False, True])
def test_vectors_come_back(tmp_path: Path, pruned: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(25, 9))
    live = torch.rand(9, 25, generator=rng) < 0.3 if pruned else None
    model[0].weight.data *= 1 if live is None else live
    layer = Layer.untouched(model[0].weight, live)
    blocks = -(-len(layer.values()) // 4)
    layer.assign(torch.randn(6, 4, generator=rng).double(), torch.randint(6, (blocks,), generator=rng))
    save_network(tmp_path / "m", model, {"0": layer})
    verify(tmp_path / "m", model)
    size = measure(model, {"0": layer}, tmp_path / "m")
    assert size.index_bits == 3 * blocks
    assert size.fixed_bits_per_weight == (3 * blocks + 6 * 4 * 32 + (225 if pruned else 0)) / 225
    assert (size.position_bits > 0) == pruned
    assert size.ratio_deep_compression > 1 < size.ratio_choi


def test_a_layer_that_is_not_frozen_is_stored_as_it_is(tmp_path: Path) -> None:
    model, layers = quantized(3)
    layers["fc1"].frozen[0, 0] = False
    layers["fc1"].weight.data[0, 0] = 0.123
    save_network(tmp_path / "m", model, layers)
    verify(tmp_path / "m", model)
    size = measure(model, layers, tmp_path / "m")
    assert size.weights == 61_470 - 48_000
    assert size.other_bits > 32 * 226


def test_a_network_that_is_pruned_only_gets_smaller(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(200, 100))
    live = torch.rand(100, 200, generator=torch.Generator().manual_seed(0)) < 0.1
    model[0].weight.data *= live
    layers = {"0": Layer.untouched(model[0].weight, live)}
    save_network(tmp_path / "m", model, layers)
    verify(tmp_path / "m", model)
    size = measure(model, layers, tmp_path / "m")
    stored = 32 * int(live.sum()) + 20_000 * 0.469 + 32 * 100  # numbers, positions at the entropy of one in ten, biases
    assert stored < size.file_bits < 1.03 * stored
    assert size.ratio == size.full_bits / size.file_bits


def test_a_file_of_a_network_of_other_shapes_is_refused(tmp_path: Path) -> None:
    save_network(tmp_path / "m", *quantized(3))
    with pytest.raises(ValueError, match=r"has conv1.weight in the shape \[6, 1, 5, 5\], not \[6, 3, 5, 5\]"):
        load_network(tmp_path / "m", build_network("lenet5", 3, 28, 10, seed=0))


def test_a_changed_weight_is_noticed(tmp_path: Path) -> None:
    model, layers = quantized(3)
    save_network(tmp_path / "m", model, layers)
    verify(tmp_path / "m", model)
    next(iter(layers.values())).weight.data.view(-1)[0] += 1e-3
    with pytest.raises(ValueError, match="does not reproduce"):
        verify(tmp_path / "m", model)


@pytest.mark.parametrize("quantize", [True, False], ids=["packed", "safetensors"])
def test_shared_weights_are_stored_once_and_come_back_shared(tmp_path: Path, quantize: bool) -> None:
    def network() -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        model[2].weight = model[0].weight
        return model

    model = network()
    layers = {name: Layer.untouched(weight) for name, weight in quantizable(model).items()} if quantize else {}
    assert list(layers) == ["0"] * quantize
    if quantize:
        KMeans(bits=2).quantize(0, Net(layers, loss=lambda: 0.0, seed=0))
    save_network(tmp_path / "m", model, layers)
    assert "2.weight" not in load_state(tmp_path / "m")
    other = network()
    load_network(tmp_path / "m", other)
    assert torch.equal(other[2].weight, model[0].weight)
    assert torch.equal(other[2].bias, model[2].bias)


@pytest.mark.parametrize("make", [lambda: quantized(3), lambda: (quantized(3)[0], {})], ids=["packed", "safetensors"])
def test_a_file_of_another_network_is_refused(
    tmp_path: Path, make: Callable[[], tuple[nn.Module, dict[str, Layer]]]
) -> None:
    save_network(tmp_path / "m", *make())
    with pytest.raises(ValueError, match="belongs to another network"):
        load_network(tmp_path / "m", build_network("resnet20", 1, 28, 10, seed=0))
