"""Weighted k-means on the line against an exact optimum, against scikit-learn, and against itself with repeated values."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from suite.quant.init import INITS
from suite.quant.lloyd import Sorted, lloyd
from suite.quant.weighted import (
    FLOOR,
    Weighted,
    clustering_error,
    importances,
    used_only,
    weighted_kmeans,
    weighted_lloyd,
)

# Multiples of 1/64, so that sums are exact.
coarse = st.integers(-256, 256).map(lambda n: n / 64)
weighted_values = st.lists(st.tuples(coarse, st.integers(1, 9)), min_size=1, max_size=40).map(
    lambda pairs: tuple(torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
)
starts = st.lists(coarse, min_size=1, max_size=7).map(lambda c: torch.tensor(c, dtype=torch.float64))


def optimum(values: Tensor, importance: Tensor, k: int) -> float:
    """Least weighted error of at most k clusters, by dynamic programming over where the last one begins."""
    order = values.argsort()
    w, h = values[order].numpy(), importance[order].numpy()
    n = len(w)
    error = np.zeros((n, n))  # of values i to j in one cluster
    for i in range(n):
        for j in range(i, n):
            part, mass = w[i : j + 1], h[i : j + 1]
            error[i, j] = (mass * (part - np.average(part, weights=mass)) ** 2).sum()
    best = error[0].copy()
    for _ in range(k - 1):
        best = np.array([min(best[j], *(best[i - 1] + error[i, j] for i in range(1, j + 1)), np.inf) for j in range(n)])
    return float(best[-1])


@given(weighted_values, st.integers(1, 6), st.sampled_from(["best", "linear", "quantile", "kmeans++"]))
@settings(max_examples=40, deadline=None)
def test_never_better_than_the_optimum(pair: tuple[Tensor, Tensor], k: int, init: str) -> None:
    points = Weighted.by(*pair)
    centres = weighted_kmeans(points, k, init, 300, torch.Generator().manual_seed(0))
    assert 1 <= len(centres) <= k
    assert (centres.diff() > 0).all()
    assert clustering_error(points, centres) >= optimum(*pair, k) - 1e-9


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [3, 5])
def test_best_start_comes_close_to_the_optimum(seed: int, k: int) -> None:
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(80, generator=random, dtype=torch.float64)
    importance = importances(torch.randn(80, generator=random, dtype=torch.float64).exp())
    points = Weighted.by(values, importance)
    centres = weighted_kmeans(points, k, "best", 300, random)
    assert clustering_error(points, centres) <= 1.1 * optimum(values, importance, k)


@given(weighted_values, starts, st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_an_importance_of_n_is_n_equal_values(pair: tuple[Tensor, Tensor], start: Tensor, rounds: int) -> None:
    values, importance = pair
    repeated = values.repeat_interleave(importance.long())
    ours = weighted_lloyd(Weighted.by(values, importance), start, rounds)
    plain, _ = lloyd(Sorted.of(repeated), start, torch.ones(len(start), dtype=torch.bool), rounds)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-9)
    torch.testing.assert_close(weighted_lloyd(Weighted.by(repeated), start, rounds), plain, rtol=0, atol=1e-12)


@given(weighted_values, starts)
@settings(max_examples=40, deadline=None)
def test_error_never_rises_with_rounds(pair: tuple[Tensor, Tensor], start: Tensor) -> None:
    points = Weighted.by(*pair)
    errors = [clustering_error(points, weighted_lloyd(points, start, rounds)) for rounds in range(5)]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(errors))


def test_equals_scikit_learn_with_sample_weights() -> None:
    from sklearn.cluster import KMeans

    random = torch.Generator().manual_seed(0)
    values = torch.randn(3000, generator=random, dtype=torch.float64)
    importance = importances(torch.randn(3000, generator=random, dtype=torch.float64).exp().square())
    points = Weighted.by(values, importance)
    start = INITS["quantile"](points, 9, random)
    theirs = KMeans(9, init=start[:, None].numpy(), n_init=1, max_iter=1000, tol=0)
    theirs.fit(values[:, None].numpy(), sample_weight=importance.numpy())
    ours = weighted_lloyd(points, start, 1000)
    np.testing.assert_allclose(np.sort(theirs.cluster_centers_.ravel()), ours.sort().values.numpy(), atol=1e-8)
    assert theirs.inertia_ == pytest.approx(clustering_error(points, ours))


def test_a_weighty_value_draws_its_centre() -> None:
    points = Weighted.by(torch.tensor([0.0, 1.0, 10.0]), torch.tensor([1.0, 3.0, 5.0]))
    assert weighted_lloyd(points, torch.tensor([0.0, 9.0]).double(), 9).tolist() == [0.75, 10.0]
    assert clustering_error(points, torch.tensor([0.75, 10.0]).double()) == pytest.approx(0.5625 + 3 * 0.0625)


def test_centres_without_values_are_dropped() -> None:
    points = Weighted.by(torch.tensor([1.0, 2.0, 2.0]))
    assert used_only(points, torch.tensor([5.0, 2.0, 1.0, 2.0]).double()).tolist() == [1.0, 2.0]
    assert weighted_kmeans(points, 8, "best", 10, torch.Generator()).tolist() == [1.0, 2.0]
    nothing = Weighted.by(torch.empty(0), torch.empty(0))
    assert weighted_kmeans(nothing, 8, "best", 10, torch.Generator()).tolist() == [0.0]


def test_a_mean_stays_among_its_values_where_they_weigh_next_to_nothing() -> None:
    """Beside a sum of 1e12 the importances of the right cluster are lost in rounding."""
    values = torch.cat([torch.full((1000,), 1.0), torch.tensor([5.0, 6.0])]).double()
    importance = torch.cat([torch.full((1000,), 1e9), torch.full((2,), 1e-6)]).double()
    centres = weighted_lloyd(Weighted.by(values, importance), torch.tensor([1.0, 5.5]).double(), 5)
    assert centres[0] == pytest.approx(1.0)
    assert 5 <= centres[1] <= 6


def test_importances_have_mean_one_and_a_floor() -> None:
    scaled = importances(torch.tensor([0.0, 2.0, 4.0]))
    assert scaled.tolist() == [FLOOR, 1.0, 2.0]
    assert importances(torch.tensor([0.0, 2.0, 4.0]), floor=0.5).tolist() == [0.5, 1.0, 2.0]
    assert importances(torch.zeros(2, 2)).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert importances(torch.empty(0)).shape == (0,)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_importances_refuse_what_is_no_importance(bad: float) -> None:
    with pytest.raises(ValueError, match="an importance is"):
        importances(torch.tensor([1.0, bad]))


def test_weighted_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Weighted.by(torch.ones(2), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="importances"):
        Weighted.by(torch.ones(2), torch.ones(3))
