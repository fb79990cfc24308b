"""INQ, incremental network quantization (Zhou, Yao, Guo, Xu, Chen, ICLR 2017, arXiv 1702.03044).

Weights become powers of two or zero, a portion at a time: quantize and freeze the largest ones of each layer, re-train the rest,
repeat until the portion is all. There is nothing to re-train after the last one.

Deviation: the codebook is fixed by the weights before the first portion. The released code works it out anew at each portion, which
gives the same one unless a free weight grows to more than 1.5 times the largest power.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from suite.methods.base import FreezeMethod, Net
from suite.quant.layer import Layer

# Accumulated portions: published for ResNet-18 at each width; at 5 bits for VGG-16 and ResNet-50, too.
# AlexNet has 0.3, 0.6, 0.8, 1 and GoogLeNet 0.2, 0.4, 0.6, 0.8, 1 at 5 bits.
PORTIONS = {
    5: (0.5, 0.75, 0.875, 1.0),
    4: (0.3, 0.5, 0.8, 0.9, 0.95, 1.0),
    3: (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0),
    2: (0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 1.0),
}


class INQ(FreezeMethod):
    """Incremental network quantization to powers of two and zero, at most 2^(b-1)+1 values in a layer."""

    name: Literal["inq"] = "inq"
    title: ClassVar[str] = "INQ"
    bits: int = Field(ge=2, le=8, description="Bits per weight: one for zero, the others for sign and power.")
    partition: Literal["magnitude", "random"] = Field(
        "magnitude", description="Which weights come first: the largest of a layer (pruning-inspired), or any."
    )
    portions: tuple[float, ...] = Field(
        default_factory=lambda options: PORTIONS.get(options.get("bits", 5), PORTIONS[5]),
        description="Fractions of each layer's weights that are quantized after each stage; ends with 1.",
    )

    @model_validator(mode="after")
    def _possible(self) -> INQ:
        rising = all(a < b for a, b in zip((0.0, *self.portions), self.portions, strict=False))
        if not self.portions or not rising or self.portions[-1] != 1:
            raise ValueError(
                f"portions {list(self.portions)} are impossible: they are the fractions quantized after each stage, must rise "
                f"from above 0 and end with 1"
            )
        return self

    @property
    def label(self) -> str:
        return f"INQ {self.bits}b {self.partition}"

    def stages(self, layers: int) -> int:
        return len(self.portions)

    def quantize(self, stage: int, net: Net) -> dict[str, Any]:
        for number, layer in enumerate(net.layers.values()):
            if stage == 0:
                layer.start(powers_of_two(layer.values(), self.bits))
            layer.recode()
            if self.portions[stage] < 1:
                order = self._order(layer, net.generator(stage, number))
                layer.freeze(_first(layer, order, self.portions[stage]))
            else:
                layer.fix(torch.ones_like(layer.fixed))
        return {"clusters": 2 ** (self.bits - 1) + 1, "portion": self.portions[stage]}

    def _order(self, layer: Layer, random: torch.Generator) -> Tensor:
        """A score for each weight; the highest are quantized first."""
        if self.partition == "random":
            return torch.rand(layer.weight.shape, generator=random, dtype=torch.float64).to(layer.weight.device)
        return layer.weight.detach().abs()


def powers_of_two(weights: Tensor, bits: int) -> Tensor:
    """The codebook (K,), float64, K = 2^(b-1)+1: +-2^n1, ... +-2^n2, 0, by the paper's quantizer.

    n1 = floor(log2(4 s / 3)) with s the largest magnitude, n2 = n1 + 1 - 2^(b-1) / 2. Zero comes last, so that in the middle
    between two values the larger magnitude wins, as in the paper's rule (a + b) / 2 <= |w| < 3 b / 2.
    """
    largest = float(weights.abs().max()) if weights.numel() else 0.0
    count = 2 ** (bits - 1) // 2
    if largest == 0:
        return torch.zeros(2 * count + 1, dtype=torch.float64)
    n1 = math.floor(math.log2(4 * largest / 3))
    powers = [sign * 2.0 ** (n1 - i) for i in range(count) for sign in (1, -1)]
    return torch.tensor([*powers, 0.0], dtype=torch.float64)


def _first(layer: Layer, order: Tensor, portion: float) -> Tensor:
    """Bool like weight: of the live weights that are still free, the first in order, so that `portion` of all are frozen."""
    live = layer.weight.numel() if layer.live is None else int(layer.live.sum())
    pruned = layer.weight.numel() - live
    count = round(portion * live) - (int(layer.frozen.sum()) - pruned)
    ranked = order.masked_fill(layer.frozen, -1).flatten().argsort(descending=True, stable=True)
    chosen = torch.zeros_like(layer.frozen).flatten()
    chosen[ranked[: max(count, 0)]] = True
    return chosen.view(layer.frozen.shape) & ~layer.frozen
