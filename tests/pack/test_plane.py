"""The layouts of a plane, each by itself."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.pack.contents import ALL
from suite.pack.plane import LAYOUTS, Plane, Unit
from suite.pack.streams import Stream, Uncoded
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


def test_what_layouts_share_is_coded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mask and gaps have the same values, unless a gap is filled up; bits are their own mask."""
    done: list[tuple[str, bytes, int]] = []
    by = Uncoded.by

    def noted(stream: Uncoded, name: str) -> Stream:
        done.append((name, stream.symbols.tobytes(), stream.alphabet))
        return by(stream, name)

    monkeypatch.setattr(Uncoded, "by", noted)
    symbols = np.tile(np.array([0, 1, 0, 0, 0, 2, 0, 0], dtype=np.uint32), 50)
    three, two = Unit(symbols, 3, 0, 40), Unit(symbols.clip(max=1), 2, 0, 40)
    for unit, count in ((three, 4), (two, 3)):  # all, mask, gaps, values
        for code in (partial(unit.planes, "smallest"), partial(unit.alone, ALL)):
            done.clear()
            code()
            assert len({one for one in done if one[0] == "huffman"}) == count
            assert len(done) == len(set(done))
