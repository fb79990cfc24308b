"""Tensors that hold few distinct values, whoever made them, as codebook and codes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.pack.codebook import FLOATS, MOST
from suite.pack.raw import DTYPES
from suite.quant.coded import Coded
from suite.quant.entropy import entropy

PIECE = 2**16  # numbers at a time

Patterns = NDArray[np.signedinteger]  # bits of floating point numbers, as integers of their width


def coded_of(tensor: Tensor) -> Coded | None:
    """The tensor (any shape) as codebook and codes, to the bit; None if that does not pay, or for one that is not of weights.

    It pays if the codes at their entropy and the codebook take fewer bits than the numbers themselves.
    """
    if tensor.dim() == 0 or tensor.numel() == 0 or tensor.dtype not in DTYPES[:FLOATS]:
        return None
    patterns = tensor.detach().cpu().reshape(-1).contiguous().view(_INTEGERS[tensor.dtype.itemsize])
    numbered = _numbered(patterns.numpy())
    if numbered is None:
        return None
    found, codes, counts = numbered
    width = 8 * tensor.dtype.itemsize
    if len(found) * width + len(codes) * entropy(torch.from_numpy(counts)) >= len(codes) * width:
        return None
    bits = torch.from_numpy(found)
    values = bits.view(tensor.dtype).double()
    if not torch.equal(values.to(tensor.dtype).view(bits.dtype), bits):  # not every NaN comes through
        return None
    return Coded(tensor.shape, tensor.dtype, torch.from_numpy(codes), values)


def _numbered(patterns: Patterns) -> tuple[Patterns, NDArray[np.int16], NDArray[np.int64]] | None:
    """The distinct patterns in rising order, the place of each one's among them, their counts; None if there are too many."""
    from suite.pack.lookup import SLOTS, look_up, number_each

    codes, slots = np.empty(len(patterns), dtype=np.int16), np.full(SLOTS, -1, dtype=np.int32)
    found, counts, have = np.empty(MOST, dtype=np.int64), np.zeros(MOST, dtype=np.int64), 0
    for i in range(0, len(patterns), PIECE):
        piece = patterns[i : i + PIECE].astype(np.int64)  # so that one compiled function serves all types
        have = number_each(piece, codes[i : i + PIECE], slots, found, counts, have)
        if have < 0:
            return None
    order = np.argsort(found[:have])
    places = np.empty(have, dtype=np.int16)
    places[order] = np.arange(have, dtype=np.int16)
    look_up(places, codes, codes)
    return found[order].astype(patterns.dtype), codes, counts[order]


_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
