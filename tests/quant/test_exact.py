"""The partition of least error against all partitions, and its fast neighbour against it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.quant import exact
from suite.quant.exact import Points, best_means, least_error, near_least_error, settled
from suite.quant.init import INITS
from suite.quant.lloyd import Sorted

numbers = st.lists(st.integers(-30, 30), min_size=1, max_size=9)


def error(values: np.ndarray, centres: np.ndarray) -> float:
    return float(((values[:, None] - centres) ** 2).min(axis=1).sum())


def least_of_all(values: np.ndarray, k: int) -> float:
    """Every way to cut the sorted values into at most k runs."""
    values, n = np.sort(values), len(values)
    ways = (cuts for size in range(min(k, n)) for cuts in combinations(range(1, n), size))
    return min(sum(float(((run - run.mean()) ** 2).sum()) for run in np.split(values, cuts)) for cuts in ways)


@given(numbers, st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_no_partition_has_a_smaller_error(values: list[int], k: int) -> None:
    array = np.sort(np.array(values, dtype=np.float64))
    means = best_means(array, k)
    assert len(means) == min(k, len(set(values)))
    assert (np.diff(means) > 0).all()
    assert error(array, means) == pytest.approx(least_of_all(array, k), abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.sampled_from([1.5, 3.0, 30.0]))
@settings(max_examples=25, deadline=None)
def test_finer_and_finer_groups_end_at_the_least_error(seed: int, k: int, degrees: float) -> None:
    places = np.unique(np.random.default_rng(seed).standard_t(degrees, 300))
    points = Points.of(places, np.ones(len(places), dtype=np.int64))
    coarse, exact._COARSE = exact._COARSE, 16
    try:
        near = settled(points, near_least_error(points, k))
    finally:
        exact._COARSE = coarse

    def total(ends: np.ndarray) -> float:
        return sum(float(((run - run.mean()) ** 2).sum()) for run in np.split(places, ends[1:-1]))

    assert (np.diff(near) > 0).all()
    assert total(near) <= total(least_error(points, k)) * 1.001 + 1e-12


def test_exact_start_is_the_optimum_with_its_centre_nearest_to_zero_at_zero() -> None:
    values = Sorted.of(torch.tensor([-5.0, -5.0, 0.5, 1.0, 1.5, 9.0]))
    assert INITS["exact"](values, 3, torch.Generator()).tolist() == [0.0, 9.0, -5.0]
    assert INITS["exact"](values, 9, torch.Generator()).tolist() == [0.0, 9.0, -5.0, 1.5, 1.0, 0.5, 0.0, 0.0, 0.0]
