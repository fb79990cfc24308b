"""Entropy-constrained quantization against hand-computed cases, a linear search, and the theory of high rates."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from suite.quant.ecsq import (
    Priced,
    cheapest,
    cost,
    distortion,
    envelope,
    iterative,
    iterative_at_rate,
    uniform,
    uniform_at_rate,
    uniform_of_size,
    uniform_of_step,
)
from suite.quant.entropy import entropy
from suite.quant.layer import MOST_CODES
from suite.quant.weighted import Weighted, importances

coarse = st.integers(-256, 256).map(lambda n: n / 64)
value_lists = st.lists(coarse, min_size=1, max_size=60).map(lambda v: torch.tensor(v, dtype=torch.float64))
slopes = st.sampled_from([0.0, 1e-3, 0.05, 0.5, 5.0])


def laplacian(n: int = 50_000) -> Tensor:
    u = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    return -u.sign() * torch.log1p(-2 * u.abs())


def uneven(n: int) -> Tensor:
    return importances(torch.randn(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64).exp().square())


def shannon_bound(error: float) -> float:
    """Bits that any quantizer of unit Laplacian values needs at least for this mean squared error: h(X) - 1/2 log2(2 pi e D)."""
    return math.log2(2 * math.e) - 0.5 * math.log2(2 * math.pi * math.e * error)


def test_uniform_by_hand() -> None:
    """Thresholds at -0.5, 0.5, 1.5, ...: the cluster of 1 has 0.6, 1.0 and 1.4; the one of 2 is empty."""
    values = torch.tensor([1.4, -0.2, 0.6, 3.0, 1.0, 0.5])
    found = uniform(Weighted.by(values), 1.0)
    torch.testing.assert_close(found.centres, torch.tensor([0.15, 1.0, 3.0]).double(), rtol=1e-6, atol=1e-6)
    assert found.counts.tolist() == [2, 3, 1]
    assert found.codes(values, torch.ones(6)).tolist() == [1, 0, 1, 2, 1, 0]
    assert entropy(found.counts) == pytest.approx(2 / 6 * math.log2(3) + 0.5 + math.log2(6) / 6)
    weighted = uniform(Weighted.by(values, torch.tensor([3.0, 1, 1, 1, 1, 1])), 1.0)
    assert weighted.centres[1] == pytest.approx((3 * 1.4 + 0.6 + 1.0) / 5)


def test_zero_may_be_a_threshold() -> None:
    """Values beside a gap around zero, as pruning leaves them: two clusters with it, three without."""
    points = Weighted.by(torch.tensor([-0.9, -0.6, -0.4, 0.4, 0.6, 0.9]))
    assert uniform(points, 1.0, offset=0.5).counts.tolist() == [3, 3]
    assert uniform(points, 1.0).counts.tolist() == [2, 2, 2]
    assert uniform_at_rate(points, 1.0).counts.tolist() == [3, 3]
    assert uniform_of_size(points, 2).counts.tolist() == [3, 3]
    assert uniform_of_step(points, 1.0).counts.tolist() == [3, 3]
    around = Weighted.by(torch.tensor([-0.01] * 8 + [0.01] * 8 + [1.0]))
    assert uniform_of_step(around, 1.0).counts.tolist() == [16, 1]
    assert uniform_of_size(around, 2).counts.tolist() == [16, 1]


def test_entropy_by_hand() -> None:
    assert entropy(torch.tensor([4, 2, 1, 1])) == 1.75
    assert entropy(torch.tensor([7])) == 0.0
    assert entropy(torch.tensor([3, 0, 3])) == 1.0


def test_iteration_by_hand() -> None:
    """Of three clusters the lonely one in the middle costs 3 bits: it joins the nearer of the others once that is cheaper."""
    values = torch.tensor([0.0] * 4 + [1.0] + [3.0] * 3, dtype=torch.float64)
    start = uniform(Weighted.by(values), 0.5)
    assert start.centres.tolist() == [0.0, 1.0, 3.0]
    kept = iterative(Weighted.by(values), 0.4, 10, start)  # to stay costs 0.4 * 3 = 1.2, to leave 1 + 0.4 * 1 = 1.4
    assert kept.centres.tolist() == [0.0, 1.0, 3.0]
    left = iterative(Weighted.by(values), 0.6, 10, start)  # to stay 1.8, to leave 1.6
    assert left.centres.tolist() == [0.2, 3.0]
    assert left.counts.tolist() == [5, 3]
    heavy = torch.tensor([1.0] * 4 + [10.0] + [1.0] * 3, dtype=torch.float64)
    assert iterative(Weighted.by(values, heavy), 0.6, 10, start).centres.tolist() == [0.0, 1.0, 3.0]


@given(value_lists, st.lists(st.tuples(coarse, st.integers(0, 64).map(lambda n: n / 8)), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_envelope_is_a_linear_search(values: Tensor, priced: list[tuple[float, float]]) -> None:
    by_site = dict(sorted(priced))
    sites, prices = (torch.tensor(list(part), dtype=torch.float64) for part in (by_site.keys(), by_site.values()))
    costs = (values[:, None] - sites).square() + prices
    for codes in (
        envelope(sites, prices).codes(values).long(),
        cheapest(values, torch.ones_like(values), sites, prices),
    ):
        torch.testing.assert_close(costs.gather(1, codes[:, None])[:, 0], costs.min(1).values, rtol=0, atol=1e-9)


@given(value_lists, slopes, st.sampled_from([0.1, 0.3, 1.0, 3.0]), st.booleans())
@settings(max_examples=80, deadline=None)
def test_no_round_raises_the_cost(values: Tensor, slope: float, step: float, weigh: bool) -> None:
    points = Weighted.by(values, uneven(len(values)) if weigh else None)
    start = uniform(points, step)
    costs = [cost(points, iterative(points, slope, rounds, start), slope) for rounds in range(1, 6)]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise([cost(points, start, slope), *costs]))


@given(value_lists, slopes)
@settings(max_examples=40, deadline=None)
def test_equal_importances_make_no_difference(values: Tensor, slope: float) -> None:
    start = uniform(Weighted.by(values), 0.5)
    intervals = iterative(Weighted.by(values), slope, 1, start)
    priced = iterative(Weighted.by(values, torch.ones_like(values)), slope, 1, start)
    assert isinstance(priced, Priced)
    cheap = [cost(Weighted.by(values), found, slope) for found in (intervals, priced)]
    assert cheap[0] == pytest.approx(cheap[1], abs=1e-9)


@pytest.mark.parametrize("weigh", [False, True])
def test_a_steeper_slope_gives_fewer_bits_and_more_error(weigh: bool) -> None:
    values = laplacian(5000)
    points = Weighted.by(values, uneven(5000) if weigh else None)
    found = [iterative(points, slope, 100) for slope in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 1e5)]
    bits = [entropy(quantizer.counts) for quantizer in found]
    errors = [distortion(points, quantizer) for quantizer in found]
    assert all(a > b for a, b in pairwise(bits))
    assert all(a < b for a, b in pairwise(errors))
    assert bits[-1] == 0
    assert len(found[-1].centres) == 1


@pytest.mark.parametrize("rate", [3.0, 5.0])
def test_at_high_rates_a_quarter_of_a_bit_from_the_bound(rate: float) -> None:
    points = Weighted.by(laplacian())
    gap = 0.5 * math.log2(2 * math.pi * math.e / 12)  # 0.2546 bits, 1.53 dB
    for found in (uniform_at_rate(points, rate), iterative_at_rate(points, rate, 100)[0]):
        assert rate - 0.02 <= entropy(found.counts) <= rate
        assert entropy(found.counts) - shannon_bound(distortion(points, found)) == pytest.approx(gap, abs=0.02)


@pytest.mark.parametrize("rate", [1.0, 2.5])
@pytest.mark.parametrize("weigh", [False, True])
def test_a_target_rate_is_met_and_iteration_beats_uniform(rate: float, weigh: bool) -> None:
    values = laplacian(4000)
    points = Weighted.by(values, uneven(4000) if weigh else None)
    found, slope = iterative_at_rate(points, rate, 50)
    assert rate - 0.05 <= entropy(found.counts) <= rate
    assert slope > 0
    assert distortion(points, found) < distortion(points, uniform_at_rate(points, rate))
    codes = found.codes(values, points.importance if not weigh else uneven(4000))
    assert torch.bincount(codes.long()).tolist() == found.counts.tolist()


@given(value_lists, st.floats(0.05, 6), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_target_rate_is_never_exceeded(values: Tensor, rate: float, weigh: bool) -> None:
    importance = uneven(len(values)) if weigh else torch.ones_like(values)
    points = Weighted.by(values, importance if weigh else None)
    for found in (uniform_at_rate(points, rate), iterative_at_rate(points, rate, 20)[0]):
        assert entropy(found.counts) <= rate
        codes = found.codes(values, importance).long()
        assert torch.bincount(codes, minlength=len(found.centres)).tolist() == found.counts.tolist()


@given(value_lists, st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_a_number_of_clusters_is_never_exceeded(values: Tensor, clusters: int) -> None:
    found = uniform_of_size(Weighted.by(values), clusters)
    assert len(found.centres) <= clusters
    if clusters >= len(set(values.tolist())):
        assert distortion(Weighted.by(values), found) == pytest.approx(0, abs=1e-20)


def test_a_number_of_clusters_is_reached_where_there_are_enough_values() -> None:
    assert 60 <= len(uniform_of_size(Weighted.by(laplacian(20_000)), 64).centres) <= 64


def test_impossible_settings_are_refused() -> None:
    points = Weighted.by(laplacian(100))
    with pytest.raises(ValueError, match="step 0"):
        uniform(points, 0.0)
    with pytest.raises(ValueError, match="step nan"):
        uniform(points, float("nan"))
    with pytest.raises(ValueError, match="slope -1"):
        iterative(points, -1.0, 5)
    with pytest.raises(ValueError, match=f"more than {MOST_CODES}"):
        uniform(Weighted.by(laplacian()), 1e-9)
