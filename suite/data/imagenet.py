"""ImageNet as folders of JPEG files, decoded and augmented by worker processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from suite.data.folders import ImageFiles, joint_digest, list_splits
from suite.data.normalise import Normalise
from suite.data.source import BatchRequest, DataInfo, Split
from suite.vision import transforms


class ImageNetSource:
    """Implements `DataSource` over `<data_root>/imagenet/{train,val}/<wnid>/*.JPEG`, `workers` processes reading ahead.

    Its fingerprint covers names and sizes of the files, not their content. With no workers this process reads.
    """

    def __init__(self, info: DataInfo, data_root: Path, workers: int) -> None:
        root = data_root / "imagenet"
        train, test = list_splits(info.title, root / "train", root / "val")
        self.info = replace(info, classes=len(train.classes))
        self.fingerprint = joint_digest((train, test))
        self._files: dict[Split, ImageFiles] = {"train": train, "test": test}
        self._workers = workers

    def count(self, split: Split) -> int:
        return len(self._files[split].names)

    def batches(
        self, split: Split, requests: Sequence[BatchRequest], device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        normalise = Normalise(self.info, device)
        loader = DataLoader(
            _Batches(self._files[split], requests, self.info.size),
            batch_size=None,  # an element already is a batch
            num_workers=min(self._workers, len(requests)),
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # else the loader draws a number from torch's own
        )
        for images, labels in loader:
            yield normalise(images.to(device, non_blocking=True)), labels.to(device, non_blocking=True)


class _Batches(Dataset[tuple[Tensor, Tensor]]):
    """Element i answers request i: images (B, 3, size, size) uint8 and labels (B,) int64."""

    def __init__(self, files: ImageFiles, requests: Sequence[BatchRequest], size: int) -> None:
        self._files, self._requests = files, requests
        self._augmented, self._centred = _augmented(size), _centred(size)

    def __len__(self) -> int:
        return len(self._requests)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        request = self._requests[position]
        indices: list[int] = request.indices.tolist()
        images = [self._image(index, request.seed) for index in indices]
        return torch.stack(images), torch.tensor([self._files.labels[index] for index in indices])

    def _image(self, index: int, seed: int | None) -> Tensor:
        image = self._files.read(index)
        pixels: Tensor = self._centred(image) if seed is None else _seeded(self._augmented, image, seed, index)
        return pixels


def _seeded(transform: Any, image: Image.Image, seed: int, index: int) -> Tensor:
    """Transform with a random state of the image's own, so that neither workers nor batches matter; torch's own is kept."""
    digest = hashlib.sha256(f"{seed} {index}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(digest[:7], "little"))
        pixels: Tensor = transform(image)
        return pixels


def _augmented(size: int) -> Any:
    """Random area and aspect, flip (Szegedy et al. 2015): torchvision's training recipe."""
    chain = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    return transforms.Compose(chain)


def _centred(size: int) -> Any:
    """Shorter side to 8/7 of the size (256 for 224), centre crop: how torchvision's published accuracies were measured."""
    chain = [transforms.Resize(size * 8 // 7), transforms.CenterCrop(size), transforms.PILToTensor()]
    return transforms.Compose(chain)
