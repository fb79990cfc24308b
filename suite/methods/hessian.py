"""Hessian-weighted k-means (Choi, El-Khamy, Lee: "Towards the Limit of Network Quantization", ICLR 2017, arXiv 1612.01543).

Near a minimum, quantizing weights w to q raises the loss by about 1/2 sum h_ii (w - q)^2. So: take the second derivatives h on a
sample of the training images; cluster the weights of all layers together, centre = sum h w / sum h; share; train the centres.
The paper codes the indices by Huffman's code, and quantizes pruned networks, whose zeros take no part.

Deviations, all this suite's choice: how the centres start, and that the best of several starts counts; a floor under h,
below which weights were moved farther than the second order foresees; centres that end up without weights are dropped.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from suite.methods.base import Net
from suite.methods.pooled import Init, PooledWeights
from suite.quant.init import codebook_size
from suite.quant.weighted import clustering_error, weighted_kmeans


class HessianKMeans(PooledWeights):
    """K centres for all layers together, or for each; a weight's error counts by how much the loss bends along it."""

    name: Literal["hessian"] = "hessian"
    title: ClassVar[str] = "Hessian k-means"
    bits: int | None = Field(None, ge=2, le=8, description="Bits per weight; K = 2^(bits-1)+1 centres, as in SLQ.")
    clusters: int | None = Field(None, ge=2, le=256, description="K itself, in place of `bits`.")
    init: Init = Field(
        "best",
        description="Start of the centres; best: linear, quantile, and three of kmeans++, the least error counts.",
    )
    rounds: int = Field(300, ge=1, description="At most so many Lloyd rounds.")

    @model_validator(mode="after")
    def _one_size(self) -> HessianKMeans:
        if (self.bits is None) == (self.clusters is None):
            raise ValueError("give either bits or clusters")
        return self

    @property
    def label(self) -> str:
        size = f"{self.bits}b" if self.bits else f"K={self.clusters}"
        return f"{self.title} {size}" + ("" if self.curvature == "hessian" else f" {self.curvature}")

    def cluster(self, net: Net) -> dict[str, Any]:
        k = self.clusters or codebook_size(self.bits or 0)
        facts = []
        for number, pool in enumerate(self.pools(net)):
            centres = weighted_kmeans(pool.points, k, self.init, self.rounds, net.generator(number))
            error = clustering_error(pool.points, centres) / max(1, len(pool.points.values))
            facts.append(pool.assign_nearest(centres) | {"error": error})
        return {"clusters": max((f["clusters"] for f in facts), default=0), "codebooks": facts}
