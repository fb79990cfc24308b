"""An image in at most K colours, by a method of choice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from suite.colors.features import Features, colors_in
from suite.colors.learn import Map, kmeans, som
from suite.colors.picture import Pixels
from suite.colors.space import from_lab
from suite.errors import UserError, choices
from suite.quant.nearest import nearest
from suite.quant.som import Cloud

Name = Literal["som", "kmeans", "mediancut", "octree"]
Assign = Literal["nearest", "class"]
FEWEST, MOST = 2, 256  # colours: what a PNG's palette holds
PILLOW = {"mediancut": Image.Quantize.MEDIANCUT, "octree": Image.Quantize.FASTOCTREE}


@dataclass(frozen=True)
class Way:
    """How to reduce.

    Raises:
        UserError: for a method that does not exist, or features with a method that knows no features.
    """

    method: Name = "som"
    features: Features = field(default_factory=Features)  # mediancut and octree always work on RGB
    map: Map = "tree"  # of the method som
    assign: Assign = "nearest"  # a pixel gets the nearest colour of the palette, or that of the class of its features
    sample: int = 2**17  # at most so many points (different colours, or pixels) are learnt from
    seed: int = 0

    def __post_init__(self) -> None:
        _check("method", self.method, get_args(Name))
        _check("map", self.map, get_args(Map))
        _check("space", self.features.space, ("rgb", "lab"))
        _check("assign", self.assign, get_args(Assign))
        weights = (self.features.local, self.features.smoothness, self.features.position)
        if not all(0 <= w < float("inf") for w in weights):
            raise UserError(f"the weights of the features are {weights}; allowed: 0 (leave it out) or more")
        if self.method in PILLOW and not self.features.only_color:
            raise UserError(f"{self.method} works on colours alone; features beyond them are for som and kmeans")


def _check(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"no {what} {value!r}{choices(value, allowed)}")


@dataclass(frozen=True)
class Reduced:
    palette: NDArray[np.uint8]  # (P, 3) sRGB, all different, all used
    codes: NDArray[np.uint8]  # (H, W): which of them

    def pixels(self) -> Pixels:
        """The image, (H, W, 3)."""
        return self.palette[self.codes]

    @staticmethod
    def of(palette: NDArray[np.uint8], codes: NDArray[np.int64], shape: tuple[int, int]) -> Reduced:
        """From a palette (K, 3), K up to 256, that may hold a colour twice or in vain, and the codes of all pixels."""
        merged, name = np.unique(palette, axis=0, return_inverse=True)
        which = name.ravel()[codes.ravel()]
        seen = np.bincount(which, minlength=len(merged)) > 0
        return Reduced(merged[seen], (np.cumsum(seen) - 1)[which].reshape(shape).astype(np.uint8))


def check_colors(colors: int) -> None:
    """Raises `UserError` for a number of colours that is not 2 to 256."""
    if not FEWEST <= colors <= MOST:
        raise UserError(
            f"{colors} colours are impossible; allowed: {FEWEST} to {MOST}, what the palette of a PNG holds"
        )


def reduce(rgb: Pixels, colors: int, way: Way) -> Reduced:
    """Reduce an image, (H, W, 3), to at most so many colours. One that has no more is returned as it is, whatever the way.

    Raises:
        UserError: if `colors` is not 2 to 256.
    """
    check_colors(colors)
    distinct = Distinct.of(rgb)
    if len(distinct.colors) <= colors:
        return Reduced(distinct.colors, distinct.which.reshape(rgb.shape[:2]).astype(np.uint8))
    if way.method in PILLOW:
        return _by_pillow(rgb, colors, way.method)
    return _by_classes(rgb, distinct, colors, way)


@dataclass(frozen=True)
class Distinct:
    """The different colours of an image."""

    colors: NDArray[np.uint8]  # (U, 3)
    which: NDArray[np.int64]  # (H * W,)
    counts: NDArray[np.int64]  # (U,)

    @staticmethod
    def of(rgb: Pixels) -> Distinct:
        packed = rgb.reshape(-1, 3).astype(np.uint32) @ np.array([2**16, 2**8, 1], np.uint32)
        values, which, counts = np.unique(packed, return_inverse=True, return_counts=True)
        colors = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1).astype(np.uint8)
        return Distinct(colors, which.ravel(), counts)


def _by_pillow(rgb: Pixels, colors: int, method: str) -> Reduced:
    """Palette and codes as Pillow gives them, without dithering."""
    image = Image.fromarray(rgb).quantize(colors, method=PILLOW[method], dither=Image.Dither.NONE)
    palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    return Reduced.of(palette, np.asarray(image).astype(np.int64), rgb.shape[:2])


def _by_classes(rgb: Pixels, distinct: Distinct, colors: int, way: Way) -> Reduced:
    """Learn classes of the features; a class's colour is the mean of its members in the space that they were learnt in."""
    alone = way.features.only_color  # then equal colours are equal points: each is kept once, with its count
    image = distinct.colors[None] if alone else rgb
    points = torch.from_numpy(way.features.of(image))
    counts = torch.from_numpy(distinct.counts).double() if alone else torch.ones(len(points), dtype=torch.float64)
    sample = _sample(Cloud(points, counts), way)
    centres = som(sample, colors, way.map, way.seed) if way.method == "som" else kmeans(sample, colors, way.seed)
    classes = nearest(points, centres)
    palette = _palette(points[:, :3], counts, classes, way)
    if way.assign == "nearest":
        codes = nearest_color(distinct.colors, palette, way.features)[distinct.which]
    else:
        codes = _renumbered(classes)[distinct.which if alone else slice(None)]
    return Reduced.of(palette, codes, rgb.shape[:2])


def _sample(cloud: Cloud, way: Way) -> Cloud:
    """At most `way.sample` of the points, drawn without replacement, whatever their weights."""
    if len(cloud.points) <= way.sample:
        return cloud
    chosen = torch.randperm(len(cloud.points), generator=torch.Generator().manual_seed(way.seed))[: way.sample]
    return Cloud(cloud.points[chosen], cloud.weights[chosen])


def _palette(color: Tensor, counts: Tensor, classes: Tensor, way: Way) -> NDArray[np.uint8]:
    """(P, 3) sRGB: the mean colour of each class that has members."""
    weights = torch.bincount(classes, counts)
    sums = torch.zeros(len(weights), 3, dtype=torch.float64).index_add_(0, classes, color * counts[:, None])
    means = (sums[weights > 0] / weights[weights > 0, None]).numpy()
    return from_lab(means) if way.features.space == "lab" else np.rint(means).astype(np.uint8)


def _renumbered(classes: Tensor) -> NDArray[np.int64]:
    """The classes that have members as 0, 1, ... in their order."""
    return np.unique(classes.numpy(), return_inverse=True)[1].ravel()


def nearest_color(colors: NDArray[np.uint8], palette: NDArray[np.uint8], features: Features) -> NDArray[np.int64]:
    """For each sRGB colour (U, 3) the nearest entry of a palette (P, 3), in the features' colour space."""
    points, centres = (torch.from_numpy(colors_in(features.space, c)) for c in (colors, palette))
    return nearest(points, centres).numpy()
