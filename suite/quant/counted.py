"""Lloyd's algorithm on counted weights: what `lloyd` does on sorted ones, without sorting them all. Imported late, as numba is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.quant.assign import floor
from suite.quant.bins import Bins
from suite.quant.lloyd import Cells, lloyd
from suite.quant.passes import LOW, rank


class Counted:
    """Bins as a source of the cells' counts and sums; a bin into which a bound falls is remembered, and shared out evenly."""

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.crossed: set[int] = set()  # places of the bins into which bounds fell
        values = (bins.sums / bins.counts).astype(np.float32)
        self._last = np.where(bins.exact, rank(values), ((bins.places + 1) << LOW) - 1)  # rank of the greatest value
        self._counts = np.concatenate([[0.0], np.cumsum(bins.counts)])
        self._sums = np.concatenate([[0.0], np.cumsum(bins.sums)])

    def totals(self, cells: Cells) -> tuple[Tensor, Tensor]:
        """Counts and sums, (C,) float64, of the weights in each cell."""
        bounds = rank(floor(cells.upper.numpy()) + np.float32(0))
        whole = np.searchsorted(self._last, bounds, side="right")
        nearest = np.minimum(whole, len(self.bins.places) - 1)
        cut = ~self.bins.exact[nearest] & (self.bins.places[nearest] == bounds >> LOW) & (whole == nearest)
        self.crossed.update(self.bins.places[nearest[cut]].tolist())
        share = np.where(cut, ((bounds & (2**LOW - 1)) + 1) / 2**LOW, 0.0)
        return self._between(self._counts, whole, share * self.bins.counts[nearest]), self._between(
            self._sums, whole, share * self.bins.sums[nearest]
        )

    @staticmethod
    def _between(before: NDArray[np.float64], whole: NDArray[np.int64], part: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(np.diff(np.concatenate([[0.0], before[whole] + part, before[-1:]])))


def lloyd_on_bins(weights: Tensor, centres: Tensor, movable: Tensor, rounds: int) -> tuple[Tensor, Cells]:
    """`lloyd` of `Sorted.of(weights)`, equal to rounding: the values of the bins that hold a cell's bound are gathered and sorted.

    Rounds with the bounds' bins shared out evenly show which bins these are; it is done again until no other bin is crossed.

    Args:
        weights: at least one, any shape; float32, bfloat16 or float16; finite.
        centres, movable, rounds: as in `lloyd`.
    """
    bins = Bins.of(weights)
    split, near = np.zeros(len(bins.places), dtype=np.bool_), 1
    while True:
        counted = Counted(bins.split(weights, split))
        ends = lloyd(counted, centres, movable, rounds)
        if not counted.crossed:
            return ends
        for place in np.searchsorted(bins.places, sorted(counted.crossed)):
            split[max(0, place - near) : place + near + 1] = True
        near *= 8
