"""The partition of points on the line into k clusters of the least squared error: dynamic programming, then Lloyd on finer points.

Source of the recurrence: Wang and Song 2011, "Ckmeans.1d.dp". That the best last cut moves right with the end of the points
(the error is concave Monge), and so may be searched for between its neighbours' cuts: Grønlund et al. 2017, "Fast exact k-means,
k-medians and Bregman divergence clustering in 1D", section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from suite.compiled import compiled
from suite.quant.passes import Doubles, Integers

_EXACT = 2**16  # distinct values
_COARSE = 1024  # groups on which the first partition is sought
_FINER = 4  # times as many in each next one
_REACH = 64  # groups that a cut may move from one to the next: an outlier more or less shifts all cuts by a cluster


@dataclass(frozen=True)
class Points:
    """M points on the line, ascending, each standing for one or more values."""

    places: Doubles  # (M,)
    counts: Doubles  # (M + 1,): values to the left of each point, and all
    sums: Doubles  # (M + 1,) of these values
    squares: Doubles  # (M + 1,) of these values' squares

    @staticmethod
    def of(places: Doubles, counts: Integers) -> Points:
        """Points with how many values each of them stands for, both (M,)."""
        weights = counts.astype(np.float64)
        return Points(places, *(_before(weights * power) for power in (np.ones_like(places), places, places**2)))

    def density(self) -> Doubles:
        """Where each point lies, (M,) rising from 0 to 1, if an optimal quantizer of many levels has them evenly spaced.

        Its levels lie as densely as the cube root of the values' density (Panter and Dite 1951); so rises the cube root of the
        values around a gap times the gap squared, summed.
        """
        numbers, gaps = np.diff(self.counts), np.diff(self.places)
        position = _before(np.cbrt((numbers[1:] + numbers[:-1]) * gaps * gaps))
        even: Doubles = position / max(position[-1], np.finfo(np.float64).tiny)
        return even

    def merged(self, ends: Integers) -> Points:
        """Fewer points: the means of the groups between `ends`, (G + 1,), from 0 to M."""
        counts, sums = self.counts[ends], self.sums[ends]
        return Points(np.diff(sums) / np.diff(counts), counts, sums, self.squares[ends])


def least_error(points: Points, k: int) -> Integers:
    """Positions (k + 1,) from 0 to M between which the k clusters of the least squared error lie; k is at most M. O(k M log M)."""
    rows = np.arange(k + 1)
    return _cuts(points.counts, points.sums, points.squares, rows, len(points.places) - k + rows)


def best_means(values: Doubles, k: int) -> Doubles:
    """Means, ascending, of the k clusters of the least squared error, of values (N,) in ascending order, N at least 1.

    Exact for up to 2^16 distinct values, else by `near_least_error`; fewer means if there are fewer distinct values.
    """
    distinct, counts = np.unique(values, return_counts=True)
    origin = values.mean()  # near it, squares lose no digits
    points, clusters = Points.of(distinct - origin, counts), min(k, len(distinct))
    ends = least_error(points, clusters) if len(distinct) <= _EXACT else near_least_error(points, clusters)
    ends = settled(points, ends)
    return np.add.reduceat(distinct * counts, ends[:-1]) / np.diff(points.counts[ends])


def near_least_error(points: Points, k: int) -> Integers:
    """As `least_error`, faster for large M: exact on groups of points, then on ever finer ones close to the cuts found."""
    size, position = max(_COARSE, 4 * k), points.density()
    groups = _groups(position, size)
    while len(groups) <= k:
        size *= _FINER
        groups = _groups(position, size)
    ends = groups[least_error(points.merged(groups), k)]
    while len(groups) <= len(points.places):
        size *= _FINER
        groups = _groups(position, size)
        near, rows = np.searchsorted(groups, ends), np.arange(k + 1)
        low = np.maximum(near - _REACH, rows)
        high = np.minimum(near + _REACH, len(groups) - 1 - k + rows)
        low[0] = high[0] = 0
        low[k] = high[k] = len(groups) - 1
        merged = points.merged(groups)
        ends = groups[_cuts(merged.counts, merged.sums, merged.squares, low, high)]
    return ends


def _groups(position: Doubles, count: int) -> Integers:
    """Ends, (G + 1,) from 0 to M, of about `count` groups of points at positions, (M,), that are even in position."""
    if count >= len(position):
        return np.arange(len(position) + 1)
    group = np.minimum((position * count).astype(np.int64), count - 1)
    return np.concatenate([[0], np.flatnonzero(group[1:] != group[:-1]) + 1, [len(position)]])


def settled(points: Points, ends: Integers) -> Integers:
    """Lloyd from this partition, (k + 1,) with no empty cluster, until no point changes its cluster."""
    return _settle(points.places, points.counts, points.sums, ends)


def _before(values: Doubles) -> Doubles:
    return np.concatenate([[0.0], np.cumsum(values)])


@compiled
def _error(counts: Doubles, sums: Doubles, squares: Doubles, first: int, last: int) -> np.float64:
    total: np.float64 = sums[last] - sums[first]
    error: np.float64 = (squares[last] - squares[first]) - total * total / (counts[last] - counts[first])
    return error


@compiled
def _cuts(counts: Doubles, sums: Doubles, squares: Doubles, low: Integers, high: Integers) -> Integers:
    """The best ends of the first 0, 1, ... k clusters if the r-th one ends between low[r] and high[r], both (k + 1,) and rising."""
    k, width = len(low) - 1, (high - low).max() + 1
    cut = np.zeros((k + 1, width), dtype=np.int32)
    least, following = np.full(width, np.inf), np.full(width, np.inf)
    least[0] = 0.0
    for row in range(1, k + 1):
        first, last, before = low[row], high[row], low[row - 1]
        stride = 1
        while stride <= last - first:
            stride *= 2
        while stride > 0:  # the ends at odd multiples of the stride lie between two whose best cuts are known
            for end in range(first + stride - 1, last + 1, 2 * stride):
                left = cut[row, end - stride - first] if end - stride >= first else before
                right = cut[row, end + stride - first] if end + stride <= last else high[row - 1]
                best, where = np.inf, left
                for start in range(left, min(right, end - 1) + 1):
                    error = least[start - before] + _error(counts, sums, squares, start, end)
                    if error < best:
                        best, where = error, start
                following[end - first], cut[row, end - first] = best, where
            stride //= 2
        least, following = following, least
    ends = high.copy()
    for row in range(k, 0, -1):
        ends[row - 1] = cut[row, ends[row] - low[row]]
    return ends


_ROUNDS = 1000  # far more than are needed; rounding of the sums might move a point to and fro for ever


@compiled
def _settle(places: Doubles, counts: Doubles, sums: Doubles, start: Integers) -> Integers:
    ends = start.copy()
    k = len(ends) - 1
    for _ in range(_ROUNDS):
        moved = False
        left = (sums[ends[1]] - sums[ends[0]]) / (counts[ends[1]] - counts[ends[0]])
        for j in range(1, k):
            right = (sums[ends[j + 1]] - sums[ends[j]]) / (counts[ends[j + 1]] - counts[ends[j]])
            middle = (left + right) / 2
            end = ends[j]
            while end > ends[j - 1] + 1 and places[end - 1] > middle:
                end -= 1
            while end < ends[j + 1] - 1 and places[end] <= middle:
                end += 1
            moved |= end != ends[j]
            ends[j] = end
            left = right
        if not moved:
            break
    return ends
