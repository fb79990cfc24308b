"""TTQ, trained ternary quantization (Zhu, Han, Mao, Dally, ICLR 2017, arXiv 1612.01064).

As TWN, but the two non-zero values of a layer are free of each other and trained: a positive scale and a negative one. The
threshold is a fraction of the layer's largest magnitude (0.05 in the released CIFAR-10 and AlexNet code), or is set so that a
given fraction of the weights is zero. The first and the last layer stay full precision.

Deviations: the scales start at the mean magnitude of the weights they stand for; the released code starts at 1, which
needs batch normalisation behind every layer. For the same reason their learning rate is a tenth of the weights': a scale's
gradient is a sum over its weights.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from suite.methods.base import FreezeMethod, Net, Through
from suite.quant.layer import Layer
from suite.quant.ternary import TrainedScales, signs

POSITIVE, NEGATIVE = "positive", "negative"


class TTQ(FreezeMethod):
    """Trained ternary quantization: -n, 0, p with both scales trained."""

    name: Literal["ttq"] = "ttq"
    title: ClassVar[str] = "TTQ"
    bits: Literal[2] = 2
    threshold: float = Field(0.05, gt=0, lt=1, description="Times the largest magnitude of the layer.")
    sparsity: float | None = Field(
        None, gt=0, lt=1, description="Fraction of a layer's weights that is zero, in place of the threshold."
    )
    scale_rate: float = Field(
        0.1, gt=0, description="Learning rate of the scales, as a multiple of the re-training's (released code: 1)."
    )
    quantize_first: bool = Field(False, description="Quantize the network's first layer.")
    quantize_last: bool = Field(False, description="Quantize the last layer.")

    @property
    def as_published(self) -> bool:
        return not (self.quantize_first or self.quantize_last)

    def stages(self, layers: int) -> int:
        if layers == 0:
            raise ValueError("no layer is left to quantize: set quantize_first or quantize_last for so small a network")
        return 2

    def quantize(self, stage: int, net: Net) -> dict[str, Any]:
        for layer in net.layers.values():
            if stage == 0:
                self._start(layer)
            else:
                self._harden(layer)
        return {"clusters": 3}

    def through(self, stage: int, layers: dict[str, Layer], progress: float) -> Through:
        return Through({name: self._seen(layer) for name, layer in layers.items()})

    def learned_rate(self, stage: int) -> float:
        return self.scale_rate

    def _start(self, layer: Layer) -> None:
        weight = layer.weight.detach()
        codes = signs(weight, self._threshold(layer))
        for name, sign in ((POSITIVE, 1), (NEGATIVE, -1)):
            chosen = (codes == sign).to(weight)
            mean = (weight.abs() * chosen).sum() / chosen.sum().clamp(min=1)
            layer.learned[name] = mean.clone().requires_grad_()

    def _seen(self, layer: Layer) -> Tensor:
        scales = (layer.learned[POSITIVE], layer.learned[NEGATIVE])
        seen: Tensor = TrainedScales.apply(layer.weight, *scales, self._threshold(layer))  # type: ignore[no-untyped-call]
        return seen

    def _harden(self, layer: Layer) -> None:
        codes = signs(layer.weight.detach(), self._threshold(layer))
        flat = codes.flatten() if layer.live is None else codes[layer.live]
        positive, negative = (float(layer.learned.pop(name).detach()) for name in (POSITIVE, NEGATIVE))
        layer.assign(torch.tensor([0.0, positive, -negative], dtype=torch.float64), flat % 3)  # -1 is entry 2

    def _threshold(self, layer: Layer) -> Tensor:
        magnitudes = layer.values().abs()
        if magnitudes.numel() == 0:
            return torch.zeros((), device=magnitudes.device)
        if self.sparsity is None:
            return self.threshold * magnitudes.max()
        return magnitudes.sort().values[int(self.sparsity * (magnitudes.numel() - 1))]
