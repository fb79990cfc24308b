"""How often each symbol occurs, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.compiled import compiled, shared

Symbols = NDArray[np.uint32]


def counts(symbols: Symbols, alphabet: int, size: int) -> NDArray[np.int64]:
    """How often each symbol occurs in each block of `size`, (blocks, alphabet)."""
    symbols = np.ascontiguousarray(symbols)
    if int(symbols.max()) >= alphabet:
        raise ValueError(f"symbol {int(symbols.max())} is not below {alphabet}")
    found = np.zeros((-(-len(symbols) // size), alphabet), dtype=np.int64)
    shared(lambda first, last: _count(symbols, size, found, first, last), len(found))
    return found


@compiled
def _count(symbols: Symbols, size: int, found: NDArray[np.int64], first: int, last: int) -> None:
    """Four symbols at a time in tables of their own: the same symbol again need not wait for the sum before it."""
    apart = np.zeros((4, found.shape[1]), dtype=np.int64)
    for block in range(first, last):
        apart[:] = 0
        start, stop = block * size, min((block + 1) * size, len(symbols))
        for i in range(start, stop - 3, 4):
            apart[0, symbols[i]] += 1
            apart[1, symbols[i + 1]] += 1
            apart[2, symbols[i + 2]] += 1
            apart[3, symbols[i + 3]] += 1
        for i in range(stop - (stop - start) % 4, stop):
            apart[0, symbols[i]] += 1
        for symbol in range(found.shape[1]):
            found[block, symbol] = apart[0, symbol] + apart[1, symbol] + apart[2, symbol] + apart[3, symbol]
