"""The counting pass on a CUDA device, by a Triton kernel. Imported late: Triton comes with torch's CUDA builds only."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from suite.quant.passes import BINS, COUNT, LOW, PART

_BLOCK = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _count(bits: Any, tallies: Any, n: Any, low: tl.constexpr, count: tl.constexpr, block: tl.constexpr) -> None:
    at = tl.program_id(0) * block + tl.arange(0, block)
    value = tl.load(bits + at, mask=at < n, other=0)
    place = (value >> low) & ((1 << (32 - low)) - 1)
    lower = (value & ((1 << low) - 1)).to(tl.int64)
    one = tl.full((block,), 1, tl.int64) << count
    tl.atomic_add(tallies + place, one + lower, mask=at < n, sem="relaxed")


def tally_on_device(values: Tensor) -> tuple[Tensor, Tensor]:
    """Counts and sums of lower bits, (BINS,) int64 by upper bits, of float32 values (N,): integers, so no order matters."""
    counts = torch.zeros(BINS, dtype=torch.int64, device=values.device)
    lows, tallies = torch.zeros_like(counts), torch.zeros_like(counts)
    for part in torch.split(values.view(torch.int32), PART):
        _count[(triton.cdiv(len(part), _BLOCK),)](part, tallies, len(part), LOW, COUNT, _BLOCK)
        counts += tallies >> COUNT
        lows += tallies & (2**COUNT - 1)
        tallies.zero_()
    return counts, lows
