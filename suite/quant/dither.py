"""Uniform random dither that a decoder can draw again: from a seed, with a generator that any language can write down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from suite.quant.lattice import LATTICES

_GOLDEN, _MIX1, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
PIECE = 2**18  # numbers that are drawn at a time; a multiple of all lattices' dimensions


@dataclass(frozen=True)
class Dither:
    """Random vectors, one after the other, each uniform over the lattice's cell around 0, whose volume is step^d.

    For Z: numbers that are uniform in [-step/2, step/2).
    """

    seed: int  # 0 to 2^64 - 1
    step: float  # edge of the cube that is as large as the cell, in the unit of the weights
    lattice: str = "Z"  # a key of LATTICES

    def values(self, count: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """The first `count` numbers, on the CPU; drawn as float64, then rounded to the type."""
        drawn = torch.empty(count, dtype=dtype)
        for start in range(0, count, PIECE):  # drawing takes dozens of bytes a number
            piece = drawn[start : start + PIECE]
            piece[:] = self._drawn(start, len(piece))
        return drawn

    def _drawn(self, start: int, count: int) -> Tensor:
        """`count` numbers from the first of a block on."""
        lattice = LATTICES[self.lattice]
        if lattice.dimension == 1:
            return (_uniform(self.seed, start, count) - 0.5) * self.step
        blocks = -(-count // lattice.dimension)
        uniform = _uniform(self.seed, start, blocks * lattice.dimension).view(blocks, lattice.dimension)
        return lattice.in_cell(uniform).flatten()[:count] * self.step


def _uniform(seed: int, start: int, count: int) -> Tensor:
    """Numbers in [0, 1): SplitMix64 (Steele et al. 2014), the upper 53 bits of each output."""
    with np.errstate(over="ignore"):
        state = np.uint64(seed) + _GOLDEN * np.arange(start + 1, start + count + 1, dtype=np.uint64)
        state = (state ^ (state >> np.uint64(30))) * _MIX1
        state = (state ^ (state >> np.uint64(27))) * _MIX2
        state ^= state >> np.uint64(31)
    return torch.from_numpy((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)
