"""Arithmetic (range) coding, which comes within a few bytes of the entropy of its model. The coder is constriction's.

Files depend on how constriction 0.5 rounds probabilities: a later series of it may need a new version of the file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.pack.bits import ANY, Symbols
from suite.pack.counts import counts_of
from suite.pack.deflate import deflate, inflate
from suite.pack.errors import PackError
from suite.pack.varint import Reader, varint

WORD = 4  # bytes that the coder emits at a time
FIRST = 16  # symbols coded before the adaptive model looks at what has been seen for the first time
PRIORS = (0.01, 0.03, 0.1, 0.3, 1.0)  # what every symbol counts before it has been seen
PIECE = 2**16  # symbols that are copied, to other integers, at a time

Probabilities = NDArray[np.float64]


def _stream() -> Any:
    from constriction import stream  # late: what reads no coded file need not have it

    return stream


class RangeEncoder:
    """Collects coded symbols."""

    def __init__(self) -> None:
        self._stream = _stream()
        self._encoder = self._stream.queue.RangeEncoder()

    def put(self, symbols: Symbols, probabilities: Probabilities) -> None:
        """Symbols that all have these (K,) probabilities; none needs to be above zero, each is given at least 2^-24."""
        model = self._stream.model.Categorical(probabilities, perfect=False)
        for start in range(0, len(symbols), PIECE):
            self._encoder.encode(symbols[start : start + PIECE].astype(np.int32), model)

    def put_bits(self, bits: NDArray[Any], ones: Probabilities) -> None:
        """Bits, each with its own probability of being one."""
        self._encoder.encode(bits.astype(np.int32), self._stream.model.Bernoulli(perfect=False), ones)

    def bytes(self, head: bytes = b"") -> bytes:
        """What stands before, then all so far, without the zeros at the end of the last word."""
        words = self._encoder.get_compressed()
        if sys.byteorder == "little":
            words.byteswap(inplace=True)
        last = words[-1:].tobytes()
        return b"".join((head, words.view(np.uint8)[: words.nbytes - len(last) + len(last.rstrip(b"\0"))]))


class RangeDecoder:
    """Gives the symbols back, in the same portions with the same probabilities."""

    def __init__(self, data: bytes) -> None:
        self._stream = _stream()
        words = np.frombuffer(data + bytes(-len(data) % WORD), dtype=">u4").astype(np.uint32)
        self._decoder = self._stream.queue.RangeDecoder(words)

    def get(self, count: int, probabilities: Probabilities) -> Symbols:
        return self._decode(self._stream.model.Categorical(probabilities, perfect=False), count)

    def get_bit(self, one: float) -> int:
        """A single bit with this probability of being one."""
        try:
            return int(self._decoder.decode(self._stream.model.Bernoulli(one, perfect=False)))
        except AssertionError as error:
            raise PackError(f"an arithmetically coded stream is damaged: {error}") from None

    def _decode(self, *what: Any) -> Symbols:
        try:
            symbols: Symbols = self._decoder.decode(*what).view(np.uint32)
        except AssertionError as error:
            raise PackError(f"an arithmetically coded stream is damaged: {error}") from None
        return symbols

    def end(self) -> None:
        """Raises `PackError` if data are left."""
        if not self._decoder.maybe_exhausted():
            raise PackError("an arithmetically coded stream is longer than its symbols")


class Static:
    """Frequencies with four significant bits, a byte each, before the stream."""

    name, largest = "arithmetic", ANY

    def encode(self, symbols: Symbols, alphabet: int, row: int = 0) -> bytes:
        if alphabet < 2 or not len(symbols):
            return b""
        table = _rounded(counts_of(symbols, alphabet))
        encoder = RangeEncoder()
        encoder.put(symbols, _probabilities(table))
        deflated, raw = deflate(table.tobytes()), table.tobytes()
        shown = varint(len(deflated)) + deflated if len(deflated) + 2 < len(raw) else varint(0) + raw
        return encoder.bytes(shown)

    def decode(self, data: bytes, alphabet: int, count: int, row: int = 0) -> Symbols:
        if alphabet < 2 or not count:
            return _nothing(data, count)
        reader = Reader(data)
        size = reader.number()
        raw = inflate(reader.take(size), alphabet) if size else reader.take(alphabet)
        table = np.frombuffer(raw, dtype=np.uint8)
        if not table.any():
            raise PackError("a table of frequencies holds zeros only")
        decoder = RangeDecoder(reader.rest())
        symbols = decoder.get(count, _probabilities(table))
        decoder.end()
        return symbols


def _rounded(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Counts as 8 e + m, which stands for (8 + m) 2^e - 8, m in 0..7: exact up to 8, within 7 % above, zero for zero."""
    shifted = counts + 8
    exponent = np.frexp(shifted.astype(np.float64))[1].astype(np.int64) - 4
    half = (1 << exponent) >> 1
    return (8 * exponent + ((shifted + half) >> exponent) - 8).astype(np.uint8)  # m = 8 is the next e with m = 0


def _probabilities(table: NDArray[np.uint8]) -> Probabilities:
    exponent, mantissa = table.astype(np.int64) >> 3, table.astype(np.int64) & 7
    counts: Probabilities = (((8 + mantissa) << exponent) - 8).astype(np.float64)
    probabilities: Probabilities = counts / counts.sum()
    return probabilities


class Adaptive:
    """No table: every portion is coded with the frequencies of all portions before it. Portions grow with what has been seen."""

    name, largest = "adaptive", ANY

    def encode(self, symbols: Symbols, alphabet: int, row: int = 0) -> bytes:
        if alphabet < 2 or not len(symbols):
            return b""
        return min((self._with(symbols, alphabet, i) for i in range(len(PRIORS))), key=len)

    def _with(self, symbols: Symbols, alphabet: int, prior: int) -> bytes:
        encoder, counts = RangeEncoder(), np.full(alphabet, PRIORS[prior])
        for start, stop in portions(len(symbols)):
            encoder.put(symbols[start:stop], counts / counts.sum())
            counts += counts_of(symbols[start:stop], alphabet)
        return encoder.bytes(bytes((prior,)))

    def decode(self, data: bytes, alphabet: int, count: int, row: int = 0) -> Symbols:
        if alphabet < 2 or not count:
            return _nothing(data, count)
        reader = Reader(data)
        counts = np.full(alphabet, PRIORS[reader.number(len(PRIORS))])
        decoder, symbols = RangeDecoder(reader.rest()), np.empty(count, dtype=np.uint32)
        for start, stop in portions(count):
            symbols[start:stop] = decoder.get(stop - start, counts / counts.sum())
            counts += counts_of(symbols[start:stop], alphabet)
        decoder.end()
        return symbols


def portions(count: int) -> Iterator[tuple[int, int]]:
    """Where portions begin and end: `FIRST` symbols, then always an eighth of what has been seen."""
    start = 0
    while start < count:
        stop = min(count, start + max(FIRST, start // 8))
        yield start, stop
        start = stop


def _nothing(data: bytes, count: int) -> Symbols:
    if data:
        raise PackError(f"{len(data)} bytes where none are needed")
    return np.zeros(count, dtype=np.uint32)
