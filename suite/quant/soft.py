"""Soft quantization: every vector is a mixture of all centres, weighted by a softmax over its distances to them.

Source: Agustsson et al. 2017 (Soft-to-Hard Vector Quantization), by its abstract, summaries and somebody else's implementation:
softmax over negative squared distances with a hardness sigma; histograms of the assignments; a cross-entropy between them, which
bounds the entropy of the codes from above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from suite.quant.init import spread
from suite.quant.lloyd import Sorted, lloyd
from suite.quant.nearest import nearest

_ROWS = 1 << 14  # vectors at a time: the (N, K) matrix is never held whole


@dataclass(frozen=True)
class Soft:
    """N vectors seen through K centres; differentiable in both."""

    vectors: Tensor  # (N, d)
    histogram: Tensor  # (K,) mean of the soft assignments, sums to 1


def soften(vectors: Tensor, centres: Tensor, sigma: float) -> Soft:
    """Soft quantization of (N, d) by (K, d), one float type, with the hardness `sigma`, in 1 / squared distance.

    sigma -> infinity: every vector becomes its nearest centre. sigma = 0: all become the mean of the centres.
    """
    with torch.autocast(vectors.device.type, enabled=False):  # differences of squares need their digits
        return Soft(*_Soften.apply(vectors, centres, sigma))  # type: ignore[no-untyped-call]


def entropy_bound(counts: Tensor, histogram: Tensor) -> Tensor:
    """Cross-entropy of the hard histogram with the soft one, nats per vector: at least the entropy of the hard assignments.

    Args:
        counts: (K,) how many vectors each centre is nearest to.
        histogram: (K,) of the soft assignments; the result is differentiable in it, and least, the hard entropy, where the two
            agree.
    """
    hard = counts.to(histogram.dtype) / counts.sum()
    log = histogram.clamp(min=torch.finfo(histogram.dtype).tiny).log()
    return -(hard * log).sum()


def kmeans(vectors: Tensor, k: int, generator: torch.Generator, rounds: int) -> Tensor:
    """Centres, (k, d), of (N, d) float64 on the CPU: k-means++ from zero, then Lloyd's algorithm.

    An empty cluster stays where it is. With at most k different vectors each is a centre.
    """
    centres = spread(vectors, k, generator)
    if vectors.shape[1] == 1:
        everything = torch.ones(k, dtype=torch.bool)
        return lloyd(Sorted.of(vectors), centres.flatten(), everything, rounds)[0].unsqueeze(1)
    for _ in range(rounds):
        codes = nearest(vectors, centres)
        counts = torch.bincount(codes, minlength=k).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add_(0, codes, vectors)
        moved = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def _parts(vectors: Tensor) -> Sequence[Tensor]:
    """Views of the rows, a few thousand each."""
    return torch.split(vectors, _ROWS)


def _closeness(vectors: Tensor, centres: Tensor) -> Tensor:
    """|w|^2 - |w - c|^2, (K, N): what a softmax or a maximum over the centres needs of the distances."""
    return 2 * centres @ vectors.T - centres.square().sum(1, keepdim=True)


class _Soften(torch.autograd.Function):
    """Forward and backward a few thousand vectors at a time; the backward pass computes the assignments again.

    With a = softmax(sigma z), z_ij = |w_i|^2 - |w_i - c_j|^2, S_i = sum_j a_ij c_j, q_j = mean_i a_ij and the loss's gradients
    G_i, Q_j for S_i, q_j: the gradient for a_ij is t_ij = G_i . c_j + Q_j / N, that for sigma z_ij is
    l_ij = a_ij (t_ij - sum_k a_ik t_ik), which sums to zero over j; so dw_i = 2 sigma sum_j l_ij c_j and
    dc_j = sum_i a_ij G_i + 2 sigma sum_i l_ij (w_i - c_j).
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, centres: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(vectors, centres)
        ctx.sigma = sigma
        soft, histogram = torch.empty_like(vectors), torch.zeros_like(centres[:, 0])
        for rows, out in zip(_parts(vectors), _parts(soft), strict=True):
            a = torch.softmax(_closeness(rows, centres).mul_(sigma), dim=0)
            out.copy_(a.T @ centres)
            histogram += a.sum(1)
        return soft, histogram / max(len(vectors), 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        vectors, centres = ctx.saved_tensors
        for_soft, for_histogram = gradients[0], gradients[1].unsqueeze(1) / max(len(vectors), 1)
        for_vectors, for_centres = torch.empty_like(vectors), torch.zeros_like(centres)
        for rows, g, out in zip(_parts(vectors), _parts(for_soft), _parts(for_vectors), strict=True):
            a = torch.softmax(_closeness(rows, centres).mul_(ctx.sigma), dim=0)
            weighted = a * torch.addmm(for_histogram, centres, g.T)
            inner = weighted.addcmul_(a, weighted.sum(0, keepdim=True), value=-1).mul_(2 * ctx.sigma)
            out.copy_(inner.T @ centres)
            for_centres += a @ g + inner @ rows - inner.sum(1, keepdim=True) * centres
        return for_vectors, for_centres, None
