"""CIFAR-10 and CIFAR-100 in torchvision's layout (the original Python batches)."""

from __future__ import annotations

from pathlib import Path

import torch

from suite.data.memory import Arrays
from suite.data.missing import missing
from suite.data.source import Split


def load_cifar(classes: int, data_root: Path) -> dict[Split, Arrays]:
    """50,000 training and 10,000 test images, checked against torchvision's MD5 sums; UserError if missing or damaged."""
    return {"train": _load_split(classes, data_root, train=True), "test": _load_split(classes, data_root, train=False)}


def _load_split(classes: int, data_root: Path, train: bool) -> Arrays:
    from suite.vision import datasets

    kind = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[classes]
    try:
        found = kind(str(data_root), train=train, download=False)
    except RuntimeError as error:  # missing or failing its MD5 sums, which torchvision does not tell apart
        what = f"an intact copy of the folder {kind.base_folder} (unpacked {kind.filename})"
        raise missing(f"CIFAR-{classes}", what, data_root / kind.base_folder) from error
    images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    return Arrays(images, torch.tensor(found.targets))
