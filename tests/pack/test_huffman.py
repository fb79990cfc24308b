"""Huffman's lengths against a tree built the naive way, against the entropy, and streams longer than a block."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.pack import huffman
from suite.pack.errors import PackError
from suite.pack.huffman import WIDEST, Huffman, code_bits, code_lengths
from suite.pack.varint import varint

counts_of = st.lists(st.integers(0, 10_000), min_size=1, max_size=60)


def naive_bits(counts: list[int]) -> int:
    """Total length of an optimal code: the sum of all merged weights, lightest two first (the identity behind Huffman)."""
    weights, total = sorted(c for c in counts if c), 0
    while len(weights) > 1:
        merged = weights.pop(0) + weights.pop(0)
        total += merged
        weights.append(merged)
        weights.sort()
    return total


@given(counts_of)
def test_lengths_are_optimal(counts: list[int]) -> None:
    assert code_bits(np.array(counts)) == naive_bits(counts)


@given(counts_of)
def test_length_lies_between_the_entropy_and_one_bit_more(counts: list[int]) -> None:
    used = np.array([c for c in counts if c])
    if len(used) < 2:
        assert code_bits(np.array(counts)) == 0
        return
    entropy = float((used * np.log2(used.sum() / used)).sum())
    assert entropy - 1e-6 <= code_bits(np.array(counts)) < entropy + used.sum()


@given(counts_of)
def test_code_is_complete(counts: list[int]) -> None:
    lengths = code_lengths(np.array(counts))
    used = lengths[lengths > 0]
    assert sum(2.0 ** -float(length) for length in used) == (1.0 if len(used) else 0.0)
    assert [bool(length) for length in lengths] == [bool(c) and len(used) > 0 for c in counts]


def test_code_words_by_hand() -> None:
    """Counts 4, 2, 1, 1 give the words 0, 10, 110, 111."""
    symbols = np.array([0, 0, 0, 0, 1, 1, 2, 3], dtype=np.uint32)
    assert code_lengths(np.array([4, 2, 1, 1])).tolist() == [1, 2, 3, 3]
    assert Huffman().encode(symbols, 4)[-2:] == bytes((0b00001010, 0b11011100))


def test_words_longer_than_a_look() -> None:
    """Fibonacci's numbers make the longest words: 24 bits for 25 symbols, more than the decoder's table knows."""
    fibonacci = [1, 1]
    while len(fibonacci) < 25:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    symbols = np.random.default_rng(0).permutation(np.repeat(np.arange(25), fibonacci)).astype(np.uint32)
    assert code_lengths(np.array(fibonacci)).max() == 24 > huffman.LOOK
    coded = Huffman().encode(symbols, 25)
    assert (Huffman().decode(coded, 25, len(symbols)) == symbols).all()


def test_a_short_stream_needs_a_small_table() -> None:
    coded = Huffman().encode(np.arange(10, dtype=np.uint32), 10)
    tracemalloc.start()
    assert Huffman().decode(coded, 10, 10).tolist() == [*range(10)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**16


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3000), st.integers(1, 1000))
def test_looks_of_any_width(seed: int, count: int, alphabet: int) -> None:
    """Words that are longer than a look among them: of rare symbols, in short streams."""
    rng = np.random.default_rng(seed)
    symbols = (alphabet * rng.random(count) ** rng.integers(1, 30)).astype(np.uint32)
    assert (Huffman().decode(Huffman().encode(symbols, alphabet), alphabet, count) == symbols).all()


def test_words_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = np.random.default_rng(0).geometric(0.2, 3000).astype(np.uint32)
    whole = Huffman().encode(symbols, 100)
    monkeypatch.setattr(huffman, "BLOCK", 64)
    assert Huffman().encode(symbols, 100) == whole
    assert (Huffman().decode(whole, 100, len(symbols)) == symbols).all()


@pytest.mark.parametrize("lengths", [[1, 1, 1], [1, 2, 0], [2, 2, 2], [3, 3, 3], [57, 57], [1] * (2 + 2**9)])
def test_tables_that_are_no_complete_code_are_refused(lengths: list[int]) -> None:
    table = huffman._pack_lengths(np.array(lengths, dtype=np.uint8))
    with pytest.raises(PackError, match="no complete prefix code"):
        Huffman().decode(table + bytes(4), len(lengths), 8)


def test_lengths_of_more_bits_than_a_number_has_are_refused() -> None:
    """Their upper bits would be lost: here two lengths of 2^40 + 1, which must not pass for 1."""
    for width in (WIDEST, WIDEST + 1, 41):
        table = int(2 * f"{2**40 + 1 if width > 40 else 1:0{width}b}", 2) << -2 * width % 8
        data = varint(1 + width) + table.to_bytes((2 * width + 7) // 8, "big") + b"\x50"
        if width <= WIDEST:
            assert Huffman().decode(data, 2, 8).tolist() == [0, 1, 0, 1, 0, 0, 0, 0]
        else:
            with pytest.raises(PackError, match="must be below 34"):
                Huffman().decode(data, 2, 8)


@pytest.mark.parametrize("count", [15, 17, 4000])
def test_another_number_of_symbols_is_noticed(count: int) -> None:
    coded = Huffman().encode(np.arange(16, dtype=np.uint32) % 4, 4)
    with pytest.raises(PackError):
        Huffman().decode(coded, 4, count * 4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_an_alphabet_of_which_little_is_used_needs_a_small_table(seed: int) -> None:
    used = np.random.default_rng(seed).choice(30_000, 4, replace=False).astype(np.uint32)
    assert len(Huffman().encode(used, 30_000)) < 100
