"""Arithmetic coding of a sparse matrix, symbol by symbol, with predictions of several contexts mixed: small, but slow.

Every symbol becomes binary decisions: is it the null, is it below or above it, is it one further away, and another, ... For each
decision some contexts give a probability of what has been seen in them; their logits are added with weights that gradient
descent on the code length adapts after every decision, as in PAQ (Mahoney 2005). Contexts are a symbol's column and row and its
neighbours to the left, also those a `period` away: the width of the picture that a first layer sees, or of a kernel.

Only sums, products and quotients of doubles and tables of rounded numbers are used: every machine decodes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import exp, log

import numpy as np

from suite.pack.arithmetic import RangeDecoder, RangeEncoder
from suite.pack.bits import Symbols
from suite.pack.errors import PackError
from suite.pack.varint import Reader, varint

FINE = 2**16  # a probability is looked up to so many parts
UNIT, LIMIT = 256, 12  # logits are rounded to 1 / UNIT and kept between -LIMIT and LIMIT
RATE = 0.004  # of the weights
LOCAL = 0.95  # what a place less far away counts in the density around a symbol
COLUMN = 4.0  # how many symbols in its column the density of all counts for
PERIODS = 64  # the longest that is looked for
BUCKETS = 3  # distances from the null that contexts tell apart

Decide = Callable[[float, int], int]


@cache
def _logits() -> list[float]:
    middles = ((i + 0.5) / FINE for i in range(FINE))
    return [round(UNIT * log(p / (1 - p))) / UNIT for p in middles]


@cache
def _probabilities() -> list[float]:
    return [round(FINE * FINE / (1 + exp(-i / UNIT))) / (FINE * FINE) for i in range(-LIMIT * UNIT, LIMIT * UNIT + 1)]


class Mixing:
    """For alphabets of which one symbol, the null, is frequent."""

    name, largest = "mixing", 64

    def encode(self, symbols: Symbols, alphabet: int, row: int = 0) -> bytes:
        if alphabet < 2 or not len(symbols):
            return b""
        null = int(np.bincount(symbols).argmax())
        row = row if row and len(symbols) % row == 0 else len(symbols)
        period = _period(symbols.reshape(-1, row) != null)
        bits: list[int] = []
        ones: list[float] = []

        def put(probability: float, bit: int) -> int:
            ones.append(probability)
            bits.append(bit)
            return bit

        _Model(null, alphabet, row, period).run(put, len(symbols), symbols.tolist())
        encoder = RangeEncoder()
        encoder.put_bits(np.array(bits), np.array(ones))
        return varint(null, period) + encoder.bytes()

    def decode(self, data: bytes, alphabet: int, count: int, row: int = 0) -> Symbols:
        reader = Reader(data)
        if alphabet < 2 or not count:
            reader.end()
            return np.zeros(count, dtype=np.uint32)
        null, period = reader.number(alphabet), reader.number(PERIODS + 1)
        if not period:
            raise PackError("a period of nothing")
        row = row if row and count % row == 0 else count
        decoder = RangeDecoder(reader.rest())
        symbols = _Model(null, alphabet, row, period).run(
            lambda probability, _: decoder.get_bit(probability), count, None
        )
        decoder.end()
        return np.array(symbols, dtype=np.uint32)


def _period(is_set: np.ndarray) -> int:
    """How far away in a row symbols are the likeliest to be set together, 2 to `PERIODS`."""
    bits = is_set[:2000].astype(np.float32)
    lags = range(2, min(PERIODS, bits.shape[1] - 1) + 1)
    return max(lags, key=lambda lag: float((bits[:, lag:] * bits[:, :-lag]).mean()), default=2)


class _Seen:
    """How often a decision went which way in a context."""

    __slots__ = ("count", "ones")

    def __init__(self, first: float) -> None:
        self.ones, self.count = first * 2.0, 2.0

    def logit(self) -> float:
        return _LOGITS[min(int(self.ones / self.count * FINE), FINE - 1)]  # after many halvings all are ones

    def add(self, bit: int) -> None:
        self.ones += bit
        self.count += 1.0
        if self.count > 1000.0:
            self.ones *= 0.5
            self.count *= 0.5


_LOGITS: list[float] = []


class _Mixer:
    """Adds logits with weights and adapts these."""

    def __init__(self, inputs: int, first: float) -> None:
        self.weights = [first] * inputs

    def decide(self, decide: Decide, inputs: list[float], bit: int) -> int:
        total = 0.0
        for weight, value in zip(self.weights, inputs, strict=True):
            total += weight * value
        place = int(total * UNIT) + LIMIT * UNIT
        probability = _probabilities()[min(max(place, 0), 2 * LIMIT * UNIT)]
        bit = decide(probability, bit)
        error = RATE * (bit - probability)
        self.weights = [weight + error * value for weight, value in zip(self.weights, inputs, strict=True)]
        return bit


class _Model:
    """The state that coder and decoder share."""

    def __init__(self, null: int, alphabet: int, row: int, period: int) -> None:
        _LOGITS[:] = _LOGITS or _logits()
        self.null, self.alphabet, self.row, self.period = null, alphabet, row, period
        self.seen: dict[tuple[int, ...], _Seen] = {}
        self.flag, self.sign = _Mixer(6, 0.35), _Mixer(4, 0.35)
        self.steps = [_Mixer(4, 0.35) for _ in range(alphabet)]
        self.above = [0] * row
        self.last_sign = [0] * row
        self.total, self.ones = 1.0, 0.5

    def run(self, decide: Decide, count: int, symbols: list[int] | None) -> list[int]:
        """Make all decisions; `symbols` are given to the coder and found by the decoder."""
        out: list[int] = []
        for start in range(0, count, self.row):
            out += self._row(
                decide, start // self.row, symbols[start : start + self.row] if symbols is not None else None
            )
        return out

    def _row(self, decide: Decide, number: int, symbols: list[int] | None) -> list[int]:
        """One row. `line` holds each symbol's distance from the null, positive above it, behind zeros for what is left of it."""
        null, period, pad = self.null, self.period, 2 * self.period + 3
        line = [0] * pad
        overall = self.ones / self.total
        base = _LOGITS[int(overall * FINE)]
        seen = expected = near = near_expected = 1.0
        latest, ago = 0, 9
        for column in range(self.row):
            given = 0 if symbols is None else symbols[column] - null
            left, up = line[-1], line[-period]
            density = (self.above[column] + COLUMN * overall) / (number + COLUMN)
            first = self._context(overall, 0, left != 0, line[-2] != 0, up != 0, line[1 - period] != 0)
            wide = line[-2 * period] != 0, line[-period - 1] != 0
            second = self._context(overall, 1, left != 0, line[-3] != 0, up != 0, *wide)
            inputs = [
                base,
                _LOGITS[int(density * FINE)] - base,
                _LOGITS[int(seen / (seen + expected) * FINE)],
                _LOGITS[int(near / (near + near_expected) * FINE)],
                first.logit() - base,
                second.logit() - base,
            ]
            is_set = self.flag.decide(decide, inputs, int(given != 0))
            first.add(is_set)
            second.add(is_set)
            seen += is_set
            expected += density
            near = 0.05 + LOCAL * (near - 0.05) + is_set
            near_expected = 0.05 + LOCAL * (near_expected - 0.05) + density
            ago += 1
            value = 0
            if is_set:
                value = self._value(decide, given, left, up, latest if ago < 4 else 0, self.last_sign[column])
                self.above[column] += 1
                self.last_sign[column] = 1 if value > 0 else 2
                latest, ago = value, 0
            line.append(value)
        self.ones += seen - 1.0
        self.total += self.row
        return [null + value for value in line[pad:]]

    def _value(self, decide: Decide, given: int, left: int, up: int, latest: int, column: int) -> int:
        """A distance from the null that is not zero: its sign, then one step after the other."""
        above = self.alphabet - 1 - self.null
        is_up = 0 if not above else 1
        if above and self.null:
            contexts = [
                self._context(0.5, 2),
                self._context(0.5, 3, _sign(left), _sign(up)),
                self._context(0.5, 4, _sign(latest), _sign(up)),
                self._context(0.5, 5, column, _sign(left)),
            ]
            is_up = self._decide(self.sign, decide, contexts, int(given > 0))
        most = above if is_up else self.null
        size, given = 1, abs(given)
        near_left, near_up, near_last = _bucket(left), _bucket(up), _bucket(latest)
        while size < most:
            contexts = [
                self._context(0.5, 6, size, is_up),
                self._context(0.5, 7, size, near_left, near_up),
                self._context(0.5, 8, size, is_up, near_last),
                self._context(0.5, 9, size, is_up, _sign(left), _sign(up)),
            ]
            if not self._decide(self.steps[size], decide, contexts, int(given > size)):
                break
            size += 1
        return size if is_up else -size

    def _decide(self, mixer: _Mixer, decide: Decide, contexts: list[_Seen], bit: int) -> int:
        bit = mixer.decide(decide, [context.logit() for context in contexts], bit)
        for context in contexts:
            context.add(bit)
        return bit

    def _context(self, first: float, *key: int) -> _Seen:
        seen = self.seen.get(key)
        if seen is None:
            seen = self.seen[key] = _Seen(first)
        return seen


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _bucket(value: int) -> int:
    return min(abs(value), BUCKETS)
