"""k-means in one dimension where some values matter more than others, on sorted values with prefix sums.

Source: Choi et al. 2017: with h the second derivatives of the loss, the centre of a cluster is sum h w / sum h, and a weight
still goes to the nearest centre, since its own h scales its distance to all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from suite.quant.init import INITS
from suite.quant.lloyd import Cells, Sorted

FLOOR = 0.1  # least importance, as a part of the mean
_BEST = ("linear", "quantile", *["kmeans++"] * 3)


def importances(raw: Tensor, floor: float = FLOOR) -> Tensor:
    """Scale importances, any shape, to mean 1, which changes no clustering, and lift those below `floor`, zeros among them.

    Where the loss does not bend along a weight at all, as behind a pixel that is always black in the sample, the weight must
    still belong somewhere; and the second order of the loss says little about moves as large as it would allow such a weight.
    All zeros become all ones.

    Returns:
        float64, shape and device of `raw`.

    Raises:
        ValueError: if one is negative, NaN or infinite.
    """
    raw = raw.double()
    if not bool((raw >= 0).all()) or not bool(torch.isfinite(raw).all()):
        wrong = raw[~((raw >= 0) & torch.isfinite(raw))].flatten()[0]
        raise ValueError(f"an importance is {float(wrong)}; it must be finite and not below 0")
    mean = raw.mean() if raw.numel() else raw.new_ones(())
    return (raw / mean).clamp(min=floor) if mean > 0 else torch.ones_like(raw)


@dataclass(frozen=True)
class Weighted(Sorted):
    """Values in ascending order and how much each one matters, with the sums of every prefix; float64, on the CPU."""

    importance: Tensor  # (N,), above 0, in the order of the values
    masses: Tensor  # (N + 1,); masses[i] is the sum of importance[:i]
    moments: Tensor  # (N + 1,); the same of importance * value
    even: bool  # every value matters as much as any other

    @staticmethod
    def by(values: Tensor, importance: Tensor | None = None) -> Weighted:
        """Sort values, a tensor of any shape and float type, each with its importance; None: 1.

        Raises:
            ValueError: if the shapes differ or an importance is not above 0.
        """
        if importance is None:
            plain = Sorted.of(values)
            counts = torch.arange(len(plain.sums), dtype=torch.float64)
            return Weighted(plain.values, plain.sums, torch.ones_like(plain.values), counts, plain.sums, even=True)
        if importance.shape != values.shape:
            raise ValueError(f"{tuple(values.shape)} values have {tuple(importance.shape)} importances")
        if not bool((importance > 0).all()):
            raise ValueError("every importance must be above 0; see `importances`")
        flat = values.detach().flatten().cpu().double()
        order = torch.from_numpy(np.argsort(flat.numpy(), kind="stable"))
        ascending, h = flat[order], importance.detach().flatten().cpu().double()[order]
        return Weighted(ascending, _prefix(ascending), h, _prefix(h), _prefix(h * ascending), even=False)

    def means(self, edges: Tensor) -> Tensor:
        """Weighted mean of the values between each two of the positions (C + 1,); 0 where there is none."""
        filled = edges.diff() > 0
        low = self.values[edges[:-1].clamp(max=len(self.values) - 1)]
        high = self.values[(edges[1:] - 1).clamp(min=0)]
        means = self.moments[edges].diff() / self.masses[edges].diff().clamp(min=torch.finfo(torch.float64).tiny)
        # A mean lies among its values, whatever prefix sums lose where a cell weighs next to nothing.
        return torch.where(filled, torch.minimum(torch.maximum(means, low), high), 0.0)

    def error(self, edges: Tensor, centres: Tensor) -> float:
        """Sum of importance * (value - centre)^2 if the values between the i-th and the next of the positions get the i-th."""
        chosen = centres.repeat_interleave(edges.diff())
        return float((self.importance * (self.values - chosen).square()).sum())


def weighted_lloyd(points: Weighted, centres: Tensor, rounds: int) -> Tensor:
    """Up to `rounds` times: every value to its nearest centre, then every centre to the weighted mean of its values.

    Args:
        centres: (K,) float64 start. One without values stays where it is.

    Returns:
        The centres, (K,), in the order of the start.
    """
    for _ in range(rounds):
        cells = Cells.of(centres)
        edges = cells.edges(points)
        moved = centres.clone()
        moved[cells.order] = torch.where(edges.diff() > 0, points.means(edges), centres[cells.order])
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def used_only(points: Weighted, centres: Tensor) -> Tensor:
    """The centres that are nearest to some value, ascending; a single zero if there are no values."""
    cells = Cells.of(centres)
    used = centres[cells.order[cells.edges(points).diff() > 0]]
    return used if len(used) else centres.new_zeros(1)


def weighted_kmeans(points: Weighted, k: int, init: str, rounds: int, generator: torch.Generator) -> Tensor:
    """Cluster into at most k.

    Args:
        init: a name in `INITS` (kmeans++, quantile, linear), or `best`: `_BEST`, of which the least weighted error counts.
        rounds: at most so many of Lloyd's.
        generator: for kmeans++.

    Returns:
        The centres, ascending, float64; fewer than k if some would have no values.
    """
    if not len(points.values):
        return torch.zeros(1, dtype=torch.float64)
    names = _BEST if init == "best" else (init,)
    ends = [weighted_lloyd(points, INITS[name](points, k, generator), rounds) for name in names]
    return used_only(points, min(ends, key=lambda centres: clustering_error(points, centres)))


def clustering_error(points: Weighted, centres: Tensor) -> float:
    """Sum of importance * (value - nearest centre)^2."""
    cells = Cells.of(centres)
    return points.error(cells.edges(points), centres[cells.order])


def _prefix(values: Tensor) -> Tensor:
    return torch.cat([values.new_zeros(1), values.cumsum(0)])
