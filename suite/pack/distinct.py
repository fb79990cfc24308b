"""Tensors that hold few distinct values, whoever made them, as codebook and codes."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.pack.codebook import FLOATS, MOST
from suite.pack.raw import DTYPES
from suite.quant.coded import Coded
from suite.quant.entropy import entropy
from suite.quant.layer import CODES

_PROBE = 2**18  # numbers that are looked at first


def coded_of(tensor: Tensor) -> Coded | None:
    """The tensor (any shape) as codebook and codes, to the bit; None if that does not pay, or for one that is not of weights.

    It pays if the codes at their entropy and the codebook take fewer bits than the numbers themselves.
    """
    if tensor.dim() == 0 or tensor.numel() == 0 or tensor.dtype not in DTYPES[:FLOATS]:
        return None
    patterns = tensor.detach().cpu().reshape(-1).contiguous().view(_INTEGERS[tensor.dtype.itemsize])
    if len(torch.unique(patterns[:_PROBE])) > MOST:
        return None
    found, codes, counts = torch.unique(patterns, return_inverse=True, return_counts=True)
    width = 8 * tensor.dtype.itemsize
    if len(found) > MOST or len(found) * width + len(codes) * entropy(counts) >= len(codes) * width:
        return None
    values = found.view(tensor.dtype).double()
    if not torch.equal(values.to(tensor.dtype).view(found.dtype), found):  # not every NaN comes through
        return None
    return Coded(tensor.shape, tensor.dtype, codes.to(CODES), values)


_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
