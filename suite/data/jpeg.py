"""Small images in folders, decoded once into a cache file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import load_file
from torch import Tensor

from suite.data.folders import ImageFiles, joint_digest, list_splits
from suite.data.memory import Arrays
from suite.data.source import DataInfo, Split
from suite.errors import UserError
from suite.files import write_tensors


def load_jpeg(info: DataInfo, root: Path, cache: Path) -> dict[Split, Arrays]:
    """`root`/{train,test}/<class>/*.jpg, decoded into `cache` by whoever comes first; UserError if files do not suit."""
    train, test = list_splits(info.title, root / "train", root / "test")
    _check_classes(info, train)
    path = cache / f"{info.name}-{joint_digest((train, test))[:16]}.safetensors"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            tensors = _decode("train", train, info.size) | _decode("test", test, info.size)
            write_tensors(path, tensors)
    return _arrays(load_file(path))


def _check_classes(info: DataInfo, files: ImageFiles) -> None:
    if len(files.classes) != info.classes:
        raise UserError(f"{files.root} has {len(files.classes)} class folders; {info.title} has {info.classes}")


def _decode(split: Split, files: ImageFiles, size: int) -> dict[str, Tensor]:
    """Tensors by name, as they are cached."""
    images = np.empty((len(files.names), 3, size, size), np.uint8)
    for index in range(len(images)):
        images[index] = _pixels(files, index, size)
    return {f"{split}.images": torch.from_numpy(images), f"{split}.labels": torch.tensor(files.labels)}


def _pixels(files: ImageFiles, index: int, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(3, size, size)."""
    image = files.read(index)
    if image.size != (size, size):
        place = files.root / files.names[index]
        raise UserError(f"{place} has {image.width}x{image.height} pixels, not {size}x{size}; remove or replace it")
    return np.asarray(image).transpose(2, 0, 1)


def _arrays(tensors: Mapping[str, Tensor]) -> dict[Split, Arrays]:
    return {
        "train": Arrays(tensors["train.images"], tensors["train.labels"]),
        "test": Arrays(tensors["test.images"], tensors["test.labels"]),
    }
