"""What every data set offers: its description, and batches that depend on the request alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Split = Literal["train", "test"]


@dataclass(frozen=True)
class DataInfo:
    """Shape and statistics of a data set; images are `channels` x `size` x `size`."""

    name: str
    title: str  # for tables
    channels: int
    size: int
    classes: int
    mean: tuple[float, ...]  # per channel, of pixels scaled to 0..1
    std: tuple[float, ...]
    augment: Literal["none", "crop", "crop-flip", "imagenet"]
    training: int | None = None  # training images as published, None if unknown; a folder may hold fewer


@dataclass(frozen=True)
class BatchRequest:
    """Which images to deliver. Augmentation is a function of `seed` and `indices` only; without a seed there is none."""

    indices: Tensor  # (B,) int64
    seed: int | None


class DataSource(Protocol):
    """An opened data set."""

    @property
    def info(self) -> DataInfo: ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) that identifies the data."""
        ...

    def count(self, split: Split) -> int:
        """Number of images."""
        ...

    def batches(
        self, split: Split, requests: Sequence[BatchRequest], device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Per request, in order: images (B, C, H, W) float32, normalised, and labels (B,) int64, both on `device`."""
        ...
