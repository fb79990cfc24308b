"""Weights as a differentiable function of the centres they share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from suite.quant.coded import Coded


class _Gather(torch.autograd.Function):
    """centres[codes], whose backward pass sums (or averages) over the members of each cluster with one `index_add`."""

    @staticmethod
    def forward(ctx: Any, centres: Tensor, codes: Tensor, mean: bool) -> Tensor:
        ctx.save_for_backward(codes)
        ctx.shape, ctx.mean = centres.shape, mean
        return centres[codes]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (codes,) = ctx.saved_tensors
        summed = gradient.new_zeros(ctx.shape).index_add_(0, codes, gradient)
        if ctx.mean:
            members = torch.bincount(codes, minlength=ctx.shape[0]).clamp_(min=1)
            summed /= members.view(-1, *[1] * (summed.dim() - 1))
        return summed, None, None


def shared_weights(coded: Coded, centres: Tensor, *, mean: bool) -> Tensor:
    """The weights that `coded` stands for if its codebook were `centres`, (K,) or (K, d), differentiable in them.

    A pinned zero, an entry that is exactly zero, stays: its gradient is dropped; under dither it is an entry as any. `mean`
    divides each centre's gradient by its number of members.
    """
    scalar = centres.dim() == 1 and coded.dither is None
    pinned = (coded.codebook == 0).to(centres.device) if scalar else None
    if pinned is not None:
        centres = torch.where(pinned, torch.zeros_like(centres), centres)
    return coded.with_values(_Gather.apply(centres, coded.codes.long(), mean).flatten())  # type: ignore[no-untyped-call]
