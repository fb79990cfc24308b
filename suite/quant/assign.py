"""The code of every weight, in one pass: by its upper bits, and by comparison where a bound falls within them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from suite.quant.bins import blocks
from suite.quant.passes import Codes, Doubles, Floats, give_codes


def write_codes(weights: Tensor, upper: Doubles, names: Codes, out: Tensor) -> None:
    """Write to `out` the code of each weight's cell.

    Args:
        weights: any shape; float32, bfloat16 or float16, finite; on a CPU or a CUDA device.
        upper: (C - 1,) ascending, the largest value in each cell but the last.
        names: (C,) the cells' codes.
        out: contiguous integers, shape and device of the weights.
    """
    bounds, flat = floor(upper), out.view(-1)
    if weights.device.type != "cpu":
        cells = torch.bucketize(
            weights.detach().flatten().float(), torch.from_numpy(bounds).to(weights.device), out_int32=True
        )
        torch.index_select(torch.from_numpy(names).to(flat), 0, cells, out=flat)
        return
    first, codes = 0, flat.numpy()
    ends = np.append(bounds, np.float32(np.inf))
    for block in blocks(weights):
        give_codes(block, ends, names.astype(codes.dtype), codes[first : first + len(block)])
        first += len(block)


def floor(values: Doubles) -> Floats:
    """The largest float32 that is not above each value: no float32 lies between."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
    return np.where(near.astype(np.float64) > values, np.nextafter(near, np.float32(-np.inf)), near)
