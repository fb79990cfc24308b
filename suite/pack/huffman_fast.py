"""The loops of `suite.pack.huffman` for long streams, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.compiled import compiled, shared

LONGEST = 32  # bits of a code word: with what is left of the one before they fit into 64
LARGEST = 2**16  # alphabet
LOOK = 12  # bits that are looked up at once
MOST = 4  # symbols that a look finds

Symbols = NDArray[np.uint32]
Bytes = NDArray[np.uint8]
Codes = NDArray[np.uint64]
Names = NDArray[np.uint16]


def write(symbols: Symbols, codes: Codes, lengths: Bytes) -> bytes:
    """The code words of all symbols, one after the other; each thread writes its part where the one before it will end."""
    symbols = np.ascontiguousarray(symbols)
    parts = shared(lambda first, last: (first, last, int(_bits(symbols, lengths, first, last))), len(symbols))
    ends = np.cumsum([bits for *_, bits in parts]).tolist()
    data = np.zeros((ends[-1] + 7) // 8, dtype=np.uint8)

    def work(number: int, _: int) -> tuple[int, int]:
        first, last, bits = parts[number]
        return ends[number], _write(symbols, codes, lengths, first, last, data, ends[number] - bits)

    for end, bits in shared(work, len(parts)):
        if end % 8:  # the byte that a part shares with the next one
            data[end // 8] |= bits
    return data.tobytes()


def read(data: bytes, lengths: Bytes, order: NDArray[np.int64], words: Codes, count: int) -> Symbols | None:
    """The symbols of so many code words; None if these do not take just the bytes that are there.

    Args:
        lengths: (alphabet,), a complete code of words of at most `LONGEST` bits; at most `LARGEST` symbols.
        order: the symbols in the order of their code words.
        words: the code words in that order, (used,), followed by zeros to 56 bits.
    """
    looks = np.arange(1 << LOOK, dtype=np.uint64) << np.uint64(56 - LOOK)
    first = order[np.searchsorted(words, looks, side="right") - 1].astype(np.uint16)
    table, facts = _tabulated(first, lengths)
    pieces = np.frombuffer(data + bytes(12 - len(data) % 4), dtype=">u4").astype(np.uint32)
    symbols = np.empty(count + MOST, dtype=np.uint32)
    ends = (words >> np.uint64(56 - LONGEST)).astype(np.uint32)
    bits = _read(pieces, table, facts, first, lengths, order.astype(np.uint16), ends, symbols)
    return symbols[:count] if (bits + 7) // 8 == len(data) else None


@compiled
def _bits(symbols: Symbols, lengths: Bytes, first: int, last: int) -> int:
    """Bits of the code words of some symbols."""
    bits = 0
    for i in range(first, last):
        bits += lengths[symbols[i]]
    return bits


@compiled
def _write(symbols: Symbols, codes: Codes, lengths: Bytes, first: int, last: int, data: Bytes, start: int) -> int:
    """Write some symbols from bit `start` on, and return the bits of the last byte, unless it is full."""
    at, have, bits = start // 8, start % 8, np.uint64(0)
    for i in range(first, last):
        symbol = symbols[i]
        length = lengths[symbol]
        bits = bits << np.uint64(length) | codes[symbol]
        have += length
        if have >= 32:
            have -= 32
            four = np.uint32(bits >> np.uint64(have))
            data[at] = four >> np.uint32(24)
            data[at + 1] = four >> np.uint32(16) & np.uint32(255)
            data[at + 2] = four >> np.uint32(8) & np.uint32(255)
            data[at + 3] = four & np.uint32(255)
            at += 4
    while have >= 8:
        have -= 8
        data[at] = np.uint8(bits >> np.uint64(have) & np.uint64(255))
        at += 1
    return int(bits << np.uint64(8 - have) & np.uint64(255))


@compiled
def _tabulated(first: Names, lengths: Bytes) -> tuple[Names, Bytes]:
    """For each look the symbols of all code words that end in it, (looks, 4), and their number and bits, (looks, 2)."""
    table, facts = np.zeros((len(first), MOST), dtype=np.uint16), np.zeros((len(first), 2), dtype=np.uint8)
    for look in range(len(first)):
        used = 0
        for i in range(MOST):
            symbol = first[look << used & (len(first) - 1)]
            used += lengths[symbol]
            if used > LOOK:
                break
            table[look, i] = symbol
            facts[look, 0], facts[look, 1] = i + 1, used
    return table, facts


@compiled
def _read(
    pieces: Symbols,
    table: Names,
    facts: Bytes,
    first: Names,
    lengths: Bytes,
    order: Names,
    words: Symbols,
    out: Symbols,
) -> int:
    """Fill `out` but for its last four places; bits that were read, or -1 if there were too few.

    `bits` begins with the bits that follow, `have` of them, always 32 or more when they are looked at.
    """
    count, at, i, have, bits = len(out) - MOST, 0, 0, 0, np.uint64(0)
    while i < count:
        if have < 32:
            if at == len(pieces):
                return -1
            bits |= np.uint64(pieces[at]) << np.uint64(32 - have)
            at += 1
            have += 32
        look = bits >> np.uint64(64 - LOOK)
        if i + MOST <= count and facts[look, 0] > 0:
            out[i], out[i + 1], out[i + 2], out[i + 3] = table[look, 0], table[look, 1], table[look, 2], table[look, 3]
            i += facts[look, 0]
            length = facts[look, 1]
        else:  # a long word, or one of the last
            symbol = first[look]
            if facts[look, 0] == 0:
                low, high, window = 0, len(words), np.uint32(bits >> np.uint64(32))
                while high - low > 1:  # the last word that is not above what follows
                    middle = (low + high) // 2
                    if words[middle] <= window:
                        low = middle
                    else:
                        high = middle
                symbol = order[low]
            out[i] = symbol
            i += 1
            length = lengths[symbol]
        bits <<= np.uint64(length)
        have -= length
    return 32 * at - have
