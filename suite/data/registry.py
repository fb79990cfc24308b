"""The data sets by name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from suite.data.cifar import load_cifar
from suite.data.digits import load_digits
from suite.data.idx import load_idx
from suite.data.jpeg import load_jpeg
from suite.data.memory import Arrays, MemorySource
from suite.data.source import DataInfo, DataSource, Split
from suite.errors import UserError, choices

# CIFAR too is normalised with ImageNet's statistics: the published CIFAR ResNets were trained so.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist


def _grey(
    name: str, title: str, mean: float, std: float, augment: Literal["none", "crop"] = "none", training: int = 60_000
) -> DataInfo:
    return DataInfo(name, title, 1, 28, 10, (mean,), (std,), augment, training)


def _cifar(name: str, title: str, classes: int) -> DataInfo:
    return DataInfo(name, title, 3, 32, classes, _IMAGENET_MEAN, _IMAGENET_STD, "crop-flip", 50_000)


_ALL = (
    _grey("digits", "Digits", 0.3056, 0.3248, "crop", 1_257),
    _grey("mnist", "MNIST", 0.1307, 0.3081),
    _grey("fashion-mnist", "Fashion-MNIST", 0.2860, 0.3530),
    _cifar("cifar10", "CIFAR-10", 10),
    _cifar("cifar100", "CIFAR-100", 100),
    _cifar("cifar10-jpeg", "CIFAR-10 (JPEG)", 10),
    DataInfo("imagenet", "ImageNet", 3, 224, 1000, _IMAGENET_MEAN, _IMAGENET_STD, "imagenet", 1_281_167),
)
DATASETS: dict[str, DataInfo] = {info.name: info for info in _ALL}


def open_data(name: str, data_root: Path, cache: Path, workers: int = 0) -> DataSource:
    """Open a data set; a process opens each only once, so trials in it share the memory.

    `cache` is a folder for decoded images. `workers` is the number of processes that read ImageNet.
    UserError if the data set is unknown, missing or damaged.
    """
    readers = workers if name == "imagenet" else 0  # nothing else has any: one source, whatever is asked for
    return _open(find_data(name), data_root.absolute(), cache.absolute(), readers)


def find_data(name: str) -> DataInfo:
    """The data set called `name`; UserError if there is none."""
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}{choices(name, DATASETS)}")
    return DATASETS[name]


@lru_cache(maxsize=4)
def _open(info: DataInfo, data_root: Path, cache: Path, workers: int) -> DataSource:
    if info.name == "imagenet":
        from suite.data.imagenet import ImageNetSource  # imports torchvision, which takes 2 s

        return ImageNetSource(info, data_root, workers)
    return MemorySource(info, _load(info, data_root, cache))


def _load(info: DataInfo, data_root: Path, cache: Path) -> dict[Split, Arrays]:
    match info.name:
        case "digits":
            return load_digits()
        case "mnist":
            return load_idx(info.title, [data_root / "MNIST" / "raw"])
        case "fashion-mnist":
            return load_idx(info.title, [data_root / "FashionMNIST" / "raw", _DEBIAN_FASHION_MNIST])
        case "cifar10-jpeg":
            return load_jpeg(info, data_root / "cifar10-images", cache)
        case _:
            return load_cifar(info.classes, data_root)
