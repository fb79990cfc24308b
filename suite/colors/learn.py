"""Learners of a palette: they see feature vectors, how often each occurs, and how many classes are wanted."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from suite.colors.tree import centres_by_tree
from suite.quant.som import Cloud, Grid, Phase, linear_start, train_batch, train_online

Map = Literal["tree", "line", "plane", "online"]
LAST = 0.5  # steps: a Gaussian neighbourhood of this radius moves the next unit by an eighth of the winner's share


def som(cloud: Cloud, classes: int, kind: Map, seed: int) -> Tensor:
    """Centres (at most `classes`, D) by self-organizing maps.

    tree: maps of two units in several stages; line, plane: one batch map, ordered, then tuned; online: a line trained
    pixel by pixel, with NeuQuant's neighbourhood and its radius of an eighth of the units, in one pass.
    """
    match kind:
        case "tree":
            return centres_by_tree(cloud, classes)
        case "line" | "plane":
            grid = Grid.line(classes) if kind == "line" else Grid.plane(classes)
            ordering = Phase(30, (0.25, min(0.25, LAST / grid.side)))
            return train_batch(cloud, linear_start(cloud, grid), grid, [ordering, Phase(30, (0, 0))])
        case "online":
            return _online(cloud, classes, torch.Generator().manual_seed(seed))


def _online(cloud: Cloud, classes: int, generator: torch.Generator) -> Tensor:
    chosen = torch.multinomial(cloud.weights, ONLINE_STEPS, replacement=True, generator=generator)
    points, grid = cloud.points[chosen], Grid.line(classes)
    phase = Phase(1, (1 / 8, min(1 / 8, LAST / classes)), rate=(0.5, 0.01))
    return train_online(points, linear_start(cloud, grid), grid, [phase], generator, "parabola")


ONLINE_STEPS = 30_000  # pixels drawn, each as often as its colour occurs


def kmeans(cloud: Cloud, classes: int, seed: int) -> Tensor:
    """Centres (`classes`, D) by scikit-learn: one start by k-means++, Lloyd until it stands still."""
    from sklearn.cluster import KMeans

    learner = KMeans(classes, n_init=1, random_state=seed)
    learner.fit(cloud.points.numpy(), sample_weight=cloud.weights.numpy())
    return torch.from_numpy(learner.cluster_centers_).double()
