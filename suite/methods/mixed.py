"""Mixed bits: each layer gets the width that its sensitivity asks for, under a budget for the whole network. This suite's own
combination of k-means with bit allocation: no published method, a comparison for those that give all layers the same width.

Measure, for every layer and every candidate width, what quantizing that layer alone costs; choose the widths of least total
cost whose average over the live weights stays within the budget; cluster each layer at its width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from suite.methods.base import Net
from suite.methods.pooled import Init, live_curvature
from suite.methods.shared import SharedWeights
from suite.quant.allocation import allocate
from suite.quant.init import codebook_size
from suite.quant.layer import Layer
from suite.quant.lloyd import Cells
from suite.quant.weighted import Weighted, importances, weighted_kmeans


@dataclass(frozen=True)
class _Measured:
    """One layer at all widths."""

    centres: list[Tensor]
    costs: list[float]  # nats


class MixedKMeans(SharedWeights):
    """k-means with a width for each layer; K = 2^(b-1)+1 centres at b bits."""

    name: Literal["mixed"] = "mixed"
    title: ClassVar[str] = "mixed k-means"
    budget: float = Field(gt=0, description="Bits of an index, averaged over all live weights, at most.")
    widths: tuple[int, ...] = Field((2, 3, 4, 5, 6, 7, 8), description="Candidates, bits: 2 to 8, rising.")
    sensitivity: Literal["loss", "hessian"] = Field(
        "loss",
        description="What quantizing a layer costs. loss: rise of the held-out loss with that layer alone quantized; hessian: "
        "1/2 sum h (w - q)^2, h the second derivatives, by which the centres are weighted, too.",
    )
    samples: int = Field(1000, ge=1, description="hessian: training images it is measured on.")
    draws: int | None = Field(
        None, ge=1, description="hessian: labels drawn per image to estimate it; null: exact, a pass per class."
    )
    init: Init = Field(
        "best",
        description="Start of the centres; best: linear, quantile, and three of kmeans++, the least error counts.",
    )
    rounds: int = Field(300, ge=1, description="At most so many Lloyd rounds.")

    @model_validator(mode="after")
    def _possible(self) -> MixedKMeans:
        rising = all(a < b for a, b in zip(self.widths, self.widths[1:], strict=False))
        if not self.widths or not rising or self.widths[0] < 2 or self.widths[-1] > 8:
            raise ValueError(f"widths {list(self.widths)} are impossible: they must rise within 2 to 8")
        if self.budget < self.widths[0]:
            raise ValueError(f"budget {self.budget} is below the smallest width, {self.widths[0]} bits")
        return self

    @property
    def label(self) -> str:
        return f"{self.title} {self.budget:g}b {self.sensitivity}"

    def cluster(self, net: Net) -> dict[str, Any]:
        measured = self._by_hessian(net) if self.sensitivity == "hessian" else self._by_loss(net)
        counts = [len(layer.values()) for layer in net.layers.values()]
        sizes = [[count * width for width in self.widths] for count in counts]
        chosen = allocate(sizes, [m.costs for m in measured], int(self.budget * sum(counts)))
        for layer, found, option in zip(net.layers.values(), measured, chosen, strict=True):
            layer.assign(found.centres[option], Cells.of(found.centres[option]).codes(layer.values()))
        widths = [self.widths[option] for option in chosen]
        spent = sum(count * width for count, width in zip(counts, widths, strict=True))
        return {
            "clusters": max((len(layer.codebook) for layer in net.layers.values()), default=0),
            "widths": dict(zip(net.layers, widths, strict=True)),
            "average": spent / max(1, sum(counts)),
            "costs": {name: m.costs for name, m in zip(net.layers, measured, strict=True)},
        }

    def _by_loss(self, net: Net) -> list[_Measured]:
        before = net.loss()
        return [
            _Measured(centres, [loss_with(net, layer, c) - before for c in centres])
            for number, layer in enumerate(net.layers.values())
            for centres in [self._all_widths(Weighted.by(layer.values()), net, number)]
        ]

    def _by_hessian(self, net: Net) -> list[_Measured]:
        found = []
        bends = live_curvature(net, "hessian", self.samples, self.draws)
        for number, (name, layer) in enumerate(net.layers.items()):
            points = Weighted.by(layer.values(), importances(bends[name]))
            centres = self._all_widths(points, net, number)
            found.append(_Measured(centres, [_predicted(layer.values(), bends[name], c) for c in centres]))
        return found

    def _all_widths(self, points: Weighted, net: Net, number: int) -> list[Tensor]:
        sizes = [codebook_size(width) for width in self.widths]
        return [weighted_kmeans(points, k, self.init, self.rounds, net.generator(number, k)) for k in sizes]


def loss_with(net: Net, layer: Layer, centres: Tensor) -> float:
    """The held-out loss with this layer alone quantized to the nearest of these centres, (K,)."""
    before = layer.weight.detach().clone()
    replace(layer, learned={}).assign(centres, Cells.of(centres).codes(layer.values()))
    try:
        return net.loss()
    finally:
        layer.weight.data.copy_(before)


def _predicted(values: Tensor, bend: Tensor, centres: Tensor) -> float:
    """1/2 sum h (w - q)^2, q the nearest centre."""
    exact = values.cpu().double()
    errors = exact - centres[Cells.of(centres).codes(exact).long()]
    return float((bend * errors.square()).sum()) / 2
