"""Entropy-constrained scalar quantization: few bits after lossless coding, in place of few clusters.

Sources: Choi et al. 2017: (a) uniform thresholds, centres at the (weighted) means of the clusters; (b) a Lloyd-like iteration
whose cost has a rate term, after Chou et al. 1989: importance * (w - c)^2 + slope * (-log2 p), with p the share of all weights
that the cluster has.
At high rates uniform thresholds are as good as any: 1.53 dB, or a quarter of a bit, from the rate-distortion bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from suite.quant.entropy import entropy
from suite.quant.layer import MOST_CODES
from suite.quant.lloyd import Cells
from suite.quant.weighted import Weighted

OFFSETS = (0.0, 0.5)  # of the middle of a cluster from zero, in steps: zero in the middle of a cluster, or between two
_HALVINGS = 40
_GUESSES = 6  # before a search goes over to halving
_OCTAVES = 26  # between the coarsest and the finest step looked at
_NEAR = 0.005  # bits below a target rate that are near enough
_BLOCK = 2**15  # costs looked at at a time: what a core's cache holds


@dataclass(frozen=True)
class Intervals:
    """A quantizer whose clusters are intervals."""

    centres: Tensor  # (K,) float64, ascending
    upper: Tensor  # (K - 1,) float64: the largest value of each cluster but the last
    counts: Tensor  # (K,) values in each cluster, at least 1

    def codes(self, values: Tensor, importance: Tensor) -> Tensor:
        """The cluster of every value: int16, shape and device of the values."""
        return torch.bucketize(values.detach().double().contiguous(), self.upper.to(values.device)).to(torch.int16)


@dataclass(frozen=True)
class Priced:
    """A quantizer that weighs every value's error against the bits of its code. A value that matters little goes farther."""

    centres: Tensor  # (K,) float64: what a cluster's values become
    sites: Tensor  # (K,) float64: what its distance is measured from
    prices: Tensor  # (K,) float64: slope * bits of its code
    counts: Tensor  # (K,)

    def codes(self, values: Tensor, importance: Tensor) -> Tensor:
        """The cluster of every value, the first of equally cheap ones: int16, shape and device of the values."""
        flat = values.detach().double().flatten().cpu()
        h = importance.double().flatten().cpu()
        return cheapest(flat, h, self.sites, self.prices).to(torch.int16).view(values.shape).to(values.device)


Quantizer = Intervals | Priced


def distortion(points: Weighted, quantizer: Quantizer) -> float:
    """Mean of importance * (value - its centre)^2."""
    codes = quantizer.codes(points.values, points.importance).long()
    return float((points.importance * (points.values - quantizer.centres[codes]).square()).mean())


def cost(points: Weighted, quantizer: Quantizer, slope: float) -> float:
    """What the iteration makes small: distortion + slope * entropy."""
    return distortion(points, quantizer) + slope * entropy(quantizer.counts)


def uniform(points: Weighted, step: float, offset: float = 0.0) -> Intervals:
    """Clusters ((offset + i - 1/2) step, (offset + i + 1/2) step], centres at their means, those without values left out.

    Raises:
        ValueError: if the step is not above 0, or so small that there are more than `MOST_CODES`.
    """
    if not step > 0:
        raise ValueError(f"step {step} is impossible: it must be above 0")
    edges = _edges(points, step, offset)
    if len(edges) - 1 > MOST_CODES:
        raise ValueError(f"step {step} makes {len(edges) - 1} clusters, more than {MOST_CODES}; choose a larger one")
    return _intervals(points, edges)


def uniform_of_step(points: Weighted, step: float) -> Intervals:
    """Uniform quantizer with that of `OFFSETS` which is cheaper by the `cost` at a slope that suits the step.

    Of pruned weights few are near zero, and at low rates a threshold at zero is better; of others, a cluster around it.

    Raises:
        ValueError: as `uniform`.
    """
    found = [uniform(points, step, offset) for offset in OFFSETS]
    return min(found, key=lambda quantizer: cost(points, quantizer, _slope_of(step)))


def uniform_at_rate(points: Weighted, rate: float) -> Intervals:
    """The finest uniform quantizer found whose entropy is at most `rate` bits per value: of `OFFSETS` the one with less error."""
    return _best_uniform(points, lambda counts: entropy(counts) <= rate)


def uniform_of_size(points: Weighted, clusters: int) -> Intervals:
    """The finest uniform quantizer found with at most so many clusters: of `OFFSETS` the one with less error."""
    return _best_uniform(points, lambda counts: len(counts) <= clusters)


def iterative(points: Weighted, slope: float, rounds: int, start: Intervals | None = None) -> Quantizer:
    """Entropy-constrained Lloyd: every value to where error + slope * bits is least, then centres and bits by the members.

    No round raises `cost`; clusters that lose all their values are dropped. Where all values matter alike, clusters stay
    intervals and a round costs K binary searches; else it compares every value with every centre.

    Args:
        slope: lambda, in squared weights (times importance) per bit.
        rounds: at most so many; fewer when nothing changes any more.
        start: None: the uniform quantizers whose own slope this would be at a high rate; the cheaper end counts.

    Raises:
        ValueError: if the slope is negative.
    """
    if not slope >= 0:
        raise ValueError(f"slope {slope} is impossible: it must be at least 0")
    starts = [start] if start else [_natural_start(points, slope, offset) for offset in OFFSETS]
    ends = [_rounds(points, slope, rounds, begin) for begin in starts]
    return min(ends, key=lambda quantizer: cost(points, quantizer, slope))


def _rounds(points: Weighted, slope: float, rounds: int, now: Quantizer) -> Quantizer:
    for _ in range(rounds):
        new = _round(points, now.centres, now.counts, slope)
        unchanged = torch.equal(new.centres, now.centres) and torch.equal(new.counts, now.counts)
        now = new
        if unchanged:
            break
    return now


def iterative_at_rate(points: Weighted, rate: float, rounds: int) -> tuple[Quantizer, float]:
    """Find the slope at which the entropy comes nearest to `rate` bits per value without being above it, from either start.

    Returns:
        The quantizer of least error and the slope; 0 if even the finest quantizer stays below the rate. Where the iteration
        found nothing better than the uniform quantizer at this rate, it is that one, and the slope where the search began.
    """
    finest = _natural_start(points, 0.0, 0.0)
    if entropy(finest.counts) <= rate:
        return finest, 0.0
    plain = uniform_at_rate(points, rate)
    first = _slope_of(2 * _spread(points) / max(1, len(plain.counts) - 1))
    found = [pair for offset in OFFSETS for pair in _search(points, rate, rounds, offset, first)]
    return min([(plain, first), *found], key=lambda pair: distortion(points, pair[0]))


def _search(
    points: Weighted, rate: float, rounds: int, offset: float, slope: float
) -> Iterator[tuple[Quantizer, float]]:
    """Quantizers with at most `rate` bits, and their slopes, that come up on the way to the rate."""
    low, high = 0.0, math.inf
    for attempt in range(_HALVINGS):
        found = _rounds(points, slope, rounds, _natural_start(points, slope, offset))
        over = entropy(found.counts) - rate
        if over > 0:
            low = slope
        else:
            high = slope
            yield found, slope
        if -_NEAR <= over <= 0 or high < 1.001 * low:
            break
        slope = _next_slope(slope, over + _NEAR / 2, low, high, patient=attempt < _GUESSES)


def _next_slope(slope: float, over: float, low: float, high: float, *, patient: bool) -> float:
    """What to try next between a slope with too many bits and one with too few, after one with `over` bits too many."""
    factor = math.pow(4, over)  # at a high rate
    if low > 0 and high < math.inf:
        guess = slope * factor
        return guess if patient and low < guess < high else math.sqrt(low * high)
    return slope * (max(factor, 1.5) if over > 0 else min(factor, 1 / 1.5))


def cheapest(values: Tensor, importance: Tensor, sites: Tensor, prices: Tensor) -> Tensor:
    """For each value, (N,), the index of the least importance * (value - site)^2 + price; int64."""
    parts = torch.split(torch.stack([values, importance]), max(1, _BLOCK // len(sites)), dim=1)
    found = [torch.addcmul(prices, h[:, None], (v[:, None] - sites).square()).argmin(1) for v, h in parts]
    return torch.cat(found) if found else torch.empty(0, dtype=torch.int64)


def envelope(sites: Tensor, prices: Tensor) -> Cells:
    """The intervals in which (value - site)^2 + price is least, for ascending, different sites; some may have none.

    Without value^2, which is the same for all, the costs are straight lines: those on their lower hull are found in one pass.
    """
    c, offset = sites.tolist(), (sites.square() + prices).tolist()
    hull: list[int] = []
    borders: list[float] = []  # between neighbours of the hull
    for j in range(len(c)):
        while hull:
            border = (offset[j] - offset[hull[-1]]) / (2 * (c[j] - c[hull[-1]]))
            if not borders or border > borders[-1]:
                break
            hull.pop()  # the one before is overtaken by j before it overtakes its own predecessor
            borders.pop()
        if hull:
            borders.append(border)
        hull.append(j)
    return Cells(torch.tensor(hull), torch.tensor(borders, dtype=torch.float64))


def _round(points: Weighted, centres: Tensor, counts: Tensor, slope: float) -> Quantizer:
    prices = -slope * (counts.double() / counts.sum()).log2()
    if points.even:
        return _intervals(points, torch.unique(envelope(centres, prices).edges(points)))
    codes = cheapest(points.values, points.importance, centres, prices)
    members = torch.bincount(codes, minlength=len(centres))
    masses = torch.bincount(codes, points.importance, len(centres))
    moments = torch.bincount(codes, points.importance * points.values, len(centres))
    used = members > 0
    return Priced((moments / masses)[used], centres[used], prices[used], members[used])


def _slope_of(step: float) -> float:
    """At a high rate the error is step^2 / 12 and falls by the factor 4 with each bit: this much error for one bit."""
    return step**2 * math.log(2) / 6


def _natural_start(points: Weighted, slope: float, offset: float) -> Intervals:
    step = max(math.sqrt(6 * slope / math.log(2)), _spread(points) * 2.0**-_OCTAVES)
    while len(_edges(points, step, offset)) - 1 > MOST_CODES:
        step *= 2
    return uniform(points, step, offset)


def _best_uniform(points: Weighted, good: Callable[[Tensor], bool]) -> Intervals:
    """The one with less error of those for `OFFSETS` whose clusters' sizes are good; all values in one cluster must be."""
    steps = [(step, offset) for offset in OFFSETS if (step := _finest_step(points, good, offset)) is not None]
    return min((uniform(points, *pair) for pair in steps), key=lambda quantizer: distortion(points, quantizer))


def _finest_step(points: Weighted, good: Callable[[Tensor], bool], offset: float) -> float | None:
    """The smallest step found whose clusters' sizes are good, and not too many; None if not even the coarsest one's are."""
    high = _coarsest(points)
    low = high * 2.0**-_OCTAVES

    def passes(step: float) -> bool:
        counts = _edges(points, step, offset).diff()
        return len(counts) <= MOST_CODES and good(counts)

    if not passes(high):
        return None
    if passes(low):
        return low
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


def _coarsest(points: Weighted) -> float:
    """A step at which all values are in the cluster around zero, or, between two, in those beside it."""
    return 2.5 * _spread(points)


def _spread(points: Weighted) -> float:
    """The largest magnitude; 1 if there is none above zero."""
    return float(points.values[[0, -1]].abs().max()) if bool(points.values.any()) else 1.0


def _edges(points: Weighted, step: float, offset: float) -> Tensor:
    """Positions between which the values belong to the same uniform cluster, without empty ones."""
    index = (points.values / step - 0.5 - offset).ceil()
    changes = index.diff().nonzero().flatten() + 1
    return torch.cat([changes.new_zeros(1), changes, changes.new_full((1,), len(index))])


def _intervals(points: Weighted, edges: Tensor) -> Intervals:
    """The clusters between these positions, none empty."""
    return Intervals(points.means(edges), points.values[edges[1:-1] - 1], edges.diff())
