"""One layer being quantized step by step: its weights, its codebook, and which weights are frozen to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from suite.quant.lloyd import Sorted, lloyd


@dataclass
class Layer:
    """State of one quantized layer. `weight` is the network's own parameter; everything else belongs to the quantizer."""

    weight: Tensor  # any shape and float type
    frozen: Tensor  # bool, like weight: these may not move in training
    codes: Tensor  # uint8, like weight: codebook index of the last clustering
    codebook: Tensor  # (K,) float64 on the CPU, each value representable in the weight's type; empty before the first clustering
    fixed: Tensor  # (K,) bool on the CPU: clusters whose weights are frozen

    @staticmethod
    def untouched(weight: Tensor) -> Layer:
        """A layer before any quantization."""
        none = torch.zeros_like(weight, dtype=torch.bool, requires_grad=False)
        return Layer(
            weight, none, none.to(torch.uint8), torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.bool)
        )

    def start(self, centres: Tensor) -> None:
        """Give the layer its first codebook, (K,)."""
        self.codebook = self._representable(centres)
        self.fixed = torch.zeros(len(centres), dtype=torch.bool)

    def recluster(self, movable: Tensor, rounds: int) -> None:
        """Lloyd over all weights, frozen ones included; only `movable` (K,) centres move. Frozen weights keep their codes."""
        centres, cells = lloyd(Sorted.of(self.weight), self.codebook, movable, rounds)
        self.codebook = self._representable(centres)
        self.codes = torch.where(self.frozen, self.codes, cells.codes(self.weight))

    def recluster_all(self, rounds: int) -> None:
        """Lloyd over all weights and all centres; frozen weights may change their cluster, too."""
        self.frozen = torch.zeros_like(self.frozen)
        self.recluster(torch.ones_like(self.fixed), rounds)

    def fix(self, clusters: Tensor) -> None:
        """Weight sharing: every weight of these clusters, (K,) bool, takes its centre's value and is frozen."""
        self.fixed = self.fixed | clusters
        self.frozen = self.members(self.fixed)
        self.snap(self.fixed)  # also what has drifted next to a centre that was fixed earlier

    def snap(self, clusters: Tensor) -> None:
        """Set the weights of these clusters, (K,) bool, to their centres."""
        values = self.codebook.to(self.weight.device, self.weight.dtype)[self.codes.long()]
        self.weight.data.copy_(torch.where(self.members(clusters), values, self.weight.data))

    def members(self, clusters: Tensor) -> Tensor:
        """Bool like weight: which weights belong to these clusters, (K,) bool."""
        return clusters.to(self.codes.device)[self.codes.long()]

    def _representable(self, centres: Tensor) -> Tensor:
        """Round the centres to the weight's type, so that a snapped weight equals its codebook entry exactly."""
        return centres.to(self.weight.dtype).double()


def frozen_fraction(layers: dict[str, Layer]) -> float:
    """Share of all weights that is frozen, 0 to 1."""
    total = sum(layer.weight.numel() for layer in layers.values())
    return sum(int(layer.frozen.sum()) for layer in layers.values()) / total if total else 0.0
