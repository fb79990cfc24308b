"""k-means of many weights, in the time of a few passes over them. Imported late: numba takes a second."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.errors import UserError
from suite.quant.assign import write_codes
from suite.quant.bins import Bins
from suite.quant.exact import Points, near_least_error, settled
from suite.quant.passes import Doubles, Integers

MOST = 4096  # clusters: dynamic programming on four times as many groups takes 200 MB for them
_CELL = 8  # bins a cluster must have on average, or the values of all bins are looked at
_BLUR = 1e-2  # of the squared error, in the bins at the bounds: unresolved, they cost less than a tenth of it


def kmeans1d(weights: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k clusters of the weights whose squared error is the least, to a thousandth of it.

    The weights are counted by the upper 18 bits of their float32 values; on these counts the best partition is found by dynamic
    programming, exactly for some thousand groups and then near it for finer ones; at last each weight gets the code of its nearest
    centre. Where 18 bits do not tell enough (weights close together but far from zero, or few distinct ones), their values are
    sorted. The result does not depend on the number of threads, nor on the device.

    Args:
        weights: any shape; float32, bfloat16 or float16; a CPU or a CUDA tensor.
        k: clusters, 1 to 4,096.

    Returns:
        centres: (k,) float64, ascending, on the weights' device; fewer if there are fewer distinct weights, none for no weights.
        indices: shape and device of the weights; uint8 for k up to 256, else int16. Of two equally near centres the smaller counts.

    Raises:
        UserError: k out of range, another type, a weight that is NaN or infinite.
    """
    if not 1 <= k <= MOST:
        raise UserError(f"k = {k}; allowed: 1 to {MOST:,} clusters")
    indices = torch.empty(weights.shape, dtype=torch.uint8 if k <= 256 else torch.int16, device=weights.device)
    centres = best_centres(weights, k)
    if len(centres):
        write_codes(weights, (centres[1:] + centres[:-1]) / 2, np.arange(len(centres)), indices)
    return torch.from_numpy(centres).to(weights.device), indices


def best_centres(weights: Tensor, k: int) -> Doubles:
    """The centres of `kmeans1d`, (k,) or fewer, ascending."""
    bins = Bins.of(weights)
    exact = np.zeros(len(bins.counts), dtype=np.bool_)  # bins whose values are told apart
    while True:
        parts = bins.split(weights, exact)
        if not len(parts.counts):
            return np.empty(0)
        ends = _clustered(parts, k)
        blurred = _blurred(parts, ends)
        if not blurred.any():
            sums, counts = np.add.reduceat(parts.sums, ends[:-1]), np.add.reduceat(parts.counts, ends[:-1])
            return np.unique(sums / counts + 0.0)  # -0 and 0 are in two bins
        exact[np.searchsorted(bins.places, parts.places[blurred])] = True


def _clustered(bins: Bins, k: int) -> Integers:
    """Positions between which the clusters lie; about the mean of all, which keeps the digits of values far from zero."""
    middles = bins.sums / bins.counts
    points = Points.of(middles - np.average(middles, weights=bins.counts), bins.counts)
    return settled(points, near_least_error(points, min(k, len(middles))))


def _blurred(bins: Bins, ends: Integers) -> NDArray[np.bool_]:
    """The bins that have to be told apart: those at the bounds if they hold too much of the error, all if they are few."""
    wide = bins.counts * bins.widths() ** 2
    cuts = ends[1:-1]
    if len(wide) < _CELL * (len(cuts) + 1):
        return wide > 0
    means = np.add.reduceat(bins.sums, ends[:-1]) / np.add.reduceat(bins.counts, ends[:-1])
    errors = bins.sums / bins.counts - np.repeat(means, np.diff(ends))
    near = np.zeros(len(wide), dtype=np.bool_)
    near[cuts] = near[cuts - 1] = True
    near &= wide > 0
    return near & bool(wide[near].sum() > _BLUR * (bins.counts * errors**2).sum())
