"""One layer being quantized step by step: its weights, its codebook, and which weights are frozen to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from suite.quant.coded import Coded
from suite.quant.dither import Dither
from suite.quant.lloyd import is_large, lloyd_of

CODES = torch.int16
MOST_CODES = torch.iinfo(CODES).max  # entries of a codebook


@dataclass
class Layer:
    """State of one quantized layer. `weight` is the network's own parameter; everything else belongs to the quantizer."""

    weight: Tensor  # any shape and float type
    live: Tensor | None  # bool, like weight: those that are not pruned; None: all
    frozen: Tensor  # bool, like weight: these may not move in training; pruned weights never may
    codes: Tensor  # (blocks,) int16, on the weight's device: codebook entry of each block of live weights
    codebook: Tensor  # (K,) or (K, d) float64 on the CPU, representable in the weight's type; empty before the first clustering
    fixed: Tensor  # (K,) bool on the CPU: clusters whose weights are frozen
    scale: Tensor | None = None  # (F,) float64 on the CPU: factor of each filter (first dimension)
    dither: Dither | None = None  # taken off every weight
    learned: dict[str, Tensor] = field(
        default_factory=dict
    )  # what re-training moves beside the weights: scales, centres

    @staticmethod
    def untouched(weight: Tensor, live: Tensor | None = None) -> Layer:
        """A layer before any quantization; `live`, bool like weight, says which of its weights are not pruned."""
        frozen = torch.zeros_like(weight, dtype=torch.bool, requires_grad=False) if live is None else ~live
        count = weight.numel() if live is None else int(live.sum())
        codes = torch.zeros(count, dtype=CODES, device=weight.device)
        return Layer(weight, live, frozen, codes, torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.bool))

    def values(self) -> Tensor:
        """The live weights, (L,), detached, in C order."""
        weight = self.weight.detach()
        return weight.flatten() if self.live is None else weight[self.live]

    def start(self, centres: Tensor) -> None:
        """Give the layer its first codebook, (K,) or (K, d)."""
        self.codebook = self._representable(centres)
        self.fixed = torch.zeros(len(centres), dtype=torch.bool)

    def recluster(self, movable: Tensor, rounds: int) -> None:
        """Lloyd over all live weights, frozen ones included; only `movable` (K,) centres move. Frozen weights keep their codes."""
        values = self.values()
        centres, cells = lloyd_of(values, self.codebook, movable, rounds)
        self.codebook = self._representable(centres)
        codes, kept = cells.codes(values), self._of_live(self.frozen)
        self.codes = torch.where(kept, self.codes, codes) if bool(kept.any()) else codes

    def recluster_all(self, rounds: int) -> None:
        """Lloyd over all live weights and all centres; frozen weights may change their cluster, too."""
        self.frozen = torch.zeros_like(self.frozen) if self.live is None else ~self.live
        self.recluster(torch.ones_like(self.fixed), rounds)

    def fix(self, clusters: Tensor) -> None:
        """Weight sharing: every weight of these clusters, (K,) bool, takes its centre's value and is frozen."""
        self.fixed = self.fixed | clusters
        if self._is_plain() and is_large(self.weight):
            from suite.quant.passes import settle

            self.frozen = settle(self.weight.detach(), self.codes, self.fixed, self.codebook)
            return
        self.frozen = self.members(self.fixed)
        if self.live is not None:
            self.frozen |= ~self.live
        self.snap(self.fixed)  # also what has drifted next to a centre that was fixed earlier

    def _is_plain(self) -> bool:
        """Whether codebook entries are weights, on the CPU in C order: no pruning, blocks, scales or dither."""
        parts = (self.live, self.scale, self.dither)
        plain = all(part is None for part in parts) and self.codebook.dim() == 1
        return plain and self.weight.device.type == "cpu" and self.weight.is_contiguous()

    def recode(self) -> None:
        """Give every weight that is not frozen the code of its nearest centre; no centre moves."""
        self.recluster(torch.zeros_like(self.fixed), rounds=1)

    def freeze(self, weights: Tensor) -> None:
        """These weights, bool like weight, take their centre's value and are frozen; others of their clusters stay free."""
        self.frozen = self.frozen | weights
        self.weight.data.copy_(torch.where(weights, self.coded().decoded(), self.weight.data))

    def assign(self, codebook: Tensor, codes: Tensor) -> None:
        """Quantize all of the layer at once: a codebook, (K,) or (K, d), and a code for each block."""
        self.start(codebook)
        self.codes = codes.to(self.weight.device, CODES)
        self.fix(torch.ones_like(self.fixed))

    def snap(self, clusters: Tensor) -> None:
        """Set the weights of these clusters, (K,) bool, to their centres."""
        self.weight.data.copy_(self.snapped(clusters))

    def snapped(self, clusters: Tensor) -> Tensor:
        """The weights as `snap` sets them."""
        return torch.where(self.members(clusters), self.coded().decoded(), self.weight.data)

    def members(self, clusters: Tensor) -> Tensor:
        """Bool like weight: which weights belong to these clusters, (K,) bool. Pruned ones belong to none."""
        chosen = clusters.to(self.codes.device)[self.codes.long()]
        if self.codebook.dim() > 1:
            chosen = chosen.repeat_interleave(self.codebook.shape[1])
        if self.live is None:
            return chosen[: self.weight.numel()].view(self.weight.shape)
        return torch.zeros_like(self.live).masked_scatter_(self.live, chosen[: int(self.live.sum())])

    def coded(self) -> Coded:
        """What has to be stored of the layer once all its weights are frozen."""
        kept = (self.codes, self.codebook, self.live, self.scale, self.dither)
        return Coded(self.weight.shape, self.weight.dtype, *kept)

    def _of_live(self, mask: Tensor) -> Tensor:
        """Of a mask like weight, the part of the live weights, (L,)."""
        return mask.flatten() if self.live is None else mask[self.live]

    def _representable(self, centres: Tensor) -> Tensor:
        """Round the centres to the weight's type, so that a snapped weight equals its codebook entry exactly."""
        return centres.to(self.weight.dtype).double()


def frozen_fraction(layers: dict[str, Layer]) -> float:
    """Share of all weights that is frozen, 0 to 1."""
    total = sum(layer.weight.numel() for layer in layers.values())
    return sum(int(layer.frozen.sum()) for layer in layers.values()) / total if total else 0.0
