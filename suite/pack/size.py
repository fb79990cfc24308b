"""How many bits a quantized network takes, side information included."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from suite.quant.layer import Layer

FLOAT_BITS = 32
LAYER_HEADER_BITS = 16  # per quantized layer: number of centres and width of an index, a byte each


@dataclass(frozen=True)
class Size:
    """Fixed-width codes: no entropy coding. All in bits, except `weights` and the two ratios."""

    weights: int  # how many weights are quantized
    index_bits: int
    codebook_bits: int
    side_bits: int
    other_bits: int  # what stays full precision: biases, batch-norm, skipped layers
    full_bits: int  # the whole network in full precision
    bits_per_weight: float  # (index + codebook + side) / weights; 32 if nothing is quantized
    ratio: float  # full / all that is stored


def index_width(clusters: int) -> int:
    """Bits of one index into a codebook of so many centres: 17 -> 5, 9 -> 4, 5 -> 3, 3 -> 2."""
    return max(1, math.ceil(math.log2(clusters)))


def measure(model: nn.Module, layers: dict[str, Layer]) -> Size:
    """Size of a network of which `layers` are quantized. Counters of batches seen are not part of a network."""
    numbers = sum(p.numel() for p in model.parameters())
    numbers += sum(b.numel() for b in model.buffers() if b.is_floating_point())
    weights = sum(layer.weight.numel() for layer in layers.values())
    index = sum(layer.weight.numel() * index_width(len(layer.codebook)) for layer in layers.values())
    codebook = sum(len(layer.codebook) * FLOAT_BITS for layer in layers.values())
    side = len(layers) * LAYER_HEADER_BITS
    other = (numbers - weights) * FLOAT_BITS
    stored = index + codebook + side
    per_weight = stored / weights if weights else float(FLOAT_BITS)
    return Size(
        weights, index, codebook, side, other, numbers * FLOAT_BITS, per_weight, numbers * FLOAT_BITS / (stored + other)
    )
