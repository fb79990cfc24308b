"""Uniform random dither that a decoder can draw again: from a seed, with a generator that any language can write down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_GOLDEN, _MIX1, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Dither:
    """Numbers that are uniform in [-step/2, step/2): SplitMix64 (Steele et al. 2014), the upper 53 bits of each output."""

    seed: int  # 0 to 2^64 - 1
    step: float  # width of the interval, in the unit of the weights

    def values(self, count: int) -> Tensor:
        """The first `count` numbers, float64 on the CPU."""
        with np.errstate(over="ignore"):
            state = np.uint64(self.seed) + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
            state = (state ^ (state >> np.uint64(30))) * _MIX1
            state = (state ^ (state >> np.uint64(27))) * _MIX2
            state ^= state >> np.uint64(31)
        uniform = (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return torch.from_numpy((uniform - 0.5) * self.step)
