"""Numbers to codes and back, in one pass: compiled on first use, so this module is imported where it is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.compiled import compiled

SLOTS = 2**17  # of the table of numbers that were seen: four times as many as a codebook may have entries
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: multiplying by it spreads numbers over the upper bits
_SHIFT = np.uint64(64 - 17)


@compiled
def number_each(
    patterns: NDArray[np.int64],
    codes: NDArray[np.int16],
    slots: NDArray[np.int32],
    found: NDArray[np.int64],
    counts: NDArray[np.int64],
    have: int,
) -> int:
    """Number the distinct integers of `patterns` (N,) in the order in which they occur first.

    Args:
        codes: (N,) takes the number of each.
        slots: (SLOTS,) int32, -1 at first.
        found, counts: (K,) take what was found, and how often; `counts` comes with zeros.
        have: how many were found before, in earlier pieces of the same array.

    Returns:
        How many are found now; -1 if there are more than K, and then nothing that was written means anything.
    """
    for i in range(patterns.size):
        pattern = patterns[i]
        slot = np.int64((np.uint64(pattern) * _SPREAD) >> _SHIFT)
        number = slots[slot]
        while number >= 0 and found[number] != pattern:
            slot = (slot + 1) % SLOTS
            number = slots[slot]
        if number < 0:
            if have == found.size:
                return -1
            number = have
            slots[slot] = number
            found[number] = pattern
            have += 1
        codes[i] = number
        counts[number] += 1
    return have


@compiled
def look_up(table: NDArray[np.integer], codes: NDArray[np.integer], values: NDArray[np.integer]) -> None:
    """values[i] = table[codes[i]], for codes (N,) that are known to be places in the table (K,)."""
    for i in range(codes.size):
        values[i] = table[codes[i]]
