"""A palette in several stages: a small self-organizing map splits the pixels, further ones split its classes, and so on; classes
that are near each other are merged again, and one map of all that are left is tuned.

Papamarkos, Atsalakis and Strouthopoulos 2002 ("Adaptive color reduction") grow a tree with a self-organizing map in each node,
and split and merge classes. Only that paper's abstract was available. This suite's choice: two units in each node; the class with
the largest squared error is split next; a tree of twice the classes that are wanted; merging by least cost; the tuning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from suite.quant.nearest import nearest
from suite.quant.som import Cloud, Grid, Phase, linear_start, train_batch

SPLIT = (Phase(4, (0.5, 0.2)), Phase(6, (0, 0)))  # of two units: shares of a side of two
TUNING = (Phase(30, (0, 0)),)
SPARE = 2  # leaves grown for each class that is wanted


@dataclass(frozen=True)
class Leaf:
    """A class of points that is not split (yet)."""

    cloud: Cloud
    mean: Tensor  # (D,)
    error: float  # weighted sum of squared distances to the mean

    @staticmethod
    def of(cloud: Cloud) -> Leaf:
        mean = cloud.mean()
        return Leaf(cloud, mean, float(cloud.weights @ (cloud.points - mean).square().sum(1)))


def centres_by_tree(cloud: Cloud, classes: int) -> Tensor:
    """Centres (at most `classes`, D) of the points; fewer only if there are fewer different points."""
    tree = grow(cloud, SPARE * classes)
    means = torch.stack([leaf.mean for leaf in tree])
    weights = torch.stack([leaf.cloud.weights.sum() for leaf in tree])
    centres = merge(means, weights, classes)
    return train_batch(cloud, centres, Grid.line(len(centres)), TUNING)


def grow(cloud: Cloud, leaves: int) -> list[Leaf]:
    """Split the worst class until there are so many, or each holds copies of one point. Branches stay together in the list."""
    tree = [Leaf.of(cloud)]
    while len(tree) < leaves:
        worst = max(range(len(tree)), key=lambda i: tree[i].error)
        parts = _split(tree[worst].cloud)
        if len(parts) == 1:
            break
        tree[worst : worst + 1] = [Leaf.of(part) for part in parts]
    return tree


def _split(cloud: Cloud) -> list[Cloud]:
    """The classes of a map of two units, in its order; empty ones left out."""
    grid = Grid.line(2)
    winners = nearest(cloud.points, train_batch(cloud, linear_start(cloud, grid), grid, SPLIT))
    masks = [winners == unit for unit in range(2)]
    return [Cloud(cloud.points[mask], cloud.weights[mask]) for mask in masks if bool(mask.any())]


def merge(means: Tensor, weights: Tensor, classes: int) -> Tensor:
    """Merge those two whose union raises the squared error least, until so many classes are left.

    Args:
        means: (L, D) of the classes.
        weights: (L,), above zero.

    Returns:
        The means that are left, (min(L, classes), D), in the order in which they stood.
    """
    means, weights = means.clone(), weights.clone()
    alive = torch.ones(len(means), dtype=torch.bool)
    costs = torch.stack([_costs(means, weights, alive, i) for i in range(len(means))])
    for _ in range(len(means) - classes):
        a, b = divmod(int(costs.argmin()), len(means))
        means[a] = (weights[a] * means[a] + weights[b] * means[b]) / (weights[a] + weights[b])
        weights[a] += weights[b]
        alive[b] = False
        costs[b] = costs[:, b] = torch.inf
        costs[a] = costs[:, a] = _costs(means, weights, alive, a)
    return means[alive]


def _costs(means: Tensor, weights: Tensor, alive: Tensor, i: int) -> Tensor:
    """(L,): by how much the squared error rises if class i is merged with each other one."""
    costs = weights[i] * weights / (weights[i] + weights) * (means - means[i]).square().sum(1)
    costs[~alive] = torch.inf
    costs[i] = torch.inf
    return costs
