"""Which width each layer gets: one option for each item, least total cost within a budget (a multiple-choice knapsack), exactly.

A Lagrange multiplier, a price for a unit of size, alone finds only allocations on the lower convex hull. Here it gives a bound
that throws out partial allocations, and dynamic programming over those that are left finds the optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_HALVINGS = 200


@dataclass(frozen=True)
class _Front:
    """Partial allocations of the first items of which none is both larger and costlier than another, by rising size."""

    sizes: Ints  # (S,)
    costs: Floats  # (S,)
    parents: Ints  # (S,) position in the front before
    options: Ints  # (S,) chosen for the last item


def allocate(sizes: Sequence[Sequence[int]], costs: Sequence[Sequence[float]], budget: int) -> list[int]:
    """Choose one option for each item.

    Args:
        sizes: of each option of each item, whole numbers (bits), at least 0.
        costs: of the same, finite; they may be negative.
        budget: what the sizes chosen may add up to at most.

    Returns:
        The option of each item: the least total cost that fits, the smaller of two equally cheap allocations.

    Raises:
        ValueError: if the two do not match, a cost is not finite, or nothing fits.
    """
    if [len(s) for s in sizes] != [len(c) for c in costs] or not all(sizes):
        raise ValueError("every item needs options, and each option a size and a cost")
    if not all(np.isfinite(c).all() for c in costs):
        raise ValueError("a cost is NaN or infinite")
    smallest = sum(min(s) for s in sizes)
    if smallest > budget:
        raise ValueError(f"budget {budget} is too small: the smallest options add up to {smallest}")
    items = [(np.array(s, dtype=np.int64), np.array(c, dtype=np.float64)) for s, c in zip(sizes, costs, strict=True)]
    price, reached = _multiplier(items, budget)
    start = np.zeros(1, dtype=np.int64)
    fronts = [_Front(start, start.astype(np.float64), start, start)]
    least = [float((c + price * s).min()) for s, c in items]  # Lagrangian cost of each item
    room = [int(s.min()) for s, _ in items]
    tolerance = 1e-9 * (abs(reached) + sum(float(np.abs(c).max()) for _, c in items))
    for i, item in enumerate(items):
        front = _extended(fronts[-1], *item)
        fits = front.sizes + sum(room[i + 1 :]) <= budget
        bound = front.costs + sum(least[i + 1 :]) - price * (budget - front.sizes)
        fronts.append(_only(front, fits & (bound <= reached + tolerance)))
    return _trace(fronts)


def _extended(front: _Front, sizes: Ints, costs: Floats) -> _Front:
    """Every partial allocation with every option of the next item, less those that another one beats."""
    total_sizes = (front.sizes[:, None] + sizes).ravel()
    total_costs = (front.costs[:, None] + costs).ravel()
    order = np.lexsort((total_costs, total_sizes))
    best = np.minimum.accumulate(total_costs[order])
    kept = order[np.concatenate([[True], total_costs[order][1:] < best[:-1]])]
    return _Front(total_sizes[kept], total_costs[kept], kept // len(sizes), kept % len(sizes))


def _only(front: _Front, mask: NDArray[np.bool_]) -> _Front:
    return _Front(front.sizes[mask], front.costs[mask], front.parents[mask], front.options[mask])


def _trace(fronts: list[_Front]) -> list[int]:
    """The options that led to the cheapest allocation, which is the largest of the last front."""
    position, chosen = len(fronts[-1].sizes) - 1, []
    for front in reversed(fronts[1:]):
        chosen.append(int(front.options[position]))
        position = int(front.parents[position])
    return chosen[::-1]


def _multiplier(items: list[tuple[Ints, Floats]], budget: int) -> tuple[float, float]:
    """The smallest price of a unit of size, found by halving, at which each item's best option by cost + price * size fits.

    Returns:
        The price, and the total cost of that allocation, which the optimum does not exceed.
    """

    def choice(price: float) -> tuple[int, float]:
        best = [int(np.lexsort((s, c + price * s))[0]) for s, c in items]
        pairs = list(zip(items, best, strict=True))
        return sum(int(s[i]) for (s, _), i in pairs), sum(float(c[i]) for (_, c), i in pairs)

    size, cost = choice(0.0)
    if size <= budget:
        return 0.0, cost
    low, high = 0.0, max(1.0, *(float(np.ptp(c)) for _, c in items)) * 2  # for whole sizes: a unit costs more than all
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if choice(middle)[0] <= budget else (middle, high)
    return high, choice(high)[1]
