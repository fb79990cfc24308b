"""Lattices as quantizers: the nearest point of Z, A2, D4 and E8.

Source: Conway and Sloane 1982, "Fast quantizing and decoding algorithms for lattice quantizers and codes": round every coordinate;
where that leaves the lattice, round the coordinate that was furthest from an integer the other way; of a union of cosets take
the nearer of their points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_ROOT3 = math.sqrt(3.0)


@dataclass(frozen=True)
class Lattice:
    """A lattice in its customary coordinates, and the scale at which its cells have the volume 1."""

    dimension: int  # a power of two
    volume: float  # of a cell
    box: tuple[
        float, ...
    ]  # edges of a box whose translates by lattice points tile the space evenly: (box) Z^d is a sublattice
    decode: Callable[[Tensor], Tensor]  # nearest lattice points, (N, d) float64 to the same

    @property
    def scale(self) -> float:
        """What makes the cells as large as a cube of edge 1. By square roots: unlike powers they are the same everywhere."""
        root = self.volume
        for _ in range(self.dimension.bit_length() - 1):
            root = math.sqrt(root)
        return 1.0 / root

    def nearest(self, vectors: Tensor, step: float) -> Tensor:
        """The nearest points, (N, d) float64, of the lattice whose cells have the volume step^d."""
        return self.decode(vectors / (step * self.scale)) * (step * self.scale)

    def in_cell(self, uniform: Tensor) -> Tensor:
        """Uniform points of the cell around 0, of volume 1, from numbers (N, d) that are uniform in [0, 1), float64.

        A point of the box is uniform modulo the lattice, because the box holds a whole number of cells. Only operations that
        IEEE 754 rounds correctly take part, in a fixed order, so that any decoder gets the same bits.
        """
        points = uniform * torch.tensor(self.box, dtype=torch.float64)
        return (points - self.decode(points)) * self.scale


def _z(x: Tensor) -> Tensor:
    return x.round()


def _d(x: Tensor) -> Tensor:
    """D_n: the integer points whose coordinates have an even sum."""
    near = x.round()
    error = x - near
    worst = error.abs().argmax(1, keepdim=True)
    away = torch.where(error.gather(1, worst) < 0, -1.0, 1.0).to(x.dtype)
    odd = near.sum(1, keepdim=True).remainder(2)  # 0 or 1
    return near.scatter_add(1, worst, odd * away)


def _e8(x: Tensor) -> Tensor:
    """E8: D8 and D8 shifted by (1/2, ..., 1/2)."""
    return _nearer(x, _d(x), _d(x - 0.5) + 0.5)


def _a2(x: Tensor) -> Tensor:
    """A2, the hexagonal lattice of minimal distance 1: a rectangular lattice, 1 by sqrt(3), and its shift to the middle."""
    edges = torch.tensor([1.0, _ROOT3], dtype=x.dtype)
    scaled = x / edges
    return _nearer(x, scaled.round() * edges, ((scaled - 0.5).round() + 0.5) * edges)


def _nearer(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where((_square(x - a) <= _square(x - b)).unsqueeze(1), a, b)


def _square(x: Tensor) -> Tensor:
    """Squared lengths, (N,). Summed from the first coordinate to the last, so that every machine decides alike."""
    total = x[:, 0] * x[:, 0]
    for i in range(1, x.shape[1]):
        total = total + x[:, i] * x[:, i]
    return total


LATTICES = {  # packed files name them by their places: new ones go to the end
    "Z": Lattice(1, 1.0, (1.0,), _z),
    "A2": Lattice(2, _ROOT3 / 2, (1.0, _ROOT3), _a2),
    "D4": Lattice(4, 2.0, (2.0,) * 4, _d),
    "E8": Lattice(8, 1.0, (2.0,) * 8, _e8),
}
