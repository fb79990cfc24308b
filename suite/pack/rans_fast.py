"""The loops of `suite.pack.rans`, compiled. Symbol i of a block goes into number i mod 8, the last symbol first.

A number x of at least 2^16 codes a symbol of frequency f, with F before it, out of 2^s: while it is 2^(32 - s) f or more, its
lower 16 bits are given up as a word; then it becomes 2^s (x // f) + F + x mod f. Decoding does the same backwards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.compiled import compiled, shared

LANES = 8
ROOM = 2**23  # words of blocks that are in memory before they are cut to length
LOW = np.uint32(2**16)
WORD = np.uint32(16)

Symbols = NDArray[np.uint32]
Words = NDArray[np.uint16]
Table = NDArray[np.uint32]


def encode(symbols: Symbols, size: int, frequencies: Table, scale: int) -> tuple[Table, list[Words]]:
    """The numbers at the end, (blocks, 8), and each block's words in the order of decoding."""
    symbols = np.ascontiguousarray(symbols)
    blocks = _blocks(symbols, size)
    before = (np.cumsum(frequencies, axis=1) - frequencies).astype(np.uint32)
    states = np.full((blocks, LANES), LOW, dtype=np.uint32)
    batch = max(1, min(blocks, ROOM // size))
    room = np.empty((batch, min(size, len(symbols)) + 1), dtype=np.uint16)
    starts = np.zeros(len(room), dtype=np.int64)
    words: list[Words] = []
    for start in range(0, blocks, batch):

        def work(first: int, last: int, start: int = start) -> None:
            for row in range(first, last):
                block = start + row
                part = symbols[block * size : (block + 1) * size]
                starts[row] = _encode(
                    part, frequencies[block], before[block], np.uint32(scale), states[block], room[row]
                )

        rows = min(batch, blocks - start)
        shared(work, rows)
        words += [room[row, starts[row] :].copy() for row in range(rows)]
    return states, words


def decode(
    words: Words, lengths: NDArray[np.int64], states: Table, frequencies: Table, scale: int, size: int, count: int
) -> Symbols | None:
    """The symbols; None if a block does not take just its words or does not end in the numbers that coding begins with.

    Args:
        lengths: words of each block; together as many as there are.
        frequencies: (blocks, alphabet), each block's adding up to 2^scale; at most 2^16 symbols.
    """
    padded = np.concatenate((words, np.zeros(LANES, dtype=np.uint16)))  # a look ahead of each number
    starts = np.cumsum(lengths) - lengths
    symbols = np.empty(count, dtype=np.uint32)

    def work(first: int, last: int) -> bool:
        looks, names = np.empty(1 << scale, dtype=np.uint32), np.empty(1 << scale, dtype=np.uint16)
        for block in range(first, last):
            _tabulate(frequencies[block], looks, names)
            mine = padded[starts[block] : starts[block] + lengths[block] + LANES]
            if not _decode(
                mine, states[block], looks, names, np.uint32(scale), symbols[block * size : (block + 1) * size]
            ):
                return False
        return True

    return symbols if all(shared(work, len(lengths))) else None


def _blocks(symbols: Symbols, size: int) -> int:
    return -(-len(symbols) // size)


@compiled
def _put(
    x: np.uint32, symbol: np.uint32, frequencies: Table, before: Table, scale: np.uint32, words: Words, at: int
) -> tuple[np.uint32, int]:
    frequency = frequencies[symbol]
    words[at - 1] = np.uint16(x)  # kept or written over: a jump that is guessed wrongly costs more
    full = np.uint64(x) >= np.uint64(frequency) << np.uint64(32 - scale)
    at -= int(full)
    x = np.uint32(x >> WORD if full else x)
    whole = np.uint32(x // frequency)
    return np.uint32((whole << scale) + (x - whole * frequency) + before[symbol]), at


@compiled
def _encode(symbols: Symbols, frequencies: Table, before: Table, scale: np.uint32, states: Table, words: Words) -> int:
    """Where the words begin: they fill the room, of more words than there are symbols, from its end."""
    at, whole = len(words), len(symbols) // LANES * LANES
    for i in range(len(symbols) - 1, whole - 1, -1):
        states[i - whole], at = _put(states[i - whole], symbols[i], frequencies, before, scale, words, at)
    a, b, c, d, e, f, g, h = states[0], states[1], states[2], states[3], states[4], states[5], states[6], states[7]
    for i in range(whole - LANES, -1, -LANES):  # in registers
        h, at = _put(h, symbols[i + 7], frequencies, before, scale, words, at)
        g, at = _put(g, symbols[i + 6], frequencies, before, scale, words, at)
        f, at = _put(f, symbols[i + 5], frequencies, before, scale, words, at)
        e, at = _put(e, symbols[i + 4], frequencies, before, scale, words, at)
        d, at = _put(d, symbols[i + 3], frequencies, before, scale, words, at)
        c, at = _put(c, symbols[i + 2], frequencies, before, scale, words, at)
        b, at = _put(b, symbols[i + 1], frequencies, before, scale, words, at)
        a, at = _put(a, symbols[i], frequencies, before, scale, words, at)
    states[0], states[1], states[2], states[3], states[4], states[5], states[6], states[7] = a, b, c, d, e, f, g, h
    return at


@compiled
def _tabulate(frequencies: Table, looks: Table, names: Words) -> None:
    """For each remainder of a number its symbol, and the symbol's frequency (upper half) and its place among them (lower)."""
    at = 0
    for symbol in range(len(frequencies)):
        for place in range(frequencies[symbol]):
            looks[at] = frequencies[symbol] << WORD | np.uint32(place)
            names[at] = symbol
            at += 1


@compiled
def _get(
    x: np.uint32, looks: Table, names: Words, scale: np.uint32, words: Words, at: int
) -> tuple[np.uint32, np.uint32, int]:
    place = x & np.uint32(len(looks) - 1)
    look = looks[place]
    x = np.uint32((look >> WORD) * (x >> scale) + (look & np.uint32(0xFFFF)))
    word = np.uint32(words[at])  # read whether it is needed or not, as above
    short = x < LOW
    x = x << WORD | word if short else x
    return np.uint32(names[place]), np.uint32(x), at + int(short)


@compiled
def _decode(words: Words, states: Table, looks: Table, names: Words, scale: np.uint32, symbols: Symbols) -> bool:
    """Whether the block takes all words but the padding of eight, and ends as coding begins."""
    at, last, whole = 0, len(words) - LANES, len(symbols) // LANES * LANES
    a, b, c, d, e, f, g, h = states[0], states[1], states[2], states[3], states[4], states[5], states[6], states[7]
    for i in range(0, whole, LANES):
        if at > last:
            return False
        symbols[i], a, at = _get(a, looks, names, scale, words, at)
        symbols[i + 1], b, at = _get(b, looks, names, scale, words, at)
        symbols[i + 2], c, at = _get(c, looks, names, scale, words, at)
        symbols[i + 3], d, at = _get(d, looks, names, scale, words, at)
        symbols[i + 4], e, at = _get(e, looks, names, scale, words, at)
        symbols[i + 5], f, at = _get(f, looks, names, scale, words, at)
        symbols[i + 6], g, at = _get(g, looks, names, scale, words, at)
        symbols[i + 7], h, at = _get(h, looks, names, scale, words, at)
    if at > last:
        return False
    ends = np.array([a, b, c, d, e, f, g, h])
    for i in range(whole, len(symbols)):
        symbols[i], ends[i - whole], at = _get(ends[i - whole], looks, names, scale, words, at)
    for end in ends:
        if end != LOW:
            return False
    return at == last
