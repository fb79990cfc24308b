"""Kohonen's self-organizing map as a learner of codebooks: units on a grid, each with a centre, pulled towards the data together
with their neighbours on the grid; as the neighbourhood shrinks to nothing, the map becomes k-means.

The map, its sequential and its batch form are Kohonen's (1990, "The self-organizing map"; 2001, "Self-Organizing Maps"), as other
implementations document them; the texts themselves were not at hand. From the released `color_quant`, a port of NeuQuant (Dekker
1994), read as code: a line of units, and a neighbourhood that falls off as a parabola from a first radius of K/8. This suite's
choice: names and defaults, radii as shares of the map's side, rectangles whose last row may be short, the length of the first axes,
that a unit without data stays where it is. Left out of NeuQuant: its bias for units that seldom win, its Manhattan distance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from suite.quant.lloyd import Cells, Sorted
from suite.quant.nearest import nearest

Neighbourhood = Literal["gaussian", "bubble", "parabola"]
Decay = Literal["linear", "exponential", "inverse"]


@dataclass(frozen=True)
class Grid:
    """Where the K units stand: row by row in a rectangle whose last row may be short; neighbours are one step apart."""

    units: int
    columns: int

    @staticmethod
    def line(units: int) -> Grid:
        return Grid(units, units)

    @staticmethod
    def plane(units: int) -> Grid:
        """As near to a square as can be, wider than high."""
        return Grid(units, max(1, int(np.ceil(np.sqrt(units)))))

    @property
    def side(self) -> int:
        """Units in the longest row or column."""
        return max(self.columns, -(-self.units // self.columns))

    def positions(self) -> Tensor:
        """(K, 2) float64: column and row of every unit."""
        units = torch.arange(self.units)
        return torch.stack([units % self.columns, units // self.columns], dim=1).double()

    def distances(self) -> Tensor:
        """(K, K) float64: Euclidean distances on the grid, in steps."""
        p = self.positions()
        return (p[:, None] - p[None]).square().sum(-1).sqrt()


@dataclass(frozen=True)
class Phase:
    """A part of the training, such as ordering or tuning, in which radius and rate fall from their first value to the second.

    Raises:
        ValueError: without a pass; for a radius below 0, or a rate outside (0, 1]; where a positive value would have to decay
            to zero other than linearly.
    """

    passes: int  # over all the data
    radius: tuple[float, float]  # of the neighbourhood, as shares of the map's side; 0: the winner alone
    rate: tuple[float, float] = (0.5, 0.01)  # how far the winner moves; online training only
    decay: Decay = "exponential"  # inverse: as 1 / (1 + c t)

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"a phase of {self.passes} passes is impossible: at least 1")
        if not all(0 <= r < float("inf") for r in self.radius):
            raise ValueError(f"radius {list(self.radius)} is impossible: finite, at least 0")
        if not all(0 < r <= 1 for r in self.rate):
            raise ValueError(f"rate {list(self.rate)} is impossible: above 0, at most 1")
        if self.decay != "linear" and 0 in self.radius and self.radius != (0, 0):
            raise ValueError(
                f"radius {list(self.radius)} cannot decay in the {self.decay} way: to or from zero only linearly; "
                "or end above zero and add a phase with radius [0, 0]"
            )

    def at(self, progress: float) -> tuple[float, float]:
        """Radius (share of the side) and rate when this part of the phase, 0 to 1, is done."""
        decay = DECAYS[self.decay]
        return decay(*self.radius, progress), decay(*self.rate, progress)


DECAYS: dict[str, Callable[[float, float, float], float]] = {
    "linear": lambda a, b, t: a + (b - a) * t,
    "exponential": lambda a, b, t: a if a == b else a * (b / a) ** t,
    "inverse": lambda a, b, t: a if a == b else a / (1 + (a / b - 1) * t),
}
NEIGHBOURHOODS: dict[str, Callable[[Tensor], Tensor]] = {  # of the distance in radii
    "gaussian": lambda d: torch.exp(-d.square() / 2),
    "bubble": lambda d: (d <= 1).double(),
    "parabola": lambda d: (1 - d.square()).clamp(min=0),
}


def pulls(kind: Neighbourhood, distances: Tensor, radius: float) -> Tensor:
    """How much a unit moves, 0 to 1, when one at this distance (any shape, in steps) wins; `radius` is in steps, too.

    What lies below the precision of float64 is zero: sums over so little would be all rounding.
    """
    if radius == 0:
        return (distances == 0).double()
    pull = NEIGHBOURHOODS[kind](distances / radius)
    return torch.where(pull < torch.finfo(torch.float64).eps, 0.0, pull)


class Data(Protocol):
    """What batch training must know of the data."""

    def cells(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        """For centres (K, D): the sums (K, D) and the weights (K,) of the points that are nearest to each."""


@dataclass(frozen=True)
class Cloud:
    """Points of any dimension."""

    points: Tensor  # (N, D) float64
    weights: Tensor  # (N,) float64, such as how often each occurs

    @staticmethod
    def of(points: Tensor) -> Cloud:
        """Points (N, D) that all count the same."""
        return Cloud(points.double(), torch.ones(len(points), dtype=torch.float64))

    def mean(self) -> Tensor:
        """(D,)"""
        return self.weights @ self.points / self.weights.sum()

    def cells(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        winners = nearest(self.points, centres)
        weights = torch.bincount(winners, self.weights, minlength=len(centres))
        return torch.zeros_like(centres).index_add_(0, winners, self.points * self.weights[:, None]), weights


@dataclass(frozen=True)
class Values:
    """Points on a line, sorted once: a pass then costs K binary searches, whatever their number."""

    values: Sorted

    def cells(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        cells = Cells.of(centres[:, 0])
        edges = cells.edges(self.values)
        sums, weights = torch.zeros_like(centres), torch.zeros(len(centres), dtype=torch.float64)
        sums[cells.order, 0] = self.values.sums[edges].diff()
        weights[cells.order] = edges.diff().double()
        return sums, weights


def linear_start(cloud: Cloud, grid: Grid) -> Tensor:
    """Centres (K, D) on the first two principal axes of the points, out to two standard deviations."""
    mean, span = cloud.mean(), _principal_axes(cloud)[:2] * 2
    steps = grid.positions()[:, : len(span)]
    last = steps.amax(0)
    return mean + torch.where(last > 0, steps / last.clamp(min=1) * 2 - 1, 0.0) @ span


def _principal_axes(cloud: Cloud) -> Tensor:
    """(D, D): a row for each axis, as long as the points' standard deviation along it, the longest first."""
    away = cloud.points - cloud.mean()
    covariance = (away * cloud.weights[:, None]).T @ away / cloud.weights.sum()
    variances, axes = torch.linalg.eigh(covariance)
    rows: Tensor = (axes * variances.clamp(min=0).sqrt()).T.flip(0)
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return rows * torch.where(largest < 0, -1.0, 1.0)  # the definition leaves open which way an axis points


def sample_start(points: Tensor, grid: Grid, generator: torch.Generator) -> Tensor:
    """Centres (K, D) that are points (N, D), no point twice while there are others."""
    order = torch.randperm(len(points), generator=generator)
    return points.double()[order[torch.arange(grid.units) % len(points)]]


def train_batch(
    data: Data, centres: Tensor, grid: Grid, phases: Sequence[Phase], kind: Neighbourhood = "gaussian"
) -> Tensor:
    """Kohonen's batch map: after each pass, every centre is the mean of all points, weighted by the pull of their winners on it.

    Deterministic; with radius 0 a pass is Lloyd's step.

    Args:
        data: what the map learns.
        centres: (K, D) float64 start; a centre that nothing pulls stays.

    Returns:
        The centres (K, D) after the last pass.
    """
    distances = grid.distances()
    for phase in phases:
        for radius in _radii(phase, grid):
            pull = pulls(kind, distances, radius)
            sums, weights = data.cells(centres)
            weight = (pull @ weights)[:, None]
            moved = torch.where(weight > 0, pull @ sums / weight.clamp(min=torch.finfo(torch.float64).tiny), centres)
            settled = phase.radius[0] == phase.radius[1] and torch.equal(moved, centres)
            centres = moved
            if settled:
                break
    return centres


def _radii(phase: Phase, grid: Grid) -> Iterator[float]:
    """The radius of each pass, in steps of the grid."""
    for number in range(phase.passes):
        yield phase.at(number / max(phase.passes - 1, 1))[0] * grid.side


def train_online(
    points: Tensor,
    centres: Tensor,
    grid: Grid,
    phases: Sequence[Phase],
    generator: torch.Generator,
    kind: Neighbourhood = "gaussian",
) -> Tensor:
    """Kohonen's sequential map: point by point, in a new random order each pass, the winner and its neighbours move towards it.

    Args:
        points: (N, D).
        centres: (K, D) float64 start.

    Returns:
        The centres (K, D) after the last point. Radius and rate change from point to point.
    """
    near, moving, array = grid.distances(), centres.clone().numpy(), points.double().numpy()
    for phase in phases:
        steps, done, radius, pull = phase.passes * len(array), 0, -1.0, near
        for _ in range(phase.passes):
            for i in torch.randperm(len(array), generator=generator).tolist():
                share, rate = phase.at(done / max(steps - 1, 1))
                # A pull for each pair of units costs more than a step: made anew when the radius has changed by a thousandth.
                if abs(share * grid.side - radius) > radius / 1000:
                    radius = share * grid.side
                    pull = pulls(kind, near, radius)
                difference = array[i] - moving
                winner = int(np.einsum("kd,kd->k", difference, difference).argmin())
                moving += rate * pull[winner].numpy()[:, None] * difference
                done += 1
    return torch.from_numpy(moving)
