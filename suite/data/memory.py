"""A data set that fits in memory: bytes kept on the device, everything else per batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from suite.data.augment import AUGMENTATIONS
from suite.data.normalise import Normalise
from suite.data.source import BatchRequest, DataInfo, Split


@dataclass(frozen=True)
class Arrays:
    """One split: images (N, C, H, W) uint8 and labels (N,) int64."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Arrays:
        return Arrays(self.images.to(device), self.labels.to(device))


class MemorySource:
    """Implements `DataSource`; its fingerprint is the hash of all pixels and labels."""

    def __init__(self, info: DataInfo, splits: Mapping[Split, Arrays]) -> None:
        self.info = info
        self.fingerprint = _fingerprint(splits)
        self._splits = splits
        self._on_device: dict[tuple[Split, torch.device], Arrays] = {}

    def count(self, split: Split) -> int:
        return len(self._splits[split].labels)

    def batches(
        self, split: Split, requests: Sequence[BatchRequest], device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        arrays = self._arrays(split, device)
        normalise = Normalise(self.info, device)
        for request in requests:
            indices = request.indices.to(device)
            images = arrays.images.index_select(0, indices)
            if request.seed is not None and self.info.augment in AUGMENTATIONS:
                images = AUGMENTATIONS[self.info.augment](images, request.seed)
            yield normalise(images), arrays.labels.index_select(0, indices)

    def _arrays(self, split: Split, device: torch.device) -> Arrays:
        """The split on `device`, copied there once."""
        key = (split, device)
        if key not in self._on_device:
            self._on_device[key] = self._splits[split].to(device)
        return self._on_device[key]


def _fingerprint(splits: Mapping[Split, Arrays]) -> str:
    digest = hashlib.sha256()
    for split in sorted(splits):
        for tensor in (splits[split].images, splits[split].labels):
            digest.update(f"{split} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
