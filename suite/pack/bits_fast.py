"""Bit packing of long streams, compiled: eight symbols of up to eight bits at a time, which fill whole bytes.

Each width has loops of its own, compiled (half a second) when it is first needed: the compiler unrolls what it knows the length
of, and twice as many symbols a second are the result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from suite.compiled import compiled, shared

GROUP = 8  # symbols that take just as many bytes as each takes bits
WIDEST = 8  # bits, so that a group fits into 64

Symbols = NDArray[np.uint32]
Bytes = NDArray[np.uint8]


def pack(symbols: Symbols, width: int) -> bytes:
    """Symbols below 2^width, width from 1 to `WIDEST`, as `suite.pack.bits.pack` would."""
    groups = len(symbols) // GROUP
    data = np.zeros((len(symbols) * width + 7) // 8, dtype=np.uint8)
    work = _packing(width)
    shared(lambda first, last: work(symbols, data, first, last), groups)
    if rest := len(symbols) - groups * GROUP:
        filled = np.zeros(GROUP, dtype=np.uint32)
        filled[:rest] = symbols[-rest:]
        last = np.zeros(width, dtype=np.uint8)
        work(filled, last, 0, 1)
        data[groups * width :] = last[: len(data) - groups * width]
    return data.tobytes()


def unpack(data: bytes, width: int, count: int) -> Symbols:
    """The inverse; `data` must have just the bytes of so many symbols."""
    groups = count // GROUP
    raw = np.frombuffer(data, dtype=np.uint8)
    symbols = np.empty(count, dtype=np.uint32)
    work = _unpacking(width)
    shared(lambda first, last: work(raw, symbols, first, last), groups)
    if rest := count - groups * GROUP:
        filled = np.frombuffer(data[groups * width :] + bytes(width), dtype=np.uint8)
        last = np.empty(GROUP, dtype=np.uint32)
        work(filled, last, 0, 1)
        symbols[-rest:] = last[:rest]
    return symbols


@cache
def _packing(width: int) -> Callable[[Symbols, Bytes, int, int], None]:
    """Packs groups first to last - 1."""
    shift = np.uint64(width)

    def pack(symbols: Symbols, data: Bytes, first: int, last: int) -> None:
        for group in range(first, last):
            bits = np.uint64(0)
            for i in range(GROUP):
                bits = (bits << shift) | np.uint64(symbols[GROUP * group + i])
            start = group * width
            for i in range(width):
                data[start + i] = np.uint8(bits >> np.uint64(8 * (width - 1 - i)))

    return compiled(pack)


@cache
def _unpacking(width: int) -> Callable[[Bytes, Symbols, int, int], None]:
    """The inverse."""
    shift, mask = np.uint64(width), np.uint64((1 << width) - 1)

    def unpack(data: Bytes, symbols: Symbols, first: int, last: int) -> None:
        for group in range(first, last):
            bits, start = np.uint64(0), group * width
            for i in range(width):
                bits = (bits << np.uint64(8)) | np.uint64(data[start + i])
            for i in range(GROUP):
                symbols[GROUP * group + i] = np.uint32((bits >> (shift * np.uint64(GROUP - 1 - i))) & mask)

    return compiled(unpack)
