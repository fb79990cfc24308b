"""Deep Compression (Han, Mao, Dally, ICLR 2016, arXiv 1510.00149): prune, share weights, code them.

Pruning with re-training is the trial's `prune` (section 2; the published fractions stand in the sweeps). Here the weights that are
left are shared: k-means in each layer, 2^b centres, then the centres are trained by the summed gradients of their weights
(section 3). Huffman codes of values and of index differences (section 4) are what the packed file is measured by.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from suite.methods.base import Net
from suite.methods.shared import SharedWeights
from suite.quant.init import SPREADS
from suite.quant.layer import Layer
from suite.quant.lloyd import Sorted


class DeepCompression(SharedWeights):
    """k-means weight sharing with trained centres, convolutions and fully connected layers at widths of their own."""

    name: Literal["deep-compression"] = "deep-compression"
    title: ClassVar[str] = "Deep Compression"
    conv_bits: int = Field(8, ge=1, le=8, description="2^bits centres in each convolution (published: 8).")
    fc_bits: int = Field(
        5, ge=1, le=8, description="2^bits centres in each linear layer (published: 5; LeNet-300-100: 6)."
    )
    init: Literal["linear", "density", "random"] = Field(
        "linear", description="Start of the centres (section 3.2): equally spaced, equally populated, or drawn."
    )
    rounds: int = Field(100, ge=1, description="At most so many Lloyd rounds.")
    tune: Literal["none", "sum", "mean"] = Field("sum", description="Train the centres by summed or mean gradients.")

    @property
    def label(self) -> str:
        return f"Deep Compression {self.conv_bits}/{self.fc_bits}b {self.init}"

    @property
    def as_published(self) -> bool:
        return self.tune != "none"

    def cluster(self, net: Net) -> dict[str, Any]:
        for number, layer in enumerate(net.layers.values()):
            k = 2 ** self._bits(layer)
            layer.start(SPREADS[self.init](Sorted.of(layer.values()), k, net.generator(number)))
            layer.recluster(torch.ones(k, dtype=torch.bool), self.rounds)
            layer.fix(torch.ones(k, dtype=torch.bool))
        return {"clusters": 2 ** max(self.conv_bits, self.fc_bits)}

    def _bits(self, layer: Layer) -> int:
        return self.fc_bits if layer.weight.dim() == 2 else self.conv_bits
