"""Numbers of a fixed width, bit after bit, most significant bit first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.pack.errors import PackError

Symbols = NDArray[np.uint32]  # what every coder codes: non-negative integers below the size of their alphabet

ANY = 2**31  # the largest alphabet
FAST = 2**20  # symbols; longer streams are worth the second that numba takes to be imported
BLOCK = 2**19  # symbols that are spread into bits at a time; a multiple of 8, so that every block ends on a byte


def width_of(alphabet: int) -> int:
    """Bits of one symbol of an alphabet of so many: 1 -> 0, 2 -> 1, 3 -> 2, 256 -> 8, 257 -> 9."""
    return max(0, alphabet - 1).bit_length()


def pack(symbols: Symbols, width: int) -> bytes:
    """Symbols below 2^width, one after the other; the last byte is filled up with zeros."""
    if _is_fast(len(symbols), width):
        from suite.pack import bits_fast

        return bits_fast.pack(symbols, width)
    blocks = (symbols[i : i + BLOCK] for i in range(0, len(symbols), BLOCK))
    return b"".join(np.packbits(_spread(block, width)).tobytes() for block in blocks) if width else b""


def unpack(data: bytes, width: int, count: int) -> Symbols:
    """The inverse of `pack`. Raises `PackError` unless `data` has just the length of so many symbols."""
    if len(data) != (count * width + 7) // 8:
        raise PackError(f"{count} symbols of {width} bits do not take {len(data)} bytes")
    if _is_fast(count, width):
        from suite.pack import bits_fast

        return bits_fast.unpack(data, width, count)
    symbols = np.zeros(count, dtype=np.uint32)
    if width:
        raw = np.frombuffer(data, dtype=np.uint8)
        for i in range(0, count, BLOCK):
            block = symbols[i : i + BLOCK]
            bits = np.unpackbits(raw[i * width // 8 :][: (len(block) * width + 7) // 8], count=len(block) * width)
            for column in bits.reshape(-1, width).T:
                block <<= np.uint32(1)
                block |= column
    return symbols


def _is_fast(count: int, width: int) -> bool:
    return count > FAST and 0 < width <= 8


def _spread(symbols: Symbols, width: int) -> NDArray[np.uint8]:
    bits = np.empty((len(symbols), width), dtype=np.uint8)
    for place in range(width):
        bits[:, place] = (symbols >> np.uint32(width - 1 - place)) & np.uint32(1)
    return bits.reshape(-1)
