"""The layouts of a plane, each by itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.pack.plane import LAYOUTS, Plane, Unit
from suite.pack.varint import Reader


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 40]), st.sampled_from([0.0, 0.002, 0.1, 0.45]), st.data())
def test_every_layout_gives_the_symbols_back(seed: int, alphabet: int, density: float, data: st.DataObject) -> None:
    rng, null = np.random.default_rng(seed), data.draw(st.integers(0, alphabet - 1))
    symbols = np.where(rng.random(3000) < density, rng.integers(0, alphabet, 3000), null).astype(np.uint32)
    row = data.draw(st.sampled_from([0, 7, 100]))
    candidates = Unit(symbols, alphabet, null, row).planes()
    assert [plane.layout for plane in candidates] == list(LAYOUTS)
    for plane in candidates:
        reader = Reader(plane.written())
        assert Plane.read(reader, 3000, alphabet, row).symbols().tolist() == symbols.tolist()
        reader.end()


def test_few_symbols_far_apart_are_given_by_their_positions() -> None:
    symbols = np.zeros(200_000, dtype=np.uint32)
    symbols[[5, 70_000, 199_999]] = (3, 1, 2)
    sizes = {plane.layout: len(plane.written()) for plane in Unit(symbols, 4, 0, 0).planes()}
    assert min(sizes.values()) < 30


def test_symbols_that_are_seldom_null_have_one_layout() -> None:
    symbols = np.arange(100, dtype=np.uint32) % 10
    assert [plane.layout for plane in Unit(symbols, 10, 0, 0).planes()] == ["dense"]
