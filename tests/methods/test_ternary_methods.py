"""TWN's and TTQ's thresholds in whole layers, and Deep Compression's widths, worked out by hand."""

from __future__ import annotations

import torch

from suite.methods import TTQ, TWN, DeepCompression
from suite.methods.base import Net
from suite.quant.layer import Layer


def net(layer: Layer) -> Net:
    return Net({"fc": layer}, lambda: 0.0, seed=0)


def test_pruned_weights_do_not_lower_twns_threshold() -> None:
    """Live magnitudes 1, 0.6, 0.2: mean 0.6, threshold 0.42; with the zeros in the mean 0.2 would pass, too."""
    weight = torch.tensor([[1.0, -0.6, 0.2, 0.0, 0.0, 0.0, 0.0]])
    layer = Layer.untouched(weight, weight != 0)
    TWN().quantize(1, net(layer))
    assert torch.allclose(layer.weight, torch.tensor([[0.8, -0.8, 0.0, 0.0, 0.0, 0.0, 0.0]]))


def test_ttqs_threshold_is_a_fraction_of_the_largest_weight() -> None:
    """0.5 of 1.0: both scales start at the mean magnitude of what lies above it."""
    layer = Layer.untouched(torch.tensor([[1.0, 0.6, 0.4, -0.45, -0.7, 0.1]]))
    method = TTQ(threshold=0.5)
    method.quantize(0, net(layer))
    method.quantize(1, net(layer))
    assert torch.allclose(layer.weight, torch.tensor([[0.8, 0.8, 0.0, 0.0, -0.7, 0.0]]))


def test_deep_compression_has_widths_for_convolutions_and_full_layers() -> None:
    random = torch.Generator().manual_seed(0)
    method = DeepCompression(conv_bits=4, fc_bits=2, tune="none")
    for shape, centres in (((8, 4, 3, 3), 16), ((20, 30), 4)):
        layer = Layer.untouched(torch.randn(shape, generator=random))
        method.quantize(0, net(layer))
        assert len(layer.codebook) == centres
