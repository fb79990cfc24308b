"""The loops of `suite.pack.density` that decode, compiled: narrow rows are many, and every chunk must wait for the one before it.

The range decoder is constriction's, written down again: it takes its probabilities from Python, these loops make them.
What is imported from `suite.pack.density` is compiled in: whoever changes it there has to change this file, too, or what was
compiled before is used on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.compiled import compiled
from suite.pack.density import CERTAIN, ONE, WEIGHT

PRECISION = np.uint64(24)  # bits of a probability of the range coder
WORD = np.uint64(32)
FULL = np.uint64(2**64 - 1)
LEAST = np.uint64(2**32)  # below it, the range takes another word
END = np.uint64(2**33 - 1)  # what the point is less above the lower bound once everything is decoded

Words = NDArray[np.uint32]
Bits = NDArray[np.uint8]
Counts = NDArray[np.uint32]
State = NDArray[np.uint64]


@compiled
def decode(words: Words, bits: Bits, length: int, smooth: bool, forget: int) -> bool:
    """Fill `bits`, (rows, columns), decoded in chunks of `length` columns; whether they take just these words."""
    rows, columns = bits.shape
    above, ones_above = np.zeros(columns, dtype=np.uint32), 0
    state, at = np.zeros(3, dtype=np.uint64), 2  # lower bound, range, point; the next word
    state[1] = FULL
    state[2] = _word(words, 0) << WORD | _word(words, 1)
    for row in range(rows):
        line = bits[row]
        overall = (ones_above + 0.5) / (row * columns + 1.0)
        ones, expected = ONE, ONE
        for start in range(0, columns, length):
            stop = min(columns, start + length)
            ratio, found, added = ones / expected, 0, 0
            for column in range(start, stop):
                own = _of_column(above, column, row, overall, smooth)
                odds = own / (ONE - own) * ratio
                at = _bit(words, at, odds / (1.0 + odds), state, line, column)
                if at < 0:
                    return False
                found += line[column]
                added += own
            ones += found * ONE
            expected += added
            ones_above += found
            if forget:
                ones -= (ones - ONE) >> forget
                expected -= (expected - ONE) >> forget
        for column in range(columns):
            above[column] += line[column]
    return at >= len(words) and state[2] - state[0] < END


@compiled
def _of_column(above: Counts, column: int, seen: int, overall: float, smooth: bool) -> int:
    """As `density._of_columns`, for one of them."""
    count = np.int64(above[column])
    if smooth:
        wide = 4 * count
        if column > 0:
            wide += np.int64(above[column - 1])
        if column + 1 < len(above):
            wide += np.int64(above[column + 1])
        density = (0.25 * wide + WEIGHT * overall) / (1.5 * seen + WEIGHT)
    else:
        density = (count + WEIGHT * overall) / (seen + float(WEIGHT))
    return min(max(int(density * ONE), ONE - CERTAIN), CERTAIN)


@compiled
def _bit(words: Words, at: int, one: float, state: State, line: Bits, column: int) -> int:
    """Decode a bit with this probability of being one; the place of the next word, -1 if the stream is damaged."""
    zero = 1.0 - one
    border = np.uint64(zero * ((2.0**24 - 2.0) / (zero + one))) + np.uint64(1)
    lower, scale, point = state[0], state[1] >> PRECISION, state[2]
    quantile = (point - lower) // scale
    if quantile >> PRECISION:
        return -1
    if quantile < border:
        wide = scale * border
    else:
        line[column] = 1
        lower += scale * border
        wide = scale * ((np.uint64(1) << PRECISION) - border)
    if wide < LEAST:
        lower, wide, point = lower << WORD, wide << WORD, point << WORD | _word(words, at)
        at += 1
    state[0], state[1], state[2] = lower, wide, point
    return at


@compiled
def _word(words: Words, at: int) -> np.uint64:
    """Zero behind the last one."""
    return np.uint64(words[at]) if at < len(words) else np.uint64(0)
