"""Plain k-means without re-training: the floor of every table. With `tune`, its centres are trained afterwards."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from suite.methods.base import Net
from suite.methods.shared import SharedWeights
from suite.quant.init import codebook_size, first_centres


class KMeans(SharedWeights):
    """Each layer gets K = 2^(b-1)+1 free centres by Lloyd's algorithm; every weight takes its centre's value."""

    name: Literal["kmeans"] = "kmeans"
    title: ClassVar[str] = "k-means"
    bits: int = Field(ge=2, le=8, description="Bits per weight; K = 2^(bits-1)+1 centres, as in SLQ.")
    init: Literal["ladder", "kmeans++", "quantile", "linear", "exact"] = Field(
        "kmeans++", description="Start of the centres."
    )
    rounds: int = Field(300, ge=1, description="At most so many Lloyd rounds.")

    def cluster(self, net: Net) -> dict[str, Any]:
        everything = torch.ones(codebook_size(self.bits), dtype=torch.bool)
        for number, layer in enumerate(net.layers.values()):
            layer.start(first_centres(self.init, layer.values(), len(everything), net.generator(number)))
            layer.recluster(movable=everything, rounds=self.rounds)
            layer.fix(everything)
        return {"clusters": len(everything)}
