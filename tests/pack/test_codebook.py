"""Codebooks by their values and by their step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.pack.codebook import Codebook
from suite.pack.errors import PackError
from suite.pack.steps import step_of
from suite.pack.varint import Reader

floats = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])
steps = st.floats(2.0**-10, 8.0)
numbers = st.sets(st.integers(-60, 60), max_size=60).map(sorted)


def back(book: Codebook) -> torch.Tensor:
    reader = Reader(book.written())
    values = Codebook.read(reader).values
    reader.end()
    return values


@settings(deadline=None)
@given(floats, steps, numbers)
def test_multiples_of_a_step_come_back_to_the_bit(dtype: torch.dtype, step: float, chosen: list[int]) -> None:
    values = (torch.tensor(chosen, dtype=torch.float64) * step).to(dtype)
    assert torch.equal(back(Codebook(values)), values)


@settings(deadline=None)
@given(steps, st.integers(2, 120))
def test_a_run_of_multiples_takes_a_bit_each(step: float, count: int) -> None:
    values = ((torch.arange(count) - count // 2).double() * step).float()
    assert len(Codebook(values).written()) <= min(16 + count // 8, 2 + 4 * count)


@settings(deadline=None)
@given(floats, st.lists(st.floats(-4, 4), max_size=40))
def test_any_values_come_back_to_the_bit(dtype: torch.dtype, chosen: list[float]) -> None:
    values, places = Codebook.of(torch.tensor(chosen, dtype=torch.float64), dtype, np.ones(len(chosen), dtype=np.bool_))
    assert torch.equal(back(values)[places], torch.tensor(chosen, dtype=torch.float64).to(dtype))


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.5, 2.6001], [0.0, float("inf")], [-0.0, 1.0, 2.0]])
def test_what_has_no_step(values: list[float]) -> None:
    assert step_of(torch.tensor(values)) is None
    assert torch.equal(back(Codebook(torch.tensor(values))), torch.tensor(values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_two_values_on_either_side_of_zero_come_back(dtype: torch.dtype) -> None:
    """Half their distance, not their distance, is a step of theirs."""
    values = torch.tensor([-0.3, 0.3], dtype=dtype)
    assert torch.equal(back(Codebook(values)), values)
    found = step_of(values)
    assert found is not None
    assert found[1].tolist() == [-1, 1]


def test_a_codebook_with_more_entries_than_codes_can_name_is_refused() -> None:
    values = (torch.arange(-32768, 32767).double() * 0.5).float()
    with pytest.raises(PackError, match="too large"):
        back(Codebook(values))


def test_a_step_of_vectors_is_refused() -> None:
    stepped = Codebook(torch.arange(-3, 4).float() / 4).written()
    assert stepped[0] == 1
    with pytest.raises(PackError, match="vectors of 2 has no step"):
        Codebook.read(Reader(bytes((1 + 8 * 2,)) + stepped[1:]))
