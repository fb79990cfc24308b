"""A quantized weight tensor as what is stored of it: a codebook, an index for every weight, which weights are pruned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from suite.quant.dither import Dither

PIECE = 2**20  # codes that are decoded at a time


@dataclass(frozen=True)
class Coded:
    """Everything from which a tensor of N weights, L of them live (not pruned), is rebuilt to the bit.

    In C order the live weights form blocks of d; block i is entry `codes[i]` of the codebook, and the last block is cut to
    length. Then every weight is multiplied by the scale of its filter and loses its dither; pruned weights are zero.
    """

    shape: torch.Size
    dtype: torch.dtype
    codes: Tensor  # (ceil(L / d),) int16
    codebook: Tensor  # (K,) for d = 1, else (K, d); float64, each value representable in `dtype`
    live: Tensor | None = None  # bool, `shape`; None: all are
    scale: Tensor | None = None  # (F,) float64, one for each index of the first dimension, representable in `dtype`
    dither: Dither | None = None

    def decoded(self) -> Tensor:
        """The weights, on the device of the codes."""
        codebook = self.codebook.to(self.codes.device, self.dtype)
        values = codebook.new_empty(len(self.codes), *codebook.shape[1:])
        for at in range(0, len(values), PIECE):  # in pieces: torch takes no index of fewer bits
            torch.index_select(codebook, 0, self.codes[at : at + PIECE].int(), out=values[at : at + PIECE])
        return self.with_values(values.flatten())

    def with_values(self, values: Tensor) -> Tensor:
        """The weights if the blocks had these values, (at least L,), without scale and dither; differentiable in them."""
        count = self.shape.numel() if self.live is None else int(self.live.sum())
        weights = values[:count]
        if self.dither is not None:
            weights = weights - self.dither.values(count, weights.dtype).to(weights.device)
        if self.live is None:
            weights = weights.view(self.shape)
        else:
            weights = weights.new_zeros(self.shape).masked_scatter(self.live, weights)
        if self.scale is not None:
            weights = weights * self.scale.to(weights).view(-1, *[1] * (len(self.shape) - 1))
        return weights
