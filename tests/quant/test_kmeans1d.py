"""`kmeans1d` against the optimum, its codes against a linear search, and what does not fit into bins."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.errors import UserError
from suite.quant import kmeans1d
from suite.quant.bins import Bins
from suite.quant.exact import best_means
from suite.quant.lloyd import Cells, Sorted
from suite.quant.passes import bin_of

SHAPES = {
    "heavy tails": lambda random: random.standard_t(2.5, 30_000),
    "normal": lambda random: random.normal(size=30_000),
    "far from zero": lambda random: 1000 + 0.01 * random.normal(size=30_000),
    "two narrow heaps": lambda random: random.choice([-1, 1], 30_000) + 0.001 * random.normal(size=30_000),
    "few distinct": lambda random: random.integers(-9, 9, 30_000) / 7,
    "denormal": lambda random: random.normal(size=30_000) * 1e-41,
}
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def drawn(name: str, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(SHAPES[name](np.random.default_rng(seed)).astype(np.float32))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def error(weights: torch.Tensor, centres: torch.Tensor, codes: torch.Tensor) -> float:
    return float((weights.double() - centres[codes.long()]).square().sum())


@pytest.mark.parametrize("k", [1, 3, 17, 32, 256])
@pytest.mark.parametrize("name", SHAPES)
def test_error_is_within_a_thousandth_of_the_optimum(name: str, k: int) -> None:
    weights = drawn(name)
    centres, codes = kmeans1d(weights, k)
    least = torch.from_numpy(best_means(np.sort(weights.double().numpy()), k))
    optimum = error(weights, least, Cells.of(least).codes(weights))
    assert len(centres) <= k
    assert error(weights, centres, codes) <= 1.001 * optimum
    assert torch.equal(codes, Cells.of(centres).codes(weights).to(torch.uint8))


@given(
    st.lists(finite, max_size=40), st.integers(1, 300), st.sampled_from([torch.float32, torch.bfloat16, torch.float16])
)
@settings(max_examples=80, deadline=None)
def test_any_finite_weights(values: list[float], k: int, dtype: torch.dtype) -> None:
    weights = torch.tensor(values).clamp(-6e4, 6e4).to(dtype)
    centres, codes = kmeans1d(weights, k)
    distinct = weights.float().unique() + 0.0
    assert len(centres) == min(k, len(distinct.unique()))
    assert (centres.diff() > 0).all()
    assert codes.shape == weights.shape
    assert codes.dtype == (torch.uint8 if k <= 256 else torch.int16)
    if len(values):
        assert torch.equal(codes, Cells.of(centres).codes(weights).to(codes.dtype))
    if len(distinct.unique()) <= k:
        assert torch.equal(centres[codes.long()], weights.double())


@given(st.lists(finite, min_size=1, max_size=60))
@settings(max_examples=80, deadline=None)
def test_bins_are_counted_and_summed_exactly(values: list[float]) -> None:
    array = np.sort(np.array(values, dtype=np.float32))
    bins, places = Bins.of(torch.from_numpy(array)), bin_of(array)
    assert bins.places.tolist() == np.unique(places).tolist()
    for place, count, total in zip(bins.places, bins.counts, bins.sums, strict=True):
        members = array[places == place]
        assert count == len(members)
        assert Fraction(float(total)) == sum(Fraction(float(member)) for member in members)


def test_bins_of_equal_values_need_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """All bfloat16 numbers begin bins, and so do powers of two: these hold one value, however often."""
    half = drawn("normal").bfloat16()
    powers = torch.tensor([0.0, -0.0, 0.25, -0.5, 1.5]).repeat(100)
    assert Bins.of(half).exact.all()
    assert Bins.of(powers).exact.all()
    assert not Bins.of(torch.tensor([1.0, 1.0001])).exact.any()
    monkeypatch.setattr(Bins, "gathered", None)
    centres, codes = kmeans1d(powers, 4)
    assert torch.equal(centres[codes.long()], powers.double())
    least = torch.from_numpy(best_means(np.sort(half.double().numpy()), 17))
    assert error(half, *kmeans1d(half, 17)) <= 1.001 * error(half, least, Cells.of(least).codes(half))


def test_more_weights_than_a_tally_holds_are_counted_exactly(monkeypatch: pytest.MonkeyPatch, threads) -> None:
    threads(2)
    weights = torch.full((200_003,), 1.0).masked_fill(torch.arange(200_003) % 3 == 0, -0.3)
    whole = Bins.of(weights)
    monkeypatch.setattr("suite.quant.passes.PART", 1000)
    parts = Bins.of(weights)
    assert whole.counts.tolist() == parts.counts.tolist() == [66_668, 133_335]
    assert whole.sums.tolist() == parts.sums.tolist() == [66_668 * float(np.float32(-0.3)), 133_335.0]


@pytest.mark.parametrize("name", ["heavy tails", "far from zero"])
def test_number_of_threads_changes_no_bit(name: str, threads) -> None:
    weights = torch.cat([drawn(name, seed) for seed in range(8)])
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(kmeans1d(weights, 17))
    for centres, codes in results[1:]:
        assert torch.equal(centres, results[0][0])
        assert torch.equal(codes, results[0][1])


def test_shape_and_order_of_the_weights_are_kept() -> None:
    weights = torch.arange(24.0).view(2, 3, 4)
    centres, codes = kmeans1d(weights.transpose(0, 2), 24)
    assert torch.equal(centres[codes.long()], weights.transpose(0, 2).double())


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(wrong: float) -> None:
    with pytest.raises(UserError, match="1 of the weights are NaN or infinite"):
        kmeans1d(torch.tensor([1.0, wrong, 2.0]), 2)


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(UserError, match=r"k = 0; allowed: 1 to 4,096"):
        kmeans1d(torch.ones(3), 0)
    with pytest.raises(UserError, match=r"torch\.float64; allowed: torch\.float32, torch\.bfloat16, torch\.float16"):
        kmeans1d(torch.ones(3).double(), 2)


def test_equal_values_beside_a_bound_go_to_the_smaller_centre() -> None:
    centres, codes = kmeans1d(torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0]), 2)
    assert Sorted.of(torch.tensor([1.0])).values <= centres.mean() or codes[2] == 1
    assert codes.tolist() == Cells.of(centres).codes(torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0])).tolist()


def test_numba_is_imported_on_use_only() -> None:
    code = "import sys, suite.quant.layer; a = 'numba' in sys.modules; suite.quant.kmeans1d; print(a, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]
