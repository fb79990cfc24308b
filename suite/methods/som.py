"""A layer's codebook learnt by a self-organizing map: the neighbours of the winner move with it, less and less, until the map has
become k-means.

Kohonen's map (suite/quant/som.py), which was published as a quantizer of image colours (Dekker 1994, NeuQuant). Its use for the
weights of a network, and all defaults, are this suite's choice; the number of centres is that of SLQ, for comparison. Known
weakness: a map has few units where there are few weights, so the largest weights fare worse than with k-means; up to 5 bits the
tuning makes up for it, at 8 bits it does not.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from suite.methods.base import Net
from suite.methods.shared import SharedWeights
from suite.quant.init import codebook_size
from suite.quant.lloyd import Cells, Sorted
from suite.quant.som import Cloud, Grid, Neighbourhood, Phase, Values, linear_start, train_batch, train_online

# Ordering, then tuning: the winner alone, which is k-means until nothing moves.
PHASES = {
    "batch": (Phase(30, (0.25, 0.01)), Phase(1000, (0, 0))),
    "online": (Phase(1, (0.25, 0.01)), Phase(1, (0, 0), rate=(0.05, 0.001))),
}
SAMPLES = {"batch": 2**18, "online": 2**14}


def _phases(options: dict[str, Any]) -> tuple[Phase, ...]:
    return PHASES[options.get("training", "batch")]


def _sample(options: dict[str, Any]) -> int:
    return SAMPLES[options.get("training", "batch")]


class SOM(SharedWeights):
    """Each layer gets K = 2^(b-1)+1 centres by a self-organizing map; every weight takes the value of its nearest centre."""

    name: Literal["som"] = "som"
    title: ClassVar[str] = "SOM"
    bits: int = Field(ge=2, le=8, description="Bits per weight; K = 2^(bits-1)+1 centres, as in SLQ.")
    grid: Literal["line", "plane"] = Field(
        "line", description="How the units are neighbours: in one dimension or in two."
    )
    neighbourhood: Neighbourhood = Field("gaussian", description="How a winner's pull falls off; parabola: NeuQuant's.")
    training: Literal["batch", "online"] = Field(
        "batch", description="batch: a pass moves all centres at once; online: weight by weight, in random order."
    )
    phases: tuple[Phase, ...] = Field(
        default_factory=_phases,
        min_length=1,
        description="One after the other: passes, radius (from, to; shares of the map's side), rate (from, to; online only), "
        "decay (exponential, linear, inverse).",
    )
    sample: int = Field(
        default_factory=_sample, ge=1, description="Learn from at most so many weights of a layer, drawn at random."
    )

    @property
    def label(self) -> str:
        return f"SOM {self.bits}b" + ("" if self.training == "batch" else " online")

    def cluster(self, net: Net) -> dict[str, Any]:
        for number, layer in enumerate(net.layers.values()):
            values = layer.values()
            learnt = self._centres(values.cpu(), net.generator(number))
            codebook = learnt.to(values.dtype).double()  # the nearest centre is that of the rounded ones
            layer.assign(codebook, Cells.of(codebook).codes(values))
        return {"clusters": max((len(layer.codebook) for layer in net.layers.values()), default=0)}

    def _centres(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Centres, (K,) float64; of a layer with no more different values (L,) than that, those values."""
        chosen = self._drawn(values, generator)
        k = codebook_size(self.bits)
        if len(torch.unique(chosen)) <= k:
            different = torch.unique(values.double())
            if len(different) <= k:
                return different if len(different) else torch.zeros(1, dtype=torch.float64)  # all pruned
        return self._learn(chosen, k, generator)

    def _drawn(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """(at most `sample`,) float64. With replacement: drawing without costs as much as sorting the layer."""
        if len(values) <= self.sample:
            return values.double()
        return values[torch.randint(len(values), (self.sample,), generator=generator)].double()

    def _learn(self, values: Tensor, k: int, generator: torch.Generator) -> Tensor:
        """Train the map of k units on the values, (S,)."""
        grid = Grid.line(k) if self.grid == "line" else Grid.plane(k)
        cloud = Cloud.of(values[:, None])
        start = linear_start(cloud, grid)
        if self.training == "batch":
            return train_batch(Values(Sorted.of(values)), start, grid, self.phases, self.neighbourhood)[:, 0]
        return train_online(cloud.points, start, grid, self.phases, generator, self.neighbourhood)[:, 0]
