"""Which clusters are quantized next: the highest scores first, layer by layer or over all layers together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def per_layer(scores: Mapping[str, Tensor], fixed: Mapping[str, Tensor], done: int) -> dict[str, Tensor]:
    """In each layer, the open clusters to fix so that `done` are fixed in all.

    Args:
        scores: (K,) for each layer; a tie is won by the cluster that comes first in the codebook.
        fixed: (K,) bool for each layer, clusters already fixed.

    Returns:
        (K,) bool for each layer, disjoint from `fixed`.
    """
    return {name: _top(scores[name], fixed[name], done - int(fixed[name].sum())) for name in scores}


def over_network(scores: Mapping[str, Tensor], fixed: Mapping[str, Tensor], done: int) -> dict[str, Tensor]:
    """The same count of clusters as `per_layer` over the whole network, but the best ones wherever they are."""
    together, taken = torch.cat(list(scores.values())), torch.cat(list(fixed.values()))
    chosen = _top(together, taken, done * len(scores) - int(taken.sum()))
    return dict(zip(scores, torch.split(chosen, [len(s) for s in scores.values()]), strict=True))


def _top(scores: Tensor, fixed: Tensor, count: int) -> Tensor:
    """The `count` highest scores among those not fixed, as a bool mask."""
    order = scores.masked_fill(fixed, -torch.inf).argsort(descending=True, stable=True)
    open_first = order[~fixed[order]]
    chosen = torch.zeros_like(fixed)
    chosen[open_first[: max(count, 0)]] = True
    return chosen
