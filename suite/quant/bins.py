"""The weights of a tensor, counted by the upper bits of their float32 values: enough to cluster them, without sorting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.compiled import compiled
from suite.errors import UserError
from suite.quant.passes import BINS, LOW, Doubles, Integers, gather, tally

KINDS = (torch.float32, torch.bfloat16, torch.float16)  # types whose values are all float32 values
_CONVERTED = 2**20  # weights of a narrower type that are converted at a time


@dataclass(frozen=True)
class Bins:
    """The M bins that are not empty, ascending; sums are exact for up to 2^29 weights in a bin."""

    places: Integers  # (M,) as `passes.bin_of` gives them
    counts: Integers  # (M,)
    sums: Doubles  # (M,)
    exact: NDArray[np.bool_]  # (M,) whether a bin stands for one of its values only

    @staticmethod
    def of(weights: Tensor) -> Bins:
        """Count the weights, a tensor of any shape, of float32, bfloat16 or float16, on any device; they are copied to the CPU.

        Raises:
            UserError: a weight is NaN or infinite, or the type is another one.
        """
        counts, lows = np.zeros(BINS, dtype=np.int64), np.zeros(BINS, dtype=np.int64)
        for block in blocks(weights):
            tally(block.view(np.uint32), counts, lows)
        return Bins.counted(counts, lows)

    @staticmethod
    def counted(counts: Integers, lows: Integers) -> Bins:
        """From counts and sums of lower bits, each (BINS,) by upper bits."""
        filled = np.flatnonzero(counts)
        positive = np.searchsorted(filled, BINS // 2)  # of which there are so many, before those with a sign
        raw = np.concatenate([filled[positive:][::-1], filled[:positive]])
        _refuse_not_finite(raw, counts)
        numbers = counts[raw]
        mantissa = (raw & (2 ** (23 - LOW) - 1)) + np.where((raw >> (23 - LOW)) & 255, 2 ** (23 - LOW), 0)
        ulps = numbers * (mantissa << LOW) + lows[raw]
        sums = np.ldexp(ulps.astype(np.float64), _exponent(raw) - 23)
        exact = (numbers == 1) | (lows[raw] == 0)  # no lower bits at all: every value is the one where the bin begins
        return Bins(_place(raw), numbers, np.where(raw < BINS // 2, sums, -sums), exact)

    def widths(self) -> Doubles:
        """Width, (M,), of each bin; 0 of those that stand for one value."""
        return np.where(self.exact, 0.0, np.ldexp(1.0, _exponent(_raw(self.places)) - 23 + LOW))

    def split(self, weights: Tensor, chosen: NDArray[np.bool_]) -> Bins:
        """These bins with the `chosen` ones, (M,), replaced by one for each of their distinct values."""
        if not chosen.any():
            return self
        return Bins(
            *_told_apart(self.places, self.counts, self.sums, self.exact, chosen, self.gathered(weights, chosen))
        )

    def gathered(self, weights: Tensor, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The values, ascending, of the `chosen` bins, (M,)."""
        wanted = np.zeros(BINS, dtype=np.bool_)
        wanted[_raw(self.places[chosen])] = True
        count = int(self.counts[chosen].sum())
        parts = [gather(block.view(np.uint32), wanted, count) for block in blocks(weights)]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.float32)


def blocks(weights: Tensor) -> Iterator[NDArray[np.float32]]:
    """The weights in C order as float32; those of a narrower type a block at a time, so that no copy of all is made."""
    if weights.dtype not in KINDS:
        raise UserError(
            f"weights of type {weights.dtype}; allowed: {', '.join(str(kind) for kind in KINDS)}. Convert them first"
        )
    flat = weights.detach().flatten()
    if weights.dtype == torch.float32:
        yield flat.cpu().numpy()
        return
    for block in torch.split(flat, _CONVERTED):
        yield block.cpu().float().numpy()


def _raw(places: Integers) -> Integers:
    """The upper bits of the bins at these places."""
    raw: Integers = np.where(places >= BINS // 2, places - BINS // 2, BINS - 1 - places)
    return raw


def _place(raw: Integers) -> Integers:
    places: Integers = np.where(raw < BINS // 2, raw + BINS // 2, BINS - 1 - raw)
    return places


def _exponent(raw: Integers) -> Integers:
    """Power of two at which the values of these bins start; of denormal ones the least."""
    exponents: Integers = np.maximum((raw >> (23 - LOW)) & 255, 1) - 127
    return exponents


def _refuse_not_finite(raw: Integers, counts: Integers) -> None:
    wrong = raw[((raw >> (23 - LOW)) & 255) == 255]
    if len(wrong):
        count = int(counts[wrong].sum())
        raise UserError(f"{count:,} of the weights are NaN or infinite and cannot be clustered. Check the training")


@compiled
def _told_apart(
    places: Integers,
    counts: Integers,
    sums: Doubles,
    exact: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
    values: NDArray[np.float32],
) -> tuple[Integers, Integers, Doubles, NDArray[np.bool_]]:
    """A `Bins` of these with the chosen ones replaced by their distinct values; `values`, ascending, are all of theirs."""
    most = len(places) + len(values)
    places_, counts_, sums_ = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.float64)
    exact_ = np.empty(most, np.bool_)
    n = at = 0
    for b in range(len(places)):
        end = at + counts[b]
        if not chosen[b]:
            places_[n], counts_[n], sums_[n], exact_[n] = places[b], counts[b], sums[b], exact[b]
            n += 1
            continue
        while at < end:
            first = at
            while at < end and values[at] == values[first]:
                at += 1
            places_[n], counts_[n], exact_[n] = places[b], at - first, True
            sums_[n] = np.float64(values[first]) * (at - first)
            n += 1
    return places_[:n].copy(), counts_[:n].copy(), sums_[:n].copy(), exact_[:n].copy()
