"""Range asymmetric numeral systems (Duda 2013, "rANS"): within a hair of the entropy, and many times faster to decode than
range coding, because eight numbers are decoded side by side and a symbol costs a look into a table and a multiplication.

For long streams. Each block of a stream has its own frequencies, so blocks are coded at the same time, and what differs from
one part of a layer to another is used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.pack.bits import Symbols, pack, unpack
from suite.pack.errors import PackError
from suite.pack.varint import Reader, varint

LANES = 8  # numbers that symbols are coded into in turn, of 32 bits; they give up words of 16
SCALES = (12, 13, 14)  # bits of a probability
LOSS = 1e-4  # of the entropy, that rounding probabilities may cost before the next scale is taken
SMALLEST = 18  # a block that is written has at least two to the power of this symbols
SHARE = (
    1e-3  # of the stream, that more blocks than would make it the smallest may cost: they are decoded at the same time
)
BLOCKS = range(16, 32)  # a block that is read has two to the power of one of these symbols

Counts = NDArray[np.int64]
Frequencies = NDArray[np.uint32]


class Rans:
    """Frequencies of each block, then its numbers at the end of coding, then the words that they gave up."""

    name, largest = "rans", 2**12

    def encode(self, symbols: Symbols, alphabet: int, row: int = 0) -> bytes:
        if alphabet < 2 or not len(symbols):
            return b""
        from suite.pack import counts_fast, rans_fast

        power, counts = _joined(counts_fast.counts(symbols, alphabet, 1 << SMALLEST))
        scale, frequencies = _scaled(counts)
        states, words = rans_fast.encode(symbols, 1 << power, frequencies, scale)
        head = varint(scale, power) + pack(frequencies.reshape(-1), scale + 1)
        head += varint(*(len(part) for part in words)) + states.astype("<u4").tobytes()
        return head + b"".join(part.astype("<u2").tobytes() for part in words)

    def decode(self, data: bytes, alphabet: int, count: int, row: int = 0) -> Symbols:
        reader = Reader(data)
        if alphabet < 2 or not count:
            reader.end()
            return np.zeros(count, dtype=np.uint32)
        scale, power = reader.number(SCALES[-1] + 1), reader.number(BLOCKS.stop)
        if scale < SCALES[0] or power < BLOCKS.start:
            raise PackError(f"no scale of {scale} bits, or no blocks of 2^{power} symbols")
        blocks = (count + (1 << power) - 1) >> power
        frequencies = _read_frequencies(reader, blocks, alphabet, scale)
        lengths = np.array(reader.numbers(blocks), dtype=np.int64)
        states = np.frombuffer(reader.take(4 * LANES * blocks), dtype="<u4").astype(np.uint32).reshape(blocks, LANES)
        rest = reader.rest()
        if int(lengths.max()) > len(rest) or 2 * int(lengths.sum()) != len(rest):
            raise PackError(f"{len(rest)} bytes are not the words of {blocks} blocks")
        from suite.pack import rans_fast

        words = np.frombuffer(rest, dtype="<u2").astype(np.uint16)
        symbols = rans_fast.decode(words, lengths, states, frequencies, scale, 1 << power, count)
        if symbols is None:
            raise PackError("a stream of numeral systems is damaged: it does not end as it began")
        return symbols


def _joined(counts: Counts) -> tuple[int, Counts]:
    """Pairs of blocks are joined until they are few enough: the power of two, and counts of each block."""
    before = counts.shape[1] * (SCALES[0] + 1) + 32 * LANES
    ways = [counts]
    while len(ways[-1]) > 1:
        ways.append(np.add.reduceat(ways[-1], np.arange(0, len(ways[-1]), 2)))
    bits = [_bits(way) + before * len(way) for way in ways]
    joins = next(i for i, cost in enumerate(bits) if cost <= (1 + SHARE) * min(bits))
    return SMALLEST + joins, ways[joins]


def _read_frequencies(reader: Reader, blocks: int, alphabet: int, scale: int) -> Frequencies:
    fields = blocks * alphabet
    table = unpack(reader.take((fields * (scale + 1) + 7) // 8), scale + 1, fields).reshape(blocks, alphabet)
    if (table.sum(axis=1, dtype=np.int64) != 1 << scale).any():
        raise PackError(f"frequencies of a block do not add up to 2^{scale}")
    return table


def _scaled(counts: Counts) -> tuple[int, Frequencies]:
    """The first scale that costs next to nothing, and for each block the frequencies, (blocks, alphabet), that add up to it."""
    entropy = _bits(counts)
    for scale in SCALES:
        frequencies = np.stack([rounded(block, scale) for block in counts])
        if _bits(counts, frequencies) <= (1 + LOSS) * entropy:
            break
    return scale, frequencies.astype(np.uint32)


def _bits(counts: Counts, frequencies: Counts | None = None) -> float:
    """Bits of blocks of symbols with these counts, coded with these frequencies; without them at their entropy."""
    given = counts if frequencies is None else frequencies
    inverse = given.sum(axis=1, keepdims=True) / np.maximum(given, 1)
    return float((counts * np.log2(inverse)).sum())


def rounded(counts: Counts, scale: int) -> Counts:
    """Frequencies, (alphabet,), that add up to 2^scale, at least 1 for every symbol that occurs, near the shares of these counts.

    Raises:
        ValueError: if more symbols occur than 2^scale.
    """
    total, used = 1 << scale, np.flatnonzero(counts)
    if len(used) > total:
        raise ValueError(f"{len(used)} symbols have no frequencies of {scale} bits")
    shares = counts[used] * (total / counts.sum())
    found = np.maximum(shares.astype(np.int64), 1)
    missing = total - int(found.sum())
    if missing > 0:  # less than one for each: to those that gain most by it
        found[np.argsort(-counts[used] * np.log2(1 + 1 / found), kind="stable")[:missing]] += 1
    while missing < 0:  # those that got 1 for less: from those that lose least by it
        able = found > 1
        losses = np.where(able, counts[used] * np.log2(found / np.maximum(found - 1, 1)), np.inf)
        taken = np.argsort(losses, kind="stable")[: min(-missing, max(1, int(able.sum()) // 8))]
        found[taken] -= 1
        missing += len(taken)
    frequencies = np.zeros(len(counts), dtype=np.int64)
    frequencies[used] = found
    return frequencies
