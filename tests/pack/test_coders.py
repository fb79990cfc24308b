"""One list of demands on every coder of streams."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from suite.pack import density, lzw
from suite.pack.arithmetic import RangeEncoder
from suite.pack.bits import Symbols, pack, unpack, width_of
from suite.pack.coders import CODERS, Coder
from suite.pack.errors import PackError

every = pytest.mark.parametrize("coder", CODERS, ids=lambda coder: coder.name)
quick = settings(max_examples=25, deadline=None)


@st.composite
def streams(draw: st.DrawFn, largest: int) -> tuple[Symbols, int, int]:
    """Symbols, uniform or skewed, their alphabet, and a row's length that may or may not divide them."""
    alphabet = draw(st.sampled_from([a for a in (1, 2, 3, 17, 256, 257, 5000, 32767) if a <= largest]))
    count = draw(st.sampled_from([0, 1, 2, 7, 40, 333, 2000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    power = draw(st.sampled_from([1.0, 4.0, 30.0]))
    symbols = np.minimum(rng.random(count) ** power * alphabet, alphabet - 1).astype(np.uint32)
    if draw(st.booleans()):
        symbols = (alphabet - 1 - symbols).astype(np.uint32)
    return symbols, alphabet, draw(st.sampled_from([0, 1, 3, 40]))


@every
@quick
@given(data=st.data())
def test_what_is_coded_comes_back(coder: Coder, data: st.DataObject) -> None:
    symbols, alphabet, row = data.draw(streams(coder.largest))
    coded = coder.encode(symbols, alphabet, row)
    decoded = coder.decode(coded, alphabet, len(symbols), row)
    assert decoded.dtype == np.uint32
    assert decoded.tolist() == symbols.tolist()


@every
def test_nothing_takes_nothing(coder: Coder) -> None:
    assert coder.encode(np.zeros(0, dtype=np.uint32), 2, 0) == b""
    with pytest.raises(PackError):
        coder.decode(b"\x01\x02\x03", 2, 0, 0)


@every
def test_one_symbol_only_takes_next_to_nothing(coder: Coder) -> None:
    assert len(coder.encode(np.zeros(5000, dtype=np.uint32), 1, 0)) <= 80


@every
def test_it_decides_nothing_by_chance(coder: Coder) -> None:
    symbols = np.random.default_rng(3).integers(0, 2, 3000).astype(np.uint32)
    assert coder.encode(symbols, 2, 100) == coder.encode(symbols, 2, 100)


@every
@quick
@given(data=st.data())
def test_damaged_streams_end_in_pack_error_or_in_other_symbols(coder: Coder, data: st.DataObject) -> None:
    """Checksums find damage first; but even without them nothing else may happen."""
    symbols, alphabet, row = data.draw(streams(coder.largest))
    coded = bytearray(coder.encode(symbols, alphabet, row))
    if coded and data.draw(st.booleans()):
        coded = coded[: data.draw(st.integers(0, len(coded) - 1))]
    elif coded:
        coded[data.draw(st.integers(0, len(coded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decoded = coder.decode(bytes(coded), alphabet, len(symbols), row)
    except PackError:
        return
    assert len(decoded) == len(symbols)


@every
@quick
@given(noise=st.binary(max_size=60), count=st.integers(0, 200), alphabet=st.sampled_from([1, 2, 5, 300]))
def test_noise_ends_in_pack_error_or_in_symbols(coder: Coder, noise: bytes, count: int, alphabet: int) -> None:
    try:
        decoded = coder.decode(noise, min(alphabet, coder.largest), count, 0)
    except PackError:
        return
    assert len(decoded) == count


@pytest.mark.parametrize("name", ["huffman", "arithmetic", "adaptive", "bz2", "lzma", "deflate"])
def test_skewed_streams_get_shorter(name: str) -> None:
    rng = np.random.default_rng(0)
    symbols = np.minimum(rng.geometric(0.5, 20_000) - 1, 31).astype(np.uint32)  # entropy: 2 bits
    (coder,) = [coder for coder in CODERS if coder.name == name]
    slack = 1.35 if name in ("bz2", "lzma", "deflate") else 1.01
    assert 8 * len(coder.encode(symbols, 32)) < slack * 2 * len(symbols) + 200


def test_phrases_by_hand() -> None:
    """0 1 0 1 0 1 0: the phrases 0, 1, 01, and 010, which is in the making as it is used; in 1, 2, 2 and 3 bits."""
    (coder,) = [coder for coder in CODERS if coder.name == "lzw"]
    coded = coder.encode(np.array([0, 1, 0, 1, 0, 1, 0], dtype=np.uint32), 2)
    assert coded == bytes((4, 0b00000000, 0b01100000, 0b10000000))


def test_a_full_dictionary_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lzw, "PHRASES", 100)
    symbols = np.random.default_rng(0).integers(0, 5, 4000).astype(np.uint32)
    coded = lzw.Lzw().encode(symbols, 5)
    assert lzw.Lzw().decode(coded, 5, 4000).tolist() == symbols.tolist()


def test_density_knows_dead_columns_and_rows() -> None:
    rng = np.random.default_rng(0)
    alive = np.outer(rng.random(200) < 0.3, rng.random(300) < 0.3)
    bits = (alive & (rng.random((200, 300)) < 0.5)).astype(np.uint32).reshape(-1)
    sizes = {coder.name: len(coder.encode(bits, 2, 300)) for coder in CODERS}
    assert sizes["density"] < 0.65 * sizes["adaptive"]


def coded_by(model: density._Model, bits: NDArray[np.uint8]) -> bytes:
    """A matrix of bits as a stream of this model, be it the best or not."""
    encoder = RangeEncoder()
    for block, ones in density._blocks(density._turned(bits, model), model):
        encoder.put_bits(block.reshape(-1), ones.reshape(-1))
    return bytes((model.number,)) + encoder.bytes()


@pytest.mark.parametrize("model", density.MODELS, ids=str)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 900), (900, 1), (40, 17), (7, 700)])
def test_density_decodes_what_every_model_codes(model: density._Model, rows: int, columns: int) -> None:
    """Coded with constriction and NumPy, decoded by loops that share nothing with them."""
    rng = np.random.default_rng(columns)
    for share in (0.0, 0.02, 0.5, 1.0):
        bits = (rng.random((rows, columns)) < share * rng.random(columns) ** 0.2).astype(np.uint8)
        data = coded_by(model, bits)
        assert density.Density().decode(data, 2, bits.size, columns).tolist() == bits.reshape(-1).tolist()
        with pytest.raises(PackError, match="damaged, or longer"):
            density.Density().decode(data + bytes((1,) * 8), 2, bits.size, columns)


def test_density_takes_no_longer_over_rows_of_one_column() -> None:
    """A few bytes can announce 2^31 of them."""
    bits = np.random.default_rng(0).integers(0, 2, (2**18, 1)).astype(np.uint8)
    model, coder = density.MODELS[0], density.Density()
    coder.decode(coded_by(model, bits[:9]), 2, 9, 1)  # compiles
    coded, began = coded_by(model, bits), time.process_time()
    assert coder.decode(coded, 2, len(bits), 1).tolist() == bits.reshape(-1).tolist()
    assert time.process_time() - began < 4  # a Python loop takes 15


@pytest.mark.parametrize("name", ["bz2", "lzma", "deflate", "zstd"])
def test_noise_for_very_many_symbols_takes_no_memory(name: str) -> None:
    (coder,) = [coder for coder in CODERS if coder.name == name]
    with pytest.raises(PackError):
        coder.decode(b"noise", 2, 2**31 - 1)  # imports what it needs
    tracemalloc.start()
    with pytest.raises(PackError):
        coder.decode(b"noise", 2, 2**31 - 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24  # LZMA's dictionary has 2^23


def test_mixing_knows_neighbours_and_signs() -> None:
    """Rows of pictures 20 wide: what lives lies together, and neighbours have the same sign."""
    rng = np.random.default_rng(0)
    picture = np.zeros((60, 20, 20), dtype=np.int64)
    for plane in picture:
        for sign in (-1, 1):
            top, left = rng.integers(0, 16, 2)
            plane[top : top + 4, left : left + 4] = sign * rng.integers(1, 3, (4, 4))
    symbols = (picture + 2).astype(np.uint32).reshape(-1)
    sizes = {coder.name: len(coder.encode(symbols, 5, 400)) for coder in CODERS if coder.largest >= 5}
    assert sizes["mixing"] == min(sizes.values())
    assert sizes["mixing"] < 0.6 * sizes["adaptive"]


@quick
@given(st.integers(0, 20), st.integers(0, 2000), st.integers(0, 2**32 - 1))
def test_bits_are_those_of_binary_numbers(width: int, count: int, seed: int) -> None:
    symbols = np.random.default_rng(seed).integers(0, 1 << width, count).astype(np.uint32)
    text = "".join(f"{symbol:0{width}b}" for symbol in symbols.tolist()) if width else ""
    whole = text + "0" * (-len(text) % 8)
    assert pack(symbols, width) == bytes(int(whole[i : i + 8], 2) for i in range(0, len(whole), 8))
    assert unpack(pack(symbols, width), width, count).tolist() == symbols.tolist()


def test_blocks_of_bits_join() -> None:
    symbols = np.random.default_rng(0).integers(0, 8, 2**19 + 11).astype(np.uint32)
    assert (unpack(pack(symbols, 3), 3, len(symbols)) == symbols).all()


@pytest.mark.parametrize(("alphabet", "width"), [(0, 0), (1, 0), (2, 1), (3, 2), (256, 8), (257, 9), (32767, 15)])
def test_width(alphabet: int, width: int) -> None:
    assert width_of(alphabet) == width
