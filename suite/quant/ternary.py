"""Ternary weights: thresholds, scales, and how gradients pass through them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def twn_threshold(weights: Tensor, factor: float) -> Tensor:
    """`factor` times the mean magnitude of the last dimension, shape (..., 1) (TWN: factor 0.7; its third version: 0.75)."""
    return factor * weights.abs().mean(-1, keepdim=True)


def signs(weights: Tensor, threshold: Tensor) -> Tensor:
    """-1, 0 or 1 for each weight: zero where its magnitude does not exceed the threshold."""
    return torch.where(weights.abs() > threshold, weights.sign(), torch.zeros_like(weights))


def twn_scale(weights: Tensor, codes: Tensor) -> Tensor:
    """Mean magnitude of the weights whose code is not zero, over the last dimension, (..., 1): TWN's scale, that of least error."""
    chosen = codes.abs()
    return (weights.abs() * chosen).sum(-1, keepdim=True) / chosen.sum(-1, keepdim=True).clamp(min=1)


class TrainedScales(torch.autograd.Function):
    """TTQ's ternary weights: `positive` above the threshold, -`negative` below minus the threshold, else zero.

    Gradients (TTQ paper): a scale's is the sum over its weights; a latent weight's is scaled by its own scale, and
    unchanged where it is zero.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, positive: Tensor, negative: Tensor, threshold: Tensor) -> Tensor:
        codes = signs(weights, threshold)
        ctx.save_for_backward(codes, positive, negative)
        return torch.where(codes > 0, positive, torch.where(codes < 0, -negative, torch.zeros_like(weights)))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        codes, positive, negative = ctx.saved_tensors
        is_positive, is_negative = codes > 0, codes < 0
        factor = torch.where(is_positive, positive, torch.where(is_negative, negative, torch.ones_like(codes)))
        nothing = torch.zeros_like(gradient)
        of_positive = torch.where(is_positive, gradient, nothing).sum()
        of_negative = -torch.where(is_negative, gradient, nothing).sum()
        return gradient * factor, of_positive, of_negative, None
