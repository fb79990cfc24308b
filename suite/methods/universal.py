"""Universal compression (Choi, El-Khamy, Lee: "Universal Deep Neural Network Compression", 2018, arXiv 1802.02271).

Add uniform random dither to the weights; replace each vector of weights by the nearest point of a lattice; the decoder, which
knows the seed, takes the dither off again. The error is then uniform over the lattice's cell whatever the weights are. The
lattice points go through a universal lossless coder; the points may be fine-tuned as shared weights.

Read: the abstracts of both versions and summaries of them. Not read there, so choices of this suite: which lattices, how cells
are sized, the generator of the dither, that all layers share one step while each has a codebook of its own, and vectors of
consecutive live weights in C order. Fine-tuning by the mean gradient is read in a patent, US 12 190 231, apparently related.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from suite.methods.base import Net
from suite.methods.shared import SharedWeights
from suite.quant.dither import Dither
from suite.quant.entropy import entropy
from suite.quant.lattice import LATTICES
from suite.quant.layer import MOST_CODES, Layer

COARSEST, FINEST = 1e3, 1e-4  # steps that are tried for a rate, as multiples of the root mean square
CLOSE = 1e-3  # relative accuracy of a step that is found for a rate


class Universal(SharedWeights):
    """Randomized lattice quantization: one step for the whole network, a codebook of the lattice points that a layer uses."""

    name: Literal["universal"] = "universal"
    title: ClassVar[str] = "Universal"
    lattice: Literal["Z", "A2", "D4", "E8"] = Field("Z", description="Dimensions 1, 2, 4, 8.")
    dimension: int | None = Field(
        None, ge=1, le=8, description="Z only: weights that are coded as one vector; by default 1."
    )
    step: float | None = Field(
        None,
        gt=0,
        description="Edge of the cube that is as large as a cell, as a multiple of the root mean square of the network's live "
        "weights. Either this or rate.",
    )
    rate: float | None = Field(
        None,
        gt=0,
        description="The step is found for so many bits per live weight, by the entropy of each layer's codes; codebooks come "
        "on top, and are large for D4 and E8.",
    )
    dither: bool = Field(True, description="Random dither; without it, plain lattice quantization.")

    @model_validator(mode="after")
    def _possible(self) -> Universal:
        if (self.step is None) == (self.rate is None):
            raise ValueError(
                f"universal needs either a step or a rate, and not both; it has step {self.step}, rate {self.rate}"
            )
        if self.dimension is not None and self.lattice != "Z":
            fixed = LATTICES[self.lattice].dimension
            raise ValueError(f"dimension {self.dimension} goes with lattice Z only: {self.lattice} has {fixed}")
        return self

    @property
    def block(self) -> int:
        """Weights in a vector."""
        return self.dimension or LATTICES[self.lattice].dimension

    @property
    def label(self) -> str:
        size = f"step {self.step:g}" if self.rate is None else f"{self.rate:g}b"
        vectors = f"{self.lattice}^{self.dimension}" if self.dimension else self.lattice
        return f"{self.title} {vectors} {size}{'' if self.dither else ' undithered'}"

    @property
    def as_published(self) -> bool:
        return self.dither and self.tune != "none"

    def cluster(self, net: Net) -> dict[str, Any]:
        spread = root_mean_square(net)
        step = spread * (self.step or self._step_for_rate(net, spread))
        coded = self._encoded(net, step)
        for (name, layer), code in zip(net.layers.items(), coded, strict=True):
            if len(code.points) > MOST_CODES:
                raise ValueError(
                    f"step {step:g} needs {len(code.points)} points of lattice {self.lattice} for layer {name}, at most "
                    f"{MOST_CODES} are possible; choose a larger step, a lower rate or a lattice of lower dimension"
                )
            layer.dither = code.dither
            layer.assign(code.points, code.codes)
        return {
            "clusters": max((len(code.points) for code in coded), default=0),
            "edge": step,  # in the weights' unit; "step" is what training steps are called in the record
            "entropy": _rate(net, coded),
        }

    def _step_for_rate(self, net: Net, spread: float) -> float:
        """The smallest step found, as a multiple of `spread`, whose codes have at most this entropy per weight, by bisection."""
        fine, coarse, rate = FINEST, COARSEST, self.rate or math.inf
        if spread == 0:
            return 1.0
        while coarse > fine * (1 + CLOSE):
            middle = math.sqrt(fine * coarse)
            if _rate(net, self._encoded(net, middle * spread)) > rate:
                fine = middle
            else:
                coarse = middle
        if fine == FINEST:
            raise ValueError(
                f"rate {rate:g} cannot be reached: with so few weights even a step of {FINEST:g} root mean squares has an "
                f"entropy of only {_rate(net, self._encoded(net, FINEST * spread)):.3f} bits per weight; choose a lower rate"
            )
        return coarse

    def _encoded(self, net: Net, step: float) -> list[_Encoded]:
        """All layers at this step, each under a dither of its own."""
        layers = enumerate(net.layers.values())
        return [self._encode(layer, step, net.generator(number).initial_seed()) for number, layer in layers]

    def _encode(self, layer: Layer, step: float, seed: int) -> _Encoded:
        """Add dither, go to the nearest lattice points. A layer of zeros is left as it is, without dither."""
        vectors = self._blocks(layer.values().double().cpu())
        if not bool(vectors.any()):
            return _Encoded.of(vectors, None)
        dither = Dither(seed, step, self.lattice) if self.dither else None
        if dither is not None:
            vectors = vectors + dither.values(vectors.numel()).view(vectors.shape)
        lattice = LATTICES[self.lattice]
        nearest = lattice.nearest(vectors.reshape(-1, lattice.dimension), step).view(vectors.shape)
        return _Encoded.of(nearest + 0.0, dither)  # no negative zeros

    def _blocks(self, values: Tensor) -> Tensor:
        """The weights, (L,), as vectors, the last one filled up with zeros; a column if the dimension is 1."""
        return F.pad(values, (0, -len(values) % self.block)).view(-1, self.block)


@dataclass(frozen=True)
class _Encoded:
    points: Tensor  # (K,) or (K, d)
    codes: Tensor  # (blocks,) int64
    dither: Dither | None

    @staticmethod
    def of(vectors: Tensor, dither: Dither | None) -> _Encoded:
        """Lattice points, (blocks, d), as the different ones among them and an index for each."""
        codes = torch.unique(vectors[:, 0], return_inverse=True)[1]
        for column in vectors.T[1:]:  # ranks by the columns so far: several times faster than torch.unique over rows
            values, ranks = torch.unique(column, return_inverse=True)
            codes = torch.unique(codes * len(values) + ranks, return_inverse=True)[1]
        points = vectors.new_zeros(int(codes.max()) + 1 if len(codes) else 0, vectors.shape[1])
        points[codes] = vectors
        return _Encoded(points.squeeze(1), codes, dither)

    @property
    def bits(self) -> float:
        """Entropy of all codes together."""
        return len(self.codes) * entropy(torch.bincount(self.codes))


def root_mean_square(net: Net) -> float:
    """Of all live weights of the network; 0 if it has none."""
    count = sum(len(layer.values()) for layer in net.layers.values())
    total = sum(float(layer.values().double().square().sum()) for layer in net.layers.values())
    return math.sqrt(total / max(count, 1))


def _rate(net: Net, coded: list[_Encoded]) -> float:
    """Entropy of the codes, each layer's by its own frequencies, in bits per live weight."""
    count = sum(len(layer.values()) for layer in net.layers.values())
    return sum(code.bits for code in coded) / max(count, 1)
