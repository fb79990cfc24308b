"""Several ways to reduce colours on several images: what each costs and gives, as tables."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import pandas as pd

from suite.colors.features import Features
from suite.colors.measure import Measures, measure
from suite.colors.picture import Pixels
from suite.colors.reduce import Reduced, Way, nearest_color, reduce

RGB, LAB = Features("rgb"), Features("lab")
WAYS: dict[str, Way] = {
    "SOM tree, Lab": Way("som", LAB),
    "SOM tree, RGB": Way("som", RGB),
    "SOM line, RGB": Way("som", RGB, "line"),
    "SOM plane, RGB": Way("som", RGB, "plane"),
    "SOM online, RGB": Way("som", RGB, "online"),
    "SOM tree, Lab + local mean": Way("som", Features("lab", local=0.5)),
    "SOM tree, Lab + local mean, by class": Way("som", Features("lab", local=0.5), assign="class"),
    "k-means, RGB": Way("kmeans", RGB),
    "k-means, Lab": Way("kmeans", LAB),
    "median cut": Way("mediancut", RGB),
    "octree": Way("octree", RGB),
}
NEAREST = {
    "octree": "octree, nearest colours"
}  # Pillow's octree gives many pixels another colour than the nearest of its palette
STARTS = 3  # of k-means


@dataclass(frozen=True)
class Measured:
    image: str
    way: str
    wanted: int  # colours
    measures: Measures
    seconds: float  # of the reduction, without reading and measuring; nan where no time of its own was taken


def ways_with(chosen: Way) -> dict[str, Way]:
    """The ways of a table, with the seed of the chosen one, which comes first if it is none of them."""
    ways = {name: replace(way, seed=chosen.seed) for name, way in WAYS.items()}
    return ways if chosen in ways.values() else {"as chosen": chosen, **ways}


def compare(
    images: Mapping[str, Callable[[], Pixels]],
    wanted: Sequence[int],
    ways: Mapping[str, Way],
) -> Iterator[Measured]:
    """Reduce every image to each number of colours in every way; k-means, which hangs on its start, from several."""
    for name, load in images.items():
        rgb = load()
        for colors in wanted:
            for label, way in _with_starts(ways):
                begin = time.perf_counter()
                reduced = reduce(rgb, colors, way)
                seconds = time.perf_counter() - begin
                yield Measured(name, label, colors, measure(rgb, reduced.pixels()), seconds)
                if label in NEAREST:
                    yield Measured(name, NEAREST[label], colors, measure(rgb, with_nearest(rgb, reduced)), math.nan)


def _with_starts(ways: Mapping[str, Way]) -> Iterator[tuple[str, Way]]:
    for label, way in ways.items():
        for start in range(STARTS if way.method == "kmeans" else 1):
            yield label, replace(way, seed=way.seed + start)


def with_nearest(rgb: Pixels, reduced: Reduced) -> Pixels:
    """The image (H, W, 3) in the same palette, each pixel in the colour that is nearest to it in RGB."""
    codes = nearest_color(rgb.reshape(-1, 3), reduced.palette, RGB)
    return reduced.palette[codes].reshape(rgb.shape)


def frame(rows: Sequence[Measured]) -> pd.DataFrame:
    """Tidy: a row for each image, number of colours, way and start, in the order in which they came."""
    columns = ["image", "way", "wanted", "mse", "psnr", "delta_e", "colors", "seconds"]
    return pd.DataFrame([(r.image, r.way, r.wanted, *astuple(r.measures), r.seconds) for r in rows], columns=columns)


def means(measured: pd.DataFrame, wanted: int) -> pd.DataFrame:
    """Over the images, a row for each way, as text."""
    by_way = measured[measured.wanted == wanted].groupby("way", sort=False)
    mean = by_way[["mse", "psnr", "delta_e", "colors", "seconds"]].mean(numeric_only=True).reset_index()
    return pd.DataFrame({
        "Way": mean.way,
        "MSE": mean.mse.map("{:.2f}".format),
        "PSNR dB": mean.psnr.map("{:.2f}".format),
        "ΔE 2000": mean.delta_e.map("{:.3f}".format),
        "Colours": mean.colors.map("{:.1f}".format),
        "Seconds": mean.seconds.map(lambda s: "–" if np.isnan(s) else f"{s:.2f}"),
    })  # fmt: skip


def per_image(measured: pd.DataFrame, wanted: int) -> pd.DataFrame:
    """A row for each way, a column for each image: MSE / mean CIEDE2000 difference, as text."""
    by_both = measured[measured.wanted == wanted].groupby(["way", "image"], sort=False)
    part = by_both[["mse", "delta_e"]].mean().reset_index()
    cells = part.assign(cell=[f"{m:.1f} / {d:.2f}" for m, d in zip(part.mse, part.delta_e, strict=True)])
    order, images = list(dict.fromkeys(part.way)), list(dict.fromkeys(part.image))
    wide = cells.pivot(index="way", columns="image", values="cell").loc[order, images]
    return wide.rename_axis("Way").rename_axis(None, axis=1).reset_index()


def markdown(groups: Mapping[str, pd.DataFrame], command: str) -> str:
    """A page: for each group of images and number of colours the means and the single images."""
    parts = ["# Colour reduction", f"Made by `{command}`. What the columns and ways mean: docs/colors.md."]
    for title, measured in groups.items():
        for wanted in dict.fromkeys(measured.wanted):
            parts += [
                f"## {title}: {wanted} colours",
                _pipes(means(measured, wanted)),
            ]
            if measured.image.nunique() > 1:
                parts += ["MSE / ΔE 2000 of each image:", _pipes(per_image(measured, wanted))]
    return "\n\n".join(parts) + "\n"


def _pipes(texts: pd.DataFrame) -> str:
    align = ["left", *["right"] * (len(texts.columns) - 1)]
    return texts.to_markdown(index=False, disable_numparse=True, colalign=align)
