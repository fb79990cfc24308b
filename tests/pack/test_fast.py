"""The compiled loops for long streams: the same bytes and symbols as the plain ones, the same complaints; frequencies of rANS."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.compiled import compiled
from suite.errors import UserError
from suite.pack import bits, bits_fast, counts_fast, huffman, huffman_fast, rans
from suite.pack.bits import Symbols
from suite.pack.coders import CODERS
from suite.pack.counts import PIECE, counts_of
from suite.pack.errors import PackError
from suite.pack.huffman import Huffman, code_lengths
from suite.pack.rans import LANES, Rans, rounded
from suite.pack.streams import FAST, MIXED, Uncoded, check_coder

quick = settings(max_examples=30, deadline=None)
NEVER = 2**60


@st.composite
def skewed(draw: st.DrawFn, largest: int = 300, longest: int = 3000) -> tuple[Symbols, int]:
    alphabet = draw(st.integers(2, largest))
    count = draw(st.integers(1, 20) | st.integers(1, longest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    symbols = np.minimum(rng.random(count) ** draw(st.sampled_from([1, 5, 40])) * alphabet, alphabet - 1)
    return symbols.astype(np.uint32), alphabet


@quick
@given(st.integers(1, 8), st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_packed_bits_are_the_same(width: int, count: int, seed: int) -> None:
    symbols = np.random.default_rng(seed).integers(0, 1 << width, count).astype(np.uint32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bits, "FAST", NEVER)
        plain = bits.pack(symbols, width)
        patch.setattr(bits, "FAST", 0)
        assert bits.pack(symbols, width) == plain
        assert bits.unpack(plain, width, count).tolist() == symbols.tolist()
        with pytest.raises(PackError, match="do not take"):
            bits.unpack(plain + b"\0", width, count)


def test_loops_of_every_width_are_kept_for_the_next_process() -> None:
    symbols = np.arange(40, dtype=np.uint32) % 8
    for _ in range(2):
        bits_fast._packing.cache_clear()
        packed = [bits_fast.pack(symbols, width) for width in (3, 5)]
    assert packed == [bits.pack(symbols, width) for width in (3, 5)]
    assert [sum(bits_fast._packing(width).stats.cache_hits.values()) for width in (3, 5)] == [1, 1]


@quick
@given(skewed())
def test_huffman_streams_are_the_same(stream: tuple[Symbols, int]) -> None:
    symbols, alphabet = stream
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huffman, "FAST", NEVER)
        plain = Huffman().encode(symbols, alphabet)
        patch.setattr(huffman, "FAST", 0)
        assert Huffman().encode(symbols, alphabet) == plain
        assert Huffman().decode(plain, alphabet, len(symbols)).tolist() == symbols.tolist()


def test_code_words_longer_than_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fibonacci's numbers make the longest words, here of 19 bits."""
    fibonacci = [1, 1]
    while len(fibonacci) < 20:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    symbols = np.random.default_rng(0).permutation(np.repeat(np.arange(20), fibonacci)).astype(np.uint32)
    assert code_lengths(np.array(fibonacci)).max() == 19
    plain = Huffman().encode(symbols, 20)
    monkeypatch.setattr(huffman, "FAST", 0)
    assert Huffman().encode(symbols, 20) == plain
    assert (Huffman().decode(plain, 20, len(symbols)) == symbols).all()


@pytest.mark.parametrize("count", [1, 3000, 4990, 5010, 2**31 - 1])
def test_another_number_of_code_words_is_noticed(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huffman, "FAST", 0)
    coded = Huffman().encode(np.arange(5000, dtype=np.uint32) % 5, 5)
    with pytest.raises(PackError):
        Huffman().decode(coded, 5, count)


@quick
@given(data=st.data(), name=st.sampled_from(["fixed", "huffman", "rans"]))
def test_damage_ends_in_pack_error_or_in_symbols(data: st.DataObject, name: str) -> None:
    """Of any length, and anywhere: nothing may be read or written beyond its end."""
    symbols, alphabet = data.draw(skewed())
    (coder,) = (coder for coder in CODERS if coder.name == name)
    coded = bytearray(coder.encode(symbols, alphabet))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(coded)))
        coded[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bits, "FAST", 0)
        patch.setattr(huffman, "FAST", 0)
        count = data.draw(st.sampled_from([len(symbols), len(symbols) + 1, max(1, len(symbols) - 1), 10_000]))
        try:
            decoded = coder.decode(bytes(coded), alphabet, count)
        except PackError:
            return
    assert len(decoded) == count


@pytest.mark.parametrize("alphabet", [2, 17, 256, 4096])
def test_numeral_systems_come_near_the_entropy(alphabet: int) -> None:
    symbols = np.minimum(np.random.default_rng(0).exponential(alphabet / 8, 400_000), alphabet - 1).astype(np.uint32)
    counts = np.bincount(symbols)
    counts = counts[counts > 0]
    entropy = float((counts * np.log2(len(symbols) / counts)).sum())
    table = alphabet * 15 + 40 * LANES
    coded = Rans().encode(symbols, alphabet)
    assert 8 * len(coded) < 1.001 * entropy + 2 * table
    assert (Rans().decode(coded, alphabet, len(symbols)) == symbols).all()


def test_blocks_use_what_differs_from_one_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rans, "SMALLEST", 16)
    rng = np.random.default_rng(0)
    symbols = np.concatenate([rng.integers(low, low + 4, 2**16) for low in (0, 8, 4)]).astype(np.uint32)
    coded = Rans().encode(symbols, 16)
    assert 8 * len(coded) < 1.01 * 2 * len(symbols)
    assert (Rans().decode(coded, 16, len(symbols)) == symbols).all()


@pytest.mark.parametrize("place", [-1, -50, -400])
def test_a_damaged_word_of_a_numeral_system_is_noticed(place: int) -> None:
    """What was coded into eight numbers must leave them as coding began with them."""
    symbols = np.minimum(np.random.default_rng(0).exponential(3, 2000), 30).astype(np.uint32)
    coded = bytearray(Rans().encode(symbols, 31))
    coded[place] ^= 4
    with pytest.raises(PackError, match="does not end as it began"):
        Rans().decode(bytes(coded), 31, len(symbols))


@quick
@given(st.lists(st.integers(0, 10**6) | st.integers(0, 2), min_size=1, max_size=4096), st.sampled_from([12, 13, 14]))
def test_frequencies_add_up_and_leave_nobody_out(counts: list[int], scale: int) -> None:
    counts[0] += 1
    found = rounded(np.array(counts), scale)
    assert found.sum() == 1 << scale
    assert [frequency > 0 for frequency in found] == [count > 0 for count in counts]


@quick
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=4))
def test_frequencies_are_near_the_best_there_are(counts: list[int]) -> None:
    """No move of one from a symbol to another makes the stream shorter by more than a rounding."""
    given_counts = np.array(counts)
    found = rounded(given_counts, 12)

    def cost(frequencies: np.ndarray) -> float:
        return float((given_counts * np.log2(4096 / frequencies)).sum())

    for giver in range(len(counts)):
        for taker in range(len(counts)):
            moved = found.copy()
            moved[giver] -= 1
            moved[taker] += 1
            assert moved[giver] == 0 or cost(moved) >= cost(found) * (1 - 1e-4) - 1e-9


def test_short_streams_are_coded_as_before() -> None:
    """Files of small networks, whose sizes stand in results, must not change with coders that came later."""
    symbols = np.zeros(5000, dtype=np.uint32)
    short = Uncoded(symbols, 2)
    assert CODERS[short.coded().coder].name not in FAST
    assert not [coder.name for coder in CODERS if coder.name in FAST and short.is_worth(coder.name)]
    long = Uncoded(np.zeros(MIXED + 1, dtype=np.uint32), 2)
    assert [coder.name for coder in CODERS if coder.name in FAST and long.is_worth(coder.name)] == [*FAST]


def test_a_named_coder_codes_what_it_can() -> None:
    symbols = np.random.default_rng(0).integers(0, 200, 1000).astype(np.uint32)
    for coder in CODERS:
        used = CODERS[Uncoded(symbols, 200).coded(coder.name).coder].name
        assert used == (coder.name if coder.largest >= 200 else used)
        assert used not in ("density", "mixing")


def test_an_unknown_coder_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no coder 'gzip'; possible: auto, smallest, fixed, huffman, .*, rans, zstd"):
        check_coder("gzip")


def test_a_file_names_coders_by_numbers_that_stay() -> None:
    names = "fixed huffman bz2 lzma deflate arithmetic adaptive density mixing lzw rans zstd"
    assert [coder.name for coder in CODERS] == names.split()


def twice(number: float) -> float:
    return number + number


def test_processes_that_compile_at_once_are_not_given_each_others_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numba does not lock what it keeps. Here the second looks before the first has written, and the first's index is the last."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    first, second, third = (compiled(twice) for _ in range(3))
    monkeypatch.setattr(second._cache._cache_file, "_load_index", dict)
    monkeypatch.setattr(second._cache._cache_file, "_save_index", lambda overloads: None)
    assert (first(1.5), second(2)) == (3.0, 4)
    assert third(1.5) == 3.0
    assert sum(third.stats.cache_hits.values()) == 1


def test_no_loop_reads_beyond_a_stream_that_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its last byte, its last code words, or a quarter. Behind the end lie a few bytes of zeros, which are code words, too."""
    checked = numba.njit(boundscheck=True, error_model="numpy")(huffman_fast._read.py_func)
    monkeypatch.setattr(huffman_fast, "_read", checked)
    symbols = np.minimum(np.random.default_rng(0).geometric(0.3, huffman.FAST + 1) - 1, 30).astype(np.uint32)
    coded = Huffman().encode(symbols, 31)
    assert (Huffman().decode(coded, 31, len(symbols)) == symbols).all()
    for missing in (1, 4, 12, 13, 100, len(coded) // 4):
        with pytest.raises(PackError, match="do not take"):
            Huffman().decode(coded[:-missing], 31, len(symbols))


def test_symbols_are_counted() -> None:
    symbols = np.random.default_rng(0).integers(0, 50, 3 * PIECE + 5).astype(np.uint32)
    assert counts_of(symbols, 60).tolist() == np.bincount(symbols, minlength=60).tolist()
    assert counts_fast.counts(symbols, 60, PIECE).sum(axis=0).tolist() == counts_of(symbols, 60).tolist()
    assert counts_of(symbols[:0], 3).tolist() == [0, 0, 0]
