"""Soft-to-hard vector quantization (Agustsson, Mentzer, Tschannen, Cavigelli, Timofte, Benini, Van Gool: "Soft-to-Hard Vector
Quantization for End-to-End Learning Compressible Representations", NIPS 2017, arXiv 1704.00648).

Train weights and centres together, with every weight (or vector of weights) seen as the mixture of the centres that a softmax over
negative squared distances gives; add an upper bound of the codes' entropy to the loss; harden the softmax all the while; in the
end every vector is its nearest centre.

Read: the abstract, summaries, and somebody else's implementation of the quantizer. Not read, so choices of this suite: one
codebook for the whole network (or one per layer); a hardness that rises with the progress of the training, in units of
1 / variance of the live weights; centres that start from k-means and learn more slowly than the weights; the entropy's place in
the loss, as a mean per vector; zeros that fill up the last vector of a layer.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from suite.methods.base import FreezeMethod, Net, Through
from suite.methods.shared import CENTRES
from suite.quant.entropy import entropy
from suite.quant.layer import Layer
from suite.quant.nearest import nearest
from suite.quant.soft import entropy_bound, kmeans, soften


class SoftToHard(FreezeMethod):
    """Two stages with one training in between: centres from k-means; hard codes."""

    name: Literal["soft-to-hard"] = "soft-to-hard"
    title: ClassVar[str] = "Soft-to-hard VQ"
    clusters: int = Field(32, ge=2, le=1024, description="Centres of a codebook.")
    dimension: int = Field(
        1, ge=1, le=16, description="Weights of a vector: consecutive live weights of a layer, in C order."
    )
    scope: Literal["network", "layer"] = Field("network", description="One codebook for all layers, or one for each.")
    sigma_start: float = Field(
        10.0,
        gt=0,
        description="Hardness at first: softmax(-sigma |w - c|^2 / v), v: variance of the codebook's live weights.",
    )
    sigma_end: float = Field(1_000.0, gt=0, description="Hardness in the end.")
    schedule: Literal["exponential", "linear"] = Field(
        "exponential", description="How the hardness rises with the progress of the training."
    )
    beta: float = Field(1.0, ge=0, description="Weight of the entropy bound, in nats per vector, in the loss.")
    centre_rate: float = Field(
        0.01,
        gt=0,
        description="Learning rate of the centres, as a multiple of the re-training's; small, for a centre's gradient is a sum "
        "over all weights near it. Adam evens out such sums: there 1 is apt.",
    )
    rounds: int = Field(30, ge=0, description="At most so many rounds of k-means for the first centres.")

    @model_validator(mode="after")
    def _hardens(self) -> SoftToHard:
        if self.sigma_end < self.sigma_start:
            raise ValueError(f"sigma_end {self.sigma_end:g} must not be below sigma_start {self.sigma_start:g}")
        return self

    @property
    def label(self) -> str:
        vectors = f" {self.dimension}-d" if self.dimension > 1 else ""
        return f"{self.title} {self.clusters}{vectors}{' per layer' if self.scope == 'layer' else ''}"

    @property
    def as_published(self) -> bool:
        return self.scope == "network" and self.beta > 0

    def stages(self, layers: int) -> int:
        return 2

    def quantize(self, stage: int, net: Net) -> dict[str, Any]:
        groups = self._groups(net.layers)
        if stage == 0:
            for number, group in enumerate(groups):
                vectors = torch.cat([self._vectors(layer.values()).double().cpu() for layer in group.values()])
                first = next(iter(group.values()))
                centres = kmeans(vectors, self.clusters, net.generator(number), self.rounds)
                first.learned[CENTRES] = centres.to(first.weight).requires_grad_()
            return {"clusters": self.clusters}
        for group in groups:
            centres = next(iter(group.values())).learned.pop(CENTRES).detach().double().cpu()
            for layer in group.values():
                codes = nearest(self._vectors(layer.values()).double().cpu(), centres)
                layer.assign(centres.squeeze(1), codes)
        bits = {name: entropy(torch.bincount(layer.codes.cpu().long())) for name, layer in net.layers.items()}
        return {"clusters": self.clusters, "entropy": bits}

    def through(self, stage: int, layers: dict[str, Layer], progress: float) -> Through:
        weights, bounds, count = {}, [], 0
        for group in self._groups(layers):
            centres = _wide(next(iter(group.values())).learned[CENTRES])
            parts = [self._vectors(_wide(_live(layer))) for layer in group.values()]
            vectors = torch.cat(parts)
            soft = soften(vectors, centres, self.sigma(progress) / _variance(vectors))
            seen = torch.split(soft.vectors, [len(part) for part in parts])
            for (name, layer), part in zip(group.items(), seen, strict=True):
                weights[name] = layer.coded().with_values(part.flatten()).to(layer.weight.dtype)
            if self.beta and len(vectors):
                bounds.append(len(vectors) * entropy_bound(_members(vectors, centres), soft.histogram))
                count += len(vectors)
        return Through(weights, self.beta * torch.stack(bounds).sum() / count if count else None)

    def learned_rate(self, stage: int) -> float:
        return self.centre_rate

    def sigma(self, progress: float) -> float:
        """Hardness when this part, 0 to 1, of the training is done, in units of 1 / variance of the weights."""
        if self.schedule == "linear":
            return self.sigma_start + (self.sigma_end - self.sigma_start) * progress
        return float(self.sigma_start * (self.sigma_end / self.sigma_start) ** progress)

    def _groups(self, layers: dict[str, Layer]) -> list[dict[str, Layer]]:
        """Layers that share a codebook. It is kept in the first of them only: a resumed trial has one tensor, not copies."""
        if self.scope == "layer":
            return [{name: layer} for name, layer in layers.items()]
        return [layers] if layers else []

    def _vectors(self, values: Tensor) -> Tensor:
        """Live weights, (L,), as vectors, (ceil(L / d), d)."""
        return F.pad(values, (0, -len(values) % self.dimension)).view(-1, self.dimension)


def _live(layer: Layer) -> Tensor:
    """The live weights, (L,), differentiable."""
    return layer.weight.flatten() if layer.live is None else layer.weight.masked_select(layer.live)


def _wide(values: Tensor) -> Tensor:
    """In at least single precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _variance(vectors: Tensor) -> float:
    """Of all weights about their mean; 1 if they are equal: any hardness does then."""
    return float(vectors.detach().var(correction=0)) or 1.0 if vectors.numel() else 1.0


def _members(vectors: Tensor, centres: Tensor) -> Tensor:
    """How many vectors each centre is nearest to, (K,)."""
    return torch.bincount(nearest(vectors.detach(), centres.detach()), minlength=len(centres))
