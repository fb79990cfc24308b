"""How often each symbol of a stream occurs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.pack.bits import Symbols

PIECE = 2**16  # symbols at a time; NumPy makes wide integers of what it counts

Counts = NDArray[np.int64]


def counts_of(symbols: Symbols, alphabet: int) -> Counts:
    """How often each symbol occurs, (alphabet,). `counts_fast` is for those who need numba anyway."""
    counts = np.zeros(alphabet, dtype=np.int64)
    for start in range(0, len(symbols), PIECE):
        counts += np.bincount(symbols[start : start + PIECE], minlength=alphabet)
    return counts
