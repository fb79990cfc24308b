"""Pixels to network inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.data.source import DataInfo


class Normalise:
    """(B, C, H, W) uint8 -> float32: (pixel / 255 - mean) / std per channel, as one multiplication and one addition."""

    def __init__(self, info: DataInfo, device: torch.device) -> None:
        mean, std = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (info.mean, info.std))
        self._scale = (1 / (255 * std)).to(device, torch.float32)
        self._shift = (-mean / std).to(device, torch.float32)

    def __call__(self, images: Tensor) -> Tensor:
        return images.to(torch.float32).mul_(self._scale).add_(self._shift)
