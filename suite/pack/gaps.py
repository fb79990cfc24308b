"""Positions in a sparse row as differences of a limited width, as in Deep Compression (Han et al. 2016, section 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.pack.bits import Symbols
from suite.pack.errors import PackError
from suite.pack.huffman import code_bits

WIDTHS = range(2, 17)


def gaps_of(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many places lie between each position and the one before it (for the first: before it); positions rise."""
    return np.diff(positions, prepend=-1) - 1


def limited(positions: NDArray[np.int64], width: int) -> tuple[Symbols, NDArray[np.bool_]]:
    """Differences from 1 to 2^width, less one; where one is larger, filler zeros are put in between, each 2^width further.

    Returns:
        The differences of all entries, and which entries are real, not fillers.
    """
    gaps = gaps_of(positions)
    real = np.cumsum((gaps >> width) + 1) - 1
    entries = np.full(int(real[-1]) + 1 if len(real) else 0, (1 << width) - 1, dtype=np.uint32)
    entries[real] = gaps & ((1 << width) - 1)
    is_real = np.zeros(len(entries), dtype=np.bool_)
    is_real[real] = True
    return entries, is_real


def places(gaps: Symbols, size: int) -> NDArray[np.int64]:
    """The positions, below `size`, of all entries. Raises `PackError` if the last one lies beyond."""
    positions = np.add(gaps, 1, dtype=np.int64)  # from here on in place: there may be 2^31
    np.cumsum(positions, out=positions)
    positions -= 1
    if len(positions) and positions[-1] >= size:
        raise PackError(f"positions reach {positions[-1]} in a tensor of {size}")
    return positions


def best_width(positions: NDArray[np.int64], values: Symbols) -> int:
    """The width whose Huffman-coded differences and values, fillers included, are the shortest."""
    return min(WIDTHS, key=lambda width: sum(huffman_bits(positions, values, width)))


def huffman_bits(positions: NDArray[np.int64], values: Symbols, width: int) -> tuple[int, int]:
    """Bits of the differences and of the values if both are Huffman coded, fillers included, without the codes' tables."""
    entries, is_real = limited(positions, width)
    counts = np.bincount(values) if len(values) else np.zeros(0, dtype=np.int64)
    return code_bits(np.bincount(entries)), code_bits(np.append(counts, len(entries) - is_real.sum()))
