"""TWN, ternary weight networks (Li, Zhang, Liu, arXiv 1605.04711).

Full-precision weights are kept and trained; every forward pass sees -a, 0 or a in their place. The threshold is a multiple of
the mean magnitude, the scale a is the mean magnitude of the weights above it. The gradient at the ternary weights moves the
full-precision ones as it is (straight through).

Versions: threshold factor 0.7 with one scale per layer in the first two versions, 0.75 and a scale per filter in the third.
What is known of them is second hand; the mathematics is checked by tests, the published training recipes are not used here.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from suite.methods.base import FreezeMethod, Net, Through
from suite.quant.layer import Layer
from suite.quant.ternary import signs, twn_scale, twn_threshold


class TWN(FreezeMethod):
    """Ternary weight networks: -a, 0, a with a scale per layer or per filter."""

    name: Literal["twn"] = "twn"
    title: ClassVar[str] = "TWN"
    bits: Literal[2] = 2
    threshold: float = Field(
        0.7, gt=0, description="Times the mean magnitude: 0.7 (versions 1, 2) or 0.75 (version 3)."
    )
    scope: Literal["layer", "filter"] = Field("layer", description="What has a threshold and a scale of its own.")

    def stages(self, layers: int) -> int:
        return 2

    def quantize(self, stage: int, net: Net) -> dict[str, Any]:
        if stage == 1:
            for layer in net.layers.values():
                self._harden(layer)
        return {"clusters": 3}

    def through(self, stage: int, layers: dict[str, Layer], progress: float) -> Through:
        return Through({name: self._seen(layer) for name, layer in layers.items()})

    def _seen(self, layer: Layer) -> Tensor:
        weight = layer.weight
        codes, scale = self._ternary(layer)
        return weight + (codes * scale - weight).detach()

    def _harden(self, layer: Layer) -> None:
        codes, scale = self._ternary(layer)
        flat = codes.flatten() if layer.live is None else codes[layer.live]
        if self.scope == "filter":
            layer.scale = scale.flatten().double().cpu()
            layer.assign(torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64), flat % 3)
        else:
            a = float(scale)
            layer.assign(torch.tensor([0.0, a, -a], dtype=torch.float64), flat % 3)  # -1 is entry 2

    def _ternary(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """Codes -1, 0, 1 like the weight, and the scales: one, or one for each filter, as they multiply the codes."""
        weight = layer.weight.detach()
        if self.scope == "filter":
            rows = weight.flatten(1)
            live = None if layer.live is None else layer.live.flatten(1)
        else:
            rows = weight.flatten()[None]
            live = None if layer.live is None else layer.live.flatten()[None]
        codes = signs(rows, _threshold(rows, live, self.threshold))
        scale = twn_scale(rows, codes)
        return codes.view_as(weight), scale.view(-1, *[1] * (weight.dim() - 1))


def _threshold(rows: Tensor, live: Tensor | None, factor: float) -> Tensor:
    """The threshold of each row; pruned weights, which are zero, do not count in the mean."""
    threshold = twn_threshold(rows, factor)
    return threshold if live is None else threshold / live.to(rows).mean(-1, keepdim=True).clamp(min=1e-12)
