"""Lloyd's algorithm in one dimension, on sorted values with prefix sums: a round costs K binary searches, whatever the size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


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
        cells = torch.bucketize(weights.detach().double().contiguous(), self.upper.to(weights.device))
        return self.order.to(weights.device, torch.int16)[cells]

    def edges(self, values: Sorted) -> Tensor:
        """Positions (C + 1,) between which the sorted values belong to the i-th cell."""
        inner = torch.searchsorted(values.values, self.upper, right=True)
        return torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), len(values.values))])


def lloyd(values: Sorted, centres: Tensor, movable: Tensor, rounds: int) -> tuple[Tensor, Cells]:
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
        edges = cells.edges(values)
        counts = edges.diff()
        means = values.sums[edges].diff() / counts.clamp(min=1)
        moved = centres.clone()
        moved[cells.order] = torch.where(movable[cells.order] & (counts > 0), means, centres[cells.order])
        unchanged = torch.equal(moved, centres)
        centres = moved
        if unchanged:
            break
    return centres, cells
