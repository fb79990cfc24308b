"""Arithmetic coding of bits whose density differs from column to column, from row to row, and from place to place.

Which weights of a layer survive pruning is far from random: whole inputs and outputs die out. A bit's probability of being one
is estimated from the bits above it in its column, and multiplied (its odds are) by how much denser the row has been so far, or
lately, than its columns let expect. All sums are of integers, so that every machine that decodes comes to the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from suite.pack.arithmetic import WORD, Probabilities, RangeEncoder
from suite.pack.bits import Symbols
from suite.pack.errors import PackError
from suite.pack.varint import Reader

ONE = 1 << 20  # probability one
CERTAIN = ONE - 32  # the highest estimate from a column; the lowest is 32
WEIGHT = 4  # how many bits in its column the density of all bits counts for
CHUNK = 16  # bits that are decoded at once, with the row's density so far
CHUNKS = 32  # of a long row, at most
SAMPLE = 2**20  # bits from which the best kind of model is chosen
BLOCK = 2**20  # bits whose probabilities are worked out at once

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Model:
    """One way of looking at the bits."""

    turned: bool  # columns are coded as rows
    smooth: bool  # a column's neighbours count too, a quarter each
    forget: int  # after each chunk, the row's past counts 1 - 2^-forget of what it did; 0: always all

    @property
    def number(self) -> int:
        return MODELS.index(self)


MODELS = tuple(_Model(*choice) for choice in product((False, True), (False, True), (0, 2, 4)))


class Density:
    """Bits only: alphabets of two."""

    name, largest = "density", 2

    def encode(self, symbols: Symbols, alphabet: int, row: int = 0) -> bytes:
        if alphabet < 2 or not len(symbols):
            return b""
        bits = _matrix(symbols, row)
        sample = _sample(bits)
        model = min(MODELS, key=lambda model: _cost(_turned(sample, model), model))
        encoder, turned = RangeEncoder(), _turned(bits, model)
        for block, probabilities in _blocks(turned, model):
            encoder.put_bits(block.reshape(-1), probabilities.reshape(-1))
        return bytes((model.number,)) + encoder.bytes()

    def decode(self, data: bytes, alphabet: int, count: int, row: int = 0) -> Symbols:
        if alphabet < 2 or not count:
            if data:
                raise PackError(f"{len(data)} bytes where none are needed")
            return np.zeros(count, dtype=np.uint32)
        reader = Reader(data)
        model = MODELS[reader.number(len(MODELS))]
        shape = _shape(count, row)
        bits = _decoded(reader.rest(), shape[::-1] if model.turned else shape, model)
        return (bits.T if model.turned else bits).reshape(-1).astype(np.uint32)


def _shape(count: int, row: int = 0) -> tuple[int, int]:
    return (count // row, row) if row and count % row == 0 else (1, count)


def _matrix(symbols: Symbols, row: int) -> NDArray[np.uint8]:
    return symbols.astype(np.uint8).reshape(_shape(len(symbols), row))


def _turned(bits: NDArray[np.uint8], model: _Model) -> NDArray[np.uint8]:
    return np.ascontiguousarray(bits.T) if model.turned else bits


def _sample(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first rows and columns of a large matrix."""
    rows = min(len(bits), max(1024, SAMPLE // bits.shape[1]))
    return bits[:rows, : max(1, SAMPLE // rows)]


def _cost(bits: NDArray[np.uint8], model: _Model) -> float:
    """Bits that coding takes."""
    cost = 0.0
    for block, ones in _blocks(bits, model):
        cost -= float(np.log2(np.where(block, ones, 1 - ones)).sum())
    return cost


def _chunk(columns: int) -> int:
    """How many bits of a row are decoded with the same density of the row."""
    return max(CHUNK, -(-columns // CHUNKS))


def _chunks(columns: int) -> Iterator[slice]:
    length = _chunk(columns)
    for start in range(0, columns, length):
        yield slice(start, min(columns, start + length))


def _blocks(bits: NDArray[np.uint8], model: _Model) -> Iterator[tuple[NDArray[np.uint8], Probabilities]]:
    """Some rows at a time, with the probability of a one at each place."""
    rows, columns = bits.shape
    above, step = np.zeros(columns, dtype=np.int64), max(1, BLOCK // columns)
    for start in range(0, rows, step):
        block = bits[start : start + step]
        counts = np.cumsum(block, axis=0, dtype=np.int64)
        before = above + counts - block
        seen = np.arange(start, start + len(block), dtype=np.int64)[:, None]
        expected = _of_columns(before, seen, model)
        ones = np.empty(block.shape)
        row = _Row(len(block))
        for chunk in _chunks(columns):
            ones[:, chunk] = row.probabilities(expected[:, chunk])
            row.add(block[:, chunk], expected[:, chunk], model)
        yield block, ones
        above += counts[-1]


def _decoded(data: bytes, shape: tuple[int, int], model: _Model) -> NDArray[np.uint8]:
    """By compiled loops: a matrix may have as many rows as bits, and each would take 50 microseconds in Python."""
    from suite.pack import density_fast

    words = np.frombuffer(data + bytes(-len(data) % WORD), dtype=">u4").astype(np.uint32)
    bits = np.zeros(shape, dtype=np.uint8)
    if not density_fast.decode(words, bits, _chunk(shape[1]), model.smooth, model.forget):
        raise PackError("an arithmetically coded stream is damaged, or longer than its symbols")
    return bits


def _of_columns(above: Integers, seen: Integers, model: _Model) -> Integers:
    """Estimated density of each column in units of 1 / `ONE`, from its ones among the `seen` rows above, and all ones above."""
    overall = (above.sum(axis=1, keepdims=True) + 0.5) / (seen * above.shape[1] + 1.0)
    if model.smooth:
        wide = 4 * above
        wide[:, 1:] += above[:, :-1]
        wide[:, :-1] += above[:, 1:]
        density = (0.25 * wide + WEIGHT * overall) / (1.5 * seen + WEIGHT)
    else:
        density = (above + WEIGHT * overall) / (seen + float(WEIGHT))
    scaled: Integers = (density * ONE).astype(np.int64)
    return scaled.clip(ONE - CERTAIN, CERTAIN)


class _Row:
    """What has been seen of several rows, each for itself, against what their columns let expect, in units of 1 / `ONE`."""

    def __init__(self, rows: int) -> None:
        self._ones = np.full((rows, 1), ONE, dtype=np.int64)
        self._expected = np.full((rows, 1), ONE, dtype=np.int64)

    def probabilities(self, expected: Integers) -> Probabilities:
        odds = expected / (ONE - expected) * (self._ones / self._expected)
        ones: Probabilities = odds / (1.0 + odds)
        return ones

    def add(self, bits: NDArray[np.uint8], expected: Integers, model: _Model) -> None:
        self._ones += bits.sum(axis=1, keepdims=True, dtype=np.int64) * ONE
        self._expected += expected.sum(axis=1, keepdims=True)
        if model.forget:
            self._ones -= (self._ones - ONE) >> model.forget
            self._expected -= (self._expected - ONE) >> model.forget
