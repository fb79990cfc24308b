"""Size by hand, and files that are read back exactly or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from suite.methods import KMeans
from suite.methods.base import Net
from suite.nets import build_network, quantizable
from suite.pack.size import index_width, measure
from suite.pack.store import load_network, load_state, save_network, verify
from suite.quant.layer import Layer


def quantized(bits: int) -> tuple[nn.Module, dict[str, Layer]]:
    model = build_network("lenet5", 1, 28, 10, seed=0)
    layers = {name: Layer.untouched(weight) for name, weight in quantizable(model).items()}
    KMeans(bits=bits).quantize(0, Net(layers, loss=lambda: 0.0, seed=0))
    return model, layers


@pytest.mark.parametrize(("clusters", "width"), [(17, 5), (9, 4), (5, 3), (3, 2), (2, 1), (1, 1), (256, 8), (257, 9)])
def test_index_width(clusters: int, width: int) -> None:
    assert index_width(clusters) == width


def test_size_of_lenet_at_5_bits_by_hand() -> None:
    size = measure(*quantized(5))
    weights = 6 * 25 + 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10
    biases = 6 + 16 + 120 + 84 + 10
    assert (size.weights, size.index_bits, size.codebook_bits) == (weights, 5 * weights, 5 * 17 * 32)
    assert (size.side_bits, size.other_bits, size.full_bits) == (5 * 16, 32 * biases, 32 * (weights + biases))
    stored = 5 * weights + 5 * 17 * 32 + 5 * 16
    assert size.bits_per_weight == pytest.approx(stored / weights)
    assert size.ratio == pytest.approx(32 * (weights + biases) / (stored + 32 * biases))


def test_an_unquantized_network_has_ratio_one() -> None:
    size = measure(build_network("resnet20", 3, 32, 10, seed=0), {})
    assert (size.ratio, size.bits_per_weight) == (1.0, 32.0)


def test_a_changed_weight_is_noticed(tmp_path: Path) -> None:
    model, layers = quantized(3)
    save_network(tmp_path / "m.safetensors", model, layers)
    verify(tmp_path / "m.safetensors", model)
    next(iter(layers.values())).weight.data.view(-1)[0] += 1e-3
    with pytest.raises(ValueError, match="does not reproduce"):
        verify(tmp_path / "m.safetensors", model)


def test_shared_weights_are_stored_once_and_come_back_shared(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    layers = {name: Layer.untouched(weight) for name, weight in quantizable(model).items()}
    assert list(layers) == ["0"]
    KMeans(bits=2).quantize(0, Net(layers, loss=lambda: 0.0, seed=0))
    save_network(tmp_path / "m.safetensors", model, layers)
    assert "2.weight" not in load_state(tmp_path / "m.safetensors")
    other = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    other[2].weight = other[0].weight
    load_network(tmp_path / "m.safetensors", other)
    assert torch.equal(other[2].weight, model[0].weight)
    assert torch.equal(other[2].bias, model[2].bias)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    model, layers = quantized(3)
    save_network(tmp_path / "m.safetensors", model, layers)
    with pytest.raises(ValueError, match="belongs to another network"):
        load_network(tmp_path / "m.safetensors", build_network("resnet20", 1, 28, 10, seed=0))
