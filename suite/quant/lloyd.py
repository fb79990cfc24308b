"""Lloyd's algorithm in one dimension, on sorted values with prefix sums: a round costs K binary searches, whatever the size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

LARGE = 2**20  # weights; up to about so many, sorting is as fast as passes over their bits, and needs no numba

_FEW_ROUNDS = 50


def is_large(weights: Tensor) -> bool:
    """Whether passes over the weights' bits pay; they know types whose values are all float32 values."""
    return weights.numel() > LARGE and weights.dtype in (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Sorted:
    """All values of one layer in ascending order, with the sums of every prefix; both float64, on the CPU."""

    values: Tensor  # (N,)
    sums: Tensor  # (N + 1,); sums[i] is the sum of values[:i]

    @staticmethod
    def of(weights: Tensor) -> Sorted:
        """Sort the weights, a tensor of any shape and float type."""
        flat = weights.detach().flatten().cpu()
        exact = flat if flat.dtype == torch.float64 else flat.float()
        values = torch.from_numpy(
            np.sort(exact.numpy())
        ).double()  # NumPy's vectorised sort: several times torch's speed
        return Sorted(values, torch.cat([values.new_zeros(1), values.cumsum(0)]))

    def totals(self, cells: Cells) -> tuple[Tensor, Tensor]:
        """Counts, int64, and sums, float64, both (C,), of the values in each cell."""
        edges = cells.edges(self)
        return edges.diff(), self.sums[edges].diff()


@dataclass(frozen=True)
class Cells:
    """The C nearest-centre regions of a codebook on the line; of equal centres only the first one has a region.

    A value on the boundary of two cells belongs to the centre that comes first in the codebook, as in a linear search.
    """

    order: Tensor  # (C,) int64: codebook index of the i-th cell from the left
    upper: Tensor  # (C - 1,) float64: the largest value that belongs to the i-th cell

    @staticmethod
    def of(centres: Tensor) -> Cells:
        """Cells of the centres (K,), in any order, float64."""
        ascending, order = centres.sort(stable=True)
        first = torch.cat([torch.tensor([True]), ascending.diff() > 0])
        ascending, order = ascending[first], order[first]
        middle = (ascending[1:] + ascending[:-1]) / 2
        below = torch.nextafter(middle, torch.full_like(middle, -torch.inf))
        return Cells(order, torch.where(order[1:] < order[:-1], below, middle))

    def codes(self, weights: Tensor) -> Tensor:
        """Codebook index of every weight: int16, shape and device of the weights."""
        if is_large(weights) and len(self.order) > 1:
            from suite.quant.assign import write_codes

            codes = torch.empty(weights.shape, dtype=torch.int16, device=weights.device)
            write_codes(weights, self.upper.numpy(), self.order.numpy(), codes)
            return codes
        cells = torch.bucketize(weights.detach().double().contiguous(), self.upper.to(weights.device))
        return self.order.to(weights.device, torch.int16)[cells]

    def edges(self, values: Sorted) -> Tensor:
        """Positions (C + 1,) between which the sorted values belong to the i-th cell."""
        inner = torch.searchsorted(values.values, self.upper, right=True)
        return torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), len(values.values))])


class Population(Protocol):
    """Values of which it is known how many are in each cell, and their sum."""

    def totals(self, cells: Cells) -> tuple[Tensor, Tensor]: ...


def lloyd(values: Population, centres: Tensor, movable: Tensor, rounds: int) -> tuple[Tensor, Cells]:
    """Up to `rounds` times: assign every value to its nearest centre, then move the movable centres to their members' means.

    Args:
        values: all weights of the layer, fixed ones included.
        centres: (K,) float64 start.
        movable: (K,) bool; the other centres attract values but stay where they are. An empty cluster stays, too.
        rounds: assignments made; fewer if nothing moves any more.

    Returns:
        The centres after the last update and the cells of the last assignment, which preceded that update
        (SLQ released code: weights are snapped by the last assignment to the newest centres).
    """
    for _ in range(rounds):
        cells = Cells.of(centres)
        counts, sums = values.totals(cells)
        means = sums / counts.clamp(min=1)
        moved = centres.clone()
        moved[cells.order] = torch.where(movable[cells.order] & (counts > 0), means, centres[cells.order])
        unchanged = torch.equal(moved, centres)
        centres = moved
        if unchanged:
            break
    return centres, cells


def lloyd_of(weights: Tensor, centres: Tensor, movable: Tensor, rounds: int) -> tuple[Tensor, Cells]:
    """`lloyd` of these weights, any shape and float type: sorted, or counted if they are many, which is equal to rounding.

    In many rounds the cells' bounds cross so many bins that sorting all weights is faster.
    """
    if not movable.any():
        return centres, Cells.of(centres)
    if is_large(weights) and rounds <= _FEW_ROUNDS:
        from suite.quant.counted import lloyd_on_bins

        return lloyd_on_bins(weights, centres, movable, rounds)
    return lloyd(Sorted.of(weights), centres, movable, rounds)
