"""Index differences of a limited width against the picture in Deep Compression and against going along the row."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.pack.gaps import WIDTHS, best_width, huffman_bits, limited, places

positions_of = st.lists(st.integers(0, 3000), max_size=80, unique=True).map(sorted)


def walked(positions: list[int], width: int) -> list[tuple[int, bool]]:
    """Differences and whether they are real, by going from one position to the next."""
    entries, at = [], -1
    for position in positions:
        while position - at > 2**width:
            entries.append((2**width, False))
            at += 2**width
        entries.append((position - at, True))
        at = position
    return entries


def test_a_filler_zero_where_three_bits_are_too_few() -> None:
    """Differences of at most 8: 1, 3, then 11 as a filler zero 8 further and 3 more."""
    entries, real = limited(np.array([0, 3, 14]), 3)
    assert (entries + 1).tolist() == [1, 3, 8, 3]
    assert real.tolist() == [True, True, False, True]


@given(positions_of, st.integers(2, 16))
def test_differences_are_those_of_walking(positions: list[int], width: int) -> None:
    entries, real = limited(np.array(positions, dtype=np.int64), width)
    assert list(zip((entries + 1).tolist(), real.tolist(), strict=True)) == walked(positions, width)


@given(positions_of, st.integers(2, 16))
def test_positions_come_back(positions: list[int], width: int) -> None:
    entries, real = limited(np.array(positions, dtype=np.int64), width)
    assert places(entries, 3001)[real].tolist() == positions


@settings(max_examples=20, deadline=None)
@given(positions_of, st.integers(0, 2**32 - 1))
def test_the_best_width_is_the_best(positions: list[int], seed: int) -> None:
    at = np.array(positions, dtype=np.int64)
    values = np.random.default_rng(seed).integers(0, 5, len(at)).astype(np.uint32)
    totals = {width: sum(huffman_bits(at, values, width)) for width in WIDTHS}
    assert totals[best_width(at, values)] == min(totals.values())
