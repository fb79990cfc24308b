"""Entropy-constrained scalar quantization of weights (Choi, El-Khamy, Lee: "Towards the Limit of Network Quantization", ICLR 2017).

With a lossless code behind the quantizer the bits of a weight are those of its cluster's share, not log2 K. uniform: thresholds a
step apart, each cluster's centre at its (Hessian-weighted) mean; the paper's best with Huffman's code. iterative: Lloyd's
rounds with the bits in the cost, after Chou et al. 1989. Then the centres are trained.

Deviations, all this suite's choice: where the thresholds lie (zero in the middle of a cluster or between two, whichever is
better); the start of the iteration; a target rate is that of an ideal code, and with one codebook for each layer every layer
meets it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator

from suite.methods.base import Net
from suite.methods.pooled import Pool, PooledWeights
from suite.quant.ecsq import (
    Quantizer,
    distortion,
    iterative,
    iterative_at_rate,
    uniform_at_rate,
    uniform_of_size,
    uniform_of_step,
)
from suite.quant.layer import MOST_CODES


class ECSQ(PooledWeights):
    """Few bits after entropy coding. Exactly one of `rate`, `step`, `clusters` and `slope` says how many."""

    name: Literal["ecsq"] = "ecsq"
    title: ClassVar[str] = "ECSQ"
    kind: Literal["uniform", "iterative"] = Field(
        "uniform", description="Uniform thresholds, or Lloyd with a rate term."
    )
    rate: float | None = Field(
        None, gt=0, le=15, description="Bits per live weight, entropy; the other is found for it."
    )
    step: float | None = Field(None, gt=0, description="uniform: distance of the thresholds, in the weights' unit.")
    clusters: int | None = Field(None, ge=1, le=MOST_CODES, description="uniform: at most so many clusters.")
    slope: float | None = Field(
        None, gt=0, description="iterative: lambda, squared weights per bit, where importances have mean 1."
    )
    rounds: int = Field(100, ge=1, description="iterative: at most so many rounds.")

    @model_validator(mode="after")
    def _one_target(self) -> ECSQ:
        mine = ("rate", "step", "clusters") if self.kind == "uniform" else ("rate", "slope")
        given = [n for n in ("rate", "step", "clusters", "slope") if getattr(self, n) is not None]
        if len(given) != 1 or given[0] not in mine:
            raise ValueError(f"kind {self.kind} takes one of {', '.join(mine)}, not {', '.join(given) or 'none'}")
        return self

    @property
    def label(self) -> str:
        targets = {"rate": f"{self.rate}b", "step": f"step {self.step}", "clusters": f"K={self.clusters}"}
        target = next((text for n, text in targets.items() if getattr(self, n) is not None), f"slope {self.slope}")
        return f"{self.title} {self.kind} {target}" + ("" if self.curvature == "hessian" else f" {self.curvature}")

    def cluster(self, net: Net) -> dict[str, Any]:
        facts = [self._quantize(pool) for pool in self.pools(net)]
        return {"clusters": max((f["clusters"] for f in facts), default=0), "codebooks": facts}

    def _quantize(self, pool: Pool) -> dict[str, Any]:
        points = pool.points
        if not len(points.values):  # wholly pruned
            return pool.assign_nearest(torch.zeros(1, dtype=torch.float64))
        slope = self.slope
        quantizer: Quantizer
        if self.step is not None:
            quantizer = uniform_of_step(points, self.step)
        elif self.clusters is not None:
            quantizer = uniform_of_size(points, self.clusters)
        elif slope is not None:
            quantizer = iterative(points, slope, self.rounds)
        elif self.kind == "uniform":
            quantizer = uniform_at_rate(points, self.rate or 0)
        else:
            quantizer, slope = iterative_at_rate(points, self.rate or 0, self.rounds)
        facts = {"error": distortion(points, quantizer), "slope": slope}
        return pool.assign(quantizer.centres, quantizer.codes) | facts
