"""Lloyd on sorted prefix sums against a brute-force one, and the properties any clustering must have."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.quant.init import INITS, codebook_size, kmeanspp, ladder
from suite.quant.lloyd import Cells, Sorted, lloyd

weights = st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=60).map(
    lambda v: torch.tensor(v, dtype=torch.float32)
)
centre_lists = st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=9)


def brute_force_codes(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Nearest centre by exact squared distance; the first of equally near ones."""
    from fractions import Fraction

    return np.array(
        [
            min(range(len(centres)), key=lambda j: (abs(Fraction(float(v)) - Fraction(float(centres[j]))), j))
            for v in values
        ]
    )


@given(weights, centre_lists)
@settings(max_examples=200, deadline=None)
def test_codes_are_those_of_a_linear_search_ties_included(values: torch.Tensor, centres: list[float]) -> None:
    cells = Cells.of(torch.tensor(centres, dtype=torch.float64))
    np.testing.assert_array_equal(cells.codes(values).numpy(), brute_force_codes(values.numpy(), np.array(centres)))


# Multiples of 1/64, whose sums are exact: prefix sums lose what is 2^53 times smaller than their total, such as 1e-24 beside 1.
coarse = st.integers(-256, 256).map(lambda n: n / 64)


@given(
    st.lists(coarse, min_size=1, max_size=60).map(torch.tensor),
    st.lists(coarse, min_size=1, max_size=9),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_rounds_equal_brute_force_lloyd(values: torch.Tensor, start: list[float], rounds: int, random) -> None:
    movable = np.array([random.random() < 0.7 for _ in start])
    centres = np.array(start, dtype=np.float64)
    array = values.numpy().astype(np.float64)
    for _ in range(rounds):
        codes = brute_force_codes(array, centres)
        for j in range(len(centres)):
            if movable[j] and (codes == j).any():
                centres[j] = array[codes == j].mean()
    ours, cells = lloyd(Sorted.of(values), torch.tensor(start, dtype=torch.float64), torch.tensor(movable), rounds)
    np.testing.assert_allclose(ours.numpy(), centres, atol=1e-9)
    assert cells.codes(values).max() < len(start)


@given(weights, centre_lists)
@settings(max_examples=100, deadline=None)
def test_error_never_rises_with_rounds(values: torch.Tensor, start: list[float]) -> None:
    def error(rounds: int) -> float:
        centres, _ = lloyd(
            Sorted.of(values),
            torch.tensor(start, dtype=torch.float64),
            torch.ones(len(start), dtype=torch.bool),
            rounds,
        )
        return float((values.double()[:, None] - centres).square().min(dim=1).values.sum())

    errors = [error(rounds) for rounds in range(1, 6)]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(errors))


def test_codes_stay_on_the_weights_device_and_shape() -> None:
    codes = Cells.of(torch.tensor([0.0, 1.0], dtype=torch.float64)).codes(torch.rand(2, 3, 4))
    assert codes.shape == (2, 3, 4)
    assert codes.dtype == torch.int16


@pytest.mark.parametrize("name", sorted(INITS))
@pytest.mark.parametrize("bits", [2, 3, 5, 8])
@given(values=weights)
@settings(max_examples=25, deadline=None)
def test_every_start_has_k_finite_centres_zero_first_then_falling_magnitudes(
    name: str, bits: int, values: torch.Tensor
) -> None:
    k = codebook_size(bits)
    centres = INITS[name](Sorted.of(values), k, torch.Generator().manual_seed(0))
    assert centres.shape == (k,)
    assert torch.isfinite(centres).all()
    assert centres[0] == 0
    assert (centres[1:].abs().diff() <= 0).all()


def test_ladder_is_the_released_one() -> None:
    centres = ladder(Sorted.of(torch.tensor([-0.1, 0.9])), 5, torch.Generator())
    assert centres.tolist() == [0.0, 0.5, -0.5, 0.25, -0.25]


def test_kmeanspp_draws_by_squared_distance() -> None:
    """From a first centre at 0, a value at 3 is nine times as likely to be drawn next as a value at 1."""
    values = Sorted.of(torch.tensor([0.0, 1.0, 3.0]))
    draws = [float(kmeanspp(values, 2, torch.Generator().manual_seed(seed))[1]) for seed in range(2000)]
    assert draws.count(3.0) / len(draws) == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize(("bits", "size"), [(5, 17), (4, 9), (3, 5), (2, 3)])
def test_codebook_sizes_are_those_of_the_paper(bits: int, size: int) -> None:
    assert codebook_size(bits) == size
