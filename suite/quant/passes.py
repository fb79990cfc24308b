"""Passes over float32 values that neither sort nor copy them: counting by their upper bits, gathering, giving codes.

A bin is what the upper 18 bits say: sign, exponent and nine bits of the mantissa. All values of a bin are whole multiples of one
ulp, the lower 14 bits say which. So a bin's values are summed as integers, and the result depends neither on the order nor on the
number of threads. Imported late: numba takes a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.compiled import compiled, shared

LOW = 14  # bits of a value within its bin
BINS = 2 ** (32 - LOW)
COUNT = 39  # a tally is one integer: the count above this bit, the sum of the lower bits below it
PART = 2**24  # values in a tally at most: 2^24 of less than 2^14 stay below bit 39
_TALLIES = 4  # threads that count, each in 2 MiB of its own

Floats = NDArray[np.float32]
Bits = NDArray[np.uint32]
Integers = NDArray[np.int64]
Doubles = NDArray[np.float64]
Codes = NDArray[np.integer[Any]]


def tally(bits: Bits, counts: Integers, lows: Integers) -> None:
    """Add to `counts` and `lows`, (BINS,) by upper bits, how many values (N,) each bin has and the sum of their lower bits."""
    threads = min(torch.get_num_threads(), _TALLIES, len(bits) // 2**16 + 1)
    tallies = np.zeros((threads, BINS), dtype=np.uint64)
    for first in range(0, len(bits), threads * PART):
        block = bits[first : first + threads * PART]
        ends = [len(block) * thread // threads for thread in range(threads + 1)]

        def count(thread: int, _: int, block: Bits = block, ends: list[int] = ends) -> None:
            _count(block[ends[thread] : ends[thread + 1]], tallies[thread])

        shared(count, threads)
        _drain(tallies, counts, lows)


def gather(bits: Bits, wanted: NDArray[np.bool_], count: int) -> Floats:
    """The `count` values of the bins `wanted`, (BINS,) by upper bits, in any order."""

    def collect(first: int, last: int) -> Bits:
        found = np.empty(min(count, last - first), dtype=np.uint32)
        return found[: _collect(bits[first:last], wanted, found)]

    return np.concatenate(shared(collect, len(bits))).view(np.float32)


def give_codes(values: Floats, upper: Floats, names: Codes, out: Codes) -> None:
    """Write to `out`, (N,), the code of each value's cell.

    Args:
        values: (N,) finite.
        upper: (C,) ascending, the largest value in each cell; the last one is infinite.
        names: (C,) code of each cell, of the type of `out`.
    """
    bounds = upper[:-1] + np.float32(0)  # no -0: it equals 0 but its bin is another one
    places = bin_of(bounds)
    crowded = bool((places[1:] == places[:-1]).any())
    kind = np.uint8 if len(upper) <= 256 else np.int32
    ascending = np.repeat(np.arange(len(upper), dtype=kind), np.diff(places + 1, prepend=0, append=BINS))
    starts = np.concatenate(
        [ascending[BINS // 2 :], ascending[: BINS // 2][::-1]]
    )  # cell of the least value of each bin
    kernel = _give_crowded if crowded else _give
    ends = np.append(bounds, np.float32(np.inf))
    codes = None if np.array_equal(names, np.arange(len(names))) else names

    def give(first: int, last: int) -> None:
        kernel(values[first:last], values[first:last].view(np.uint32), starts, ends, codes, out[first:last])

    shared(give, len(values))


def settle(weights: Tensor, codes: Tensor, chosen: Tensor, codebook: Tensor) -> Tensor:
    """Set the weights of the chosen clusters, (K,) bool, to their entry of the codebook, (K,), in place; bool like weights: which.

    Args:
        weights: contiguous, of a type whose values are all float32 values, on the CPU.
        codes: (N,) int16.
    """
    kind = {4: np.uint32, 2: np.uint16}[weights.element_size()]
    entries = codebook.to(weights.dtype).view(torch.int32 if kind is np.uint32 else torch.int16).numpy().view(kind)
    bits = weights.view(-1).view(torch.int32 if kind is np.uint32 else torch.int16).numpy().view(kind)
    settled = torch.empty(weights.shape, dtype=torch.bool)
    numbers, mask, flags = codes.numpy(), chosen.numpy(), settled.view(-1).numpy()

    def work(first: int, last: int) -> None:
        _settle(bits[first:last], numbers[first:last], mask, entries, flags[first:last])

    shared(work, len(bits))
    return settled


def rank(values: Floats) -> Integers:
    """Place of each value among all float32 values in ascending order, 0 to 2^32 - 1; -0 is right below 0."""
    raw = values.view(np.uint32).astype(np.int64)
    return np.where(raw < 2**31, raw + 2**31, 2**32 - 1 - raw)


def bin_of(values: Floats) -> Integers:
    """Place, 0 to BINS - 1 in ascending order, of the bin of each value."""
    return rank(values) >> LOW


@compiled
def _count(bits: Bits, tallies: NDArray[np.uint64]) -> None:
    one, mask = np.uint64(1) << np.uint64(COUNT), np.uint32(2**LOW - 1)
    for i in range(len(bits)):
        b = bits[i]
        tallies[b >> np.uint32(LOW)] += one | np.uint64(b & mask)


@compiled
def _settle(bits: Codes, codes: Codes, chosen: NDArray[np.bool_], entries: Codes, settled: NDArray[np.bool_]) -> None:
    for i in range(len(bits)):
        code = codes[i]
        settled[i] = chosen[code]
        bits[i] = entries[code] if chosen[code] else bits[i]


@compiled
def _drain(tallies: NDArray[np.uint64], counts: Integers, lows: Integers) -> None:
    """Move all tallies to the totals."""
    mask = (np.uint64(1) << np.uint64(COUNT)) - np.uint64(1)
    for t in range(tallies.shape[0]):
        for b in range(tallies.shape[1]):
            both = tallies[t, b]
            if both:
                counts[b] += np.int64(both >> np.uint64(COUNT))
                lows[b] += np.int64(both & mask)
                tallies[t, b] = 0


@compiled
def _collect(bits: Bits, wanted: NDArray[np.bool_], found: Bits) -> int:
    n = 0
    for i in range(len(bits)):
        if wanted[bits[i] >> np.uint32(LOW)]:
            found[n] = bits[i]
            n += 1
    return n


@compiled
def _give(values: Floats, bits: Bits, starts: Codes, upper: Floats, names: Codes | None, out: Codes) -> None:
    for i in range(len(values)):
        cell = np.uint32(starts[bits[i] >> np.uint32(LOW)])
        cell += np.uint32(values[i] > upper[cell])
        out[i] = cell if names is None else names[cell]


@compiled
def _give_crowded(values: Floats, bits: Bits, starts: Codes, upper: Floats, names: Codes | None, out: Codes) -> None:
    for i in range(len(values)):
        cell = np.uint32(starts[bits[i] >> np.uint32(LOW)])
        while values[i] > upper[cell]:
            cell += np.uint32(1)
        out[i] = cell if names is None else names[cell]
