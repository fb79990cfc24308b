"""Magnitude pruning: which weights of a network stay."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def keep_largest(weights: Mapping[str, Tensor], kept: Mapping[str, float]) -> dict[str, Tensor]:
    """In each layer, the fraction `kept` (0, 1] of the weights that are largest in magnitude, at least one, as bool masks.

    Source: Deep Compression, section 2, whose fractions are by layer.
    """
    return {name: _largest(weight.detach().abs(), kept[name]) for name, weight in weights.items()}


def keep_largest_of_all(weights: Mapping[str, Tensor], kept: float) -> dict[str, Tensor]:
    """The fraction `kept` of all weights together that is largest in magnitude, as bool masks; every layer keeps at least one."""
    together = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    chosen = torch.split(_largest(together, kept), [weight.numel() for weight in weights.values()])
    masks = {}
    for (name, weight), mask in zip(weights.items(), chosen, strict=True):
        masks[name] = mask.view(weight.shape) | _largest(weight.detach().abs(), 0.0)
    return masks


def kept_after(final: float, round_number: int, rounds: int) -> float:
    """Fraction kept after round 1, 2, ... `rounds`: a cubic schedule, after Zhu and Gupta 2017."""
    return final + (1 - final) * (1 - round_number / rounds) ** 3


def _largest(magnitudes: Tensor, kept: float) -> Tensor:
    """The largest ones; ties are won by those that come first, so that the count is exact."""
    count = max(1, round(kept * magnitudes.numel()))
    order = magnitudes.flatten().argsort(descending=True, stable=True)
    mask = torch.zeros(magnitudes.numel(), dtype=torch.bool, device=magnitudes.device)
    mask[order[:count]] = True
    return mask.view(magnitudes.shape)
