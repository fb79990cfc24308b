"""Layers that share one codebook, and how much an error of each weight matters: the base of what Choi et al. 2017 do.

Near a minimum, quantizing weights w to q raises the loss by about 1/2 sum h_ii (w - q)^2, h the second derivatives of the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from suite.methods.base import Net, Through
from suite.methods.shared import CENTRES, SharedWeights
from suite.quant.curvature import adam_moments, hessian_diagonal
from suite.quant.entropy import entropy
from suite.quant.layer import Layer
from suite.quant.lloyd import Cells
from suite.quant.shared import shared_weights
from suite.quant.weighted import FLOOR, Weighted, importances

Curvature = Literal["hessian", "adam", "none"]
Init = Literal["best", "kmeans++", "quantile", "linear"]
_DRAWS = 2_000_000  # purpose of randomness


def live_curvature(net: Net, kind: Literal["hessian", "adam"], samples: int, draws: int | None) -> dict[str, Tensor]:
    """How much the loss bends along the live weights of each layer, (L,) float64 on the CPU, in the order of `Layer.values`."""
    weights = {name: layer.weight for name, layer in net.layers.items()}
    if kind == "adam":
        found = adam_moments(net.model, weights, net.sample(samples))
    else:
        images = (images for images, _ in net.sample(samples))
        found = hessian_diagonal(net.model, weights, images, draws, net.generator(_DRAWS))
    return {
        name: found[name].flatten() if layer.live is None else found[name][layer.live.cpu()]
        for name, layer in net.layers.items()
    }


@dataclass(frozen=True)
class Pool:
    """Layers that share one codebook."""

    layers: list[Layer]
    importance: list[Tensor]  # of each layer's live weights, (L,) float64 on the CPU
    points: Weighted  # all their live weights

    @staticmethod
    def of(layers: list[Layer], importance: list[Tensor] | None) -> Pool:
        """`importance`: of each layer's live weights, above 0; None: all alike."""
        values = torch.cat([layer.values().cpu().double() for layer in layers])
        if importance is None:
            ones = [torch.ones(len(layer.values()), dtype=torch.float64) for layer in layers]
            return Pool(layers, ones, Weighted.by(values))
        return Pool(layers, importance, Weighted.by(values, torch.cat(importance)))

    def assign(self, centres: Tensor, codes: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Any]:
        """Quantize all layers with the codes that `codes` gives for live weights and their importance. Returns facts about it."""
        counts = torch.zeros(len(centres), dtype=torch.int64)
        for layer, importance in zip(self.layers, self.importance, strict=True):
            chosen = codes(layer.values(), importance)
            layer.assign(centres, chosen)
            counts += torch.bincount(chosen.cpu().long(), minlength=len(centres))
        return {"clusters": len(centres), "entropy": entropy(counts) if len(self.points.values) else 0.0}

    def assign_nearest(self, centres: Tensor) -> dict[str, Any]:
        """As `assign`, each weight to its nearest centre."""
        cells = Cells.of(centres)
        return self.assign(centres, lambda values, importance: cells.codes(values))


class PooledWeights(SharedWeights):
    """Base of the methods that cluster the weights of all layers together, each by how much the loss bends along it."""

    curvature: Curvature = Field(
        "hessian",
        description="How much a weight's error matters. hessian: second derivative of the loss; adam: square root of the second "
        "moment of its gradient (the paper's substitute on AlexNet); none: all alike.",
    )
    samples: int = Field(1000, ge=1, description="Training images the curvature is measured on (paper: 1,000 suffice).")
    draws: int | None = Field(
        None,
        ge=1,
        description="With many classes: labels drawn per image to estimate the Hessian; null: exact, a pass per class.",
    )
    floor: float = Field(
        FLOOR, gt=0, le=1, description="Least importance of a weight, as a part of the mean; the paper states none."
    )
    scope: Literal["network", "layer"] = Field(
        "network", description="One codebook for all layers (paper), or one for each."
    )

    def pools(self, net: Net) -> list[Pool]:
        """What shares a codebook; the importances have mean 1 over the whole network."""
        layers = list(net.layers.values())
        importance: list[Tensor] | None = None
        if self.curvature != "none" and layers:
            raw = list(live_curvature(net, self.curvature, self.samples, self.draws).values())
            importance = list(torch.split(importances(torch.cat(raw), self.floor), [len(part) for part in raw]))
        if self.scope == "network":
            return [Pool.of(layers, importance)] if layers else []
        parts: list[list[Tensor] | None] = [None] * len(layers) if importance is None else [[h] for h in importance]
        return [Pool.of([layer], part) for layer, part in zip(layers, parts, strict=True)]

    @property
    def as_published(self) -> bool:
        return self.scope == "network" and self.tune != "none"

    @property
    def _tied(self) -> bool:
        return self.tune != "none" and self.scope == "network"

    # Where all layers share a codebook they go on sharing it while it is trained: the first layer holds the centres.

    def quantize(self, stage: int, net: Net) -> dict[str, Any]:
        layers = list(net.layers.values())
        if self._tied and stage == 1:
            centres = layers[0].learned[CENTRES].detach()
            for layer in layers[1:]:
                layer.learned[CENTRES] = centres.to(layer.weight.device, layer.weight.dtype)
        decided = super().quantize(stage, net)
        if self._tied and stage == 0:
            for layer in layers[1:]:
                layer.learned.clear()
        return decided

    def through(self, stage: int, layers: dict[str, Layer], progress: float) -> Through | None:
        if not self._tied:
            return super().through(stage, layers, progress)
        centres = next(iter(layers.values())).learned[CENTRES]
        if self.tune == "mean":
            codes = torch.cat([layer.codes for layer in layers.values()]).long()
            members = torch.bincount(codes, minlength=len(centres)).clamp(min=1)
            # The centres' values, with a gradient that is divided by the members in all layers.
            centres = centres.detach() + (centres - centres.detach()) / members
        return Through(
            {n: shared_weights(layer.coded(), centres.to(layer.weight), mean=False) for n, layer in layers.items()}
        )
