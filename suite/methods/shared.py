"""Shared weights whose centres are trained: what Deep Compression and its successors do after clustering.

Source: Han et al. 2016 (Deep Compression), section 3.3: the gradient of a centre is the sum over the weights that share it.
A patent that appears related to Choi et al. 2018 (US 12 190 231) takes the mean instead.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from suite.methods.base import FreezeMethod, Net, Through
from suite.quant.layer import Layer
from suite.quant.shared import shared_weights

CENTRES = "centres"


class SharedWeights(FreezeMethod):
    """Base of the methods that cluster all weights once. A subclass says how in `cluster`."""

    tune: Literal["none", "sum", "mean"] = Field(
        "none",
        description="Train the centres afterwards, by the sum or by the mean of the gradients of the weights that share one; "
        "with SGD sums need a small `tune_rate`, with Adam both are alike.",
    )
    tune_rate: float = Field(1.0, gt=0, description="Learning rate of the centres, as a multiple of the re-training's.")

    def cluster(self, net: Net) -> dict[str, Any]:
        """Quantize every layer (`Layer.assign`); returns what was decided, for the record, with `clusters` among it."""
        raise NotImplementedError

    def stages(self, layers: int) -> int:
        return 1 if self.tune == "none" else 2

    def quantize(self, stage: int, net: Net) -> dict[str, Any]:
        if stage == 0:
            decided = self.cluster(net)
            if self.tune != "none":
                for layer in net.layers.values():
                    centres = layer.codebook.to(layer.weight.device, layer.weight.dtype)
                    layer.learned[CENTRES] = centres.clone().requires_grad_()
            return decided
        for layer in net.layers.values():
            layer.assign(layer.learned.pop(CENTRES).detach().cpu().double(), layer.codes)
        return {"clusters": max(len(layer.codebook) for layer in net.layers.values())}

    def through(self, stage: int, layers: dict[str, Layer], progress: float) -> Through | None:
        if self.tune == "none":
            return None
        return Through({name: self._seen(layer) for name, layer in layers.items()})

    def learned_rate(self, stage: int) -> float:
        return self.tune_rate

    def _seen(self, layer: Layer) -> Tensor:
        return shared_weights(layer.coded(), layer.learned[CENTRES], mean=self.tune == "mean")
