"""The allocation against all of them, one by one."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from suite.quant.allocation import allocate

Items = list[list[tuple[int, float]]]
options = st.lists(st.tuples(st.integers(0, 12), st.integers(-40, 40).map(lambda n: n / 8)), min_size=1, max_size=4)


def split(items: Items) -> tuple[Any, Any]:
    return [[size for size, _ in item] for item in items], [[cost for _, cost in item] for item in items]


@given(st.lists(options, min_size=1, max_size=5), st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_no_allocation_that_fits_is_cheaper_or_as_cheap_and_smaller(items: Items, budget: int) -> None:
    every = [(sum(c for _, c in chosen), sum(s for s, _ in chosen)) for chosen in product(*items)]
    fitting = [pair for pair in every if pair[1] <= budget]
    assume(fitting)
    chosen = allocate(*split(items), budget)
    picked = [item[i] for item, i in zip(items, chosen, strict=True)]
    assert (sum(c for _, c in picked), sum(s for s, _ in picked)) == min(fitting)


def test_finds_what_lies_inside_the_convex_hull() -> None:
    """With one multiplier for all, only 0 or 2 of the first item can be chosen, never the option between."""
    assert allocate([[0, 3, 5]], [[10.0, 9.0, 0.0]], budget=4) == [1]


def test_widths_of_a_hundred_layers_take_a_moment() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(100, 2_000_000, 100)
    sizes = [[int(n) * bits for bits in range(2, 9)] for n in counts]
    scales = rng.exponential(1, 100)
    costs = [[float(n * scale * 4.0**-bits) for bits in range(2, 9)] for n, scale in zip(counts, scales, strict=True)]
    budget = int(4.5 * counts.sum())
    chosen = allocate(sizes, costs, budget)
    used = sum(s[i] for s, i in zip(sizes, chosen, strict=True))
    assert budget - counts.min() * 7 < used <= budget
    assert np.corrcoef(scales, chosen)[0, 1] > 0.5  # where an error matters more there are more bits


@pytest.mark.parametrize(
    ("sizes", "costs", "budget", "message"),
    [
        ([[2, 3], [4]], [[0.0, 0.0], [0.0]], 5, "budget 5 is too small: the smallest options add up to 6"),
        ([[2, 3]], [[0.0]], 5, "a size and a cost"),
        ([[]], [[]], 5, "needs options"),
        ([[2]], [[float("nan")]], 5, "NaN"),
    ],
)
def test_refuses_the_impossible(sizes: Any, costs: Any, budget: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        allocate(sizes, costs, budget)
