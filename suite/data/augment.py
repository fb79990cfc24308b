"""Augmentation of whole batches, drawn on the CPU from a seed, so that every device gets the same images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_CROP_PAD = 2  # pixels, for images of 28 pixels
_CROP_FLIP_PAD = 4  # pixels, for images of 32 pixels


def crop(images: Tensor, seed: int) -> Tensor:
    """Pad by 2 black pixels and crop at random to the old size; (B, C, H, W) uint8."""
    return _crop(images, _CROP_PAD, torch.Generator().manual_seed(seed))


def crop_flip(images: Tensor, seed: int) -> Tensor:
    """The usual CIFAR augmentation (He et al. 2016, section 4.2); (B, C, H, W) uint8.

    Pad by 4 black pixels, crop at random to the old size, flip every other image on average.
    """
    generator = torch.Generator().manual_seed(seed)
    crops = _crop(images, _CROP_FLIP_PAD, generator)
    flips = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    return torch.where(flips.view(-1, 1, 1, 1), crops.flip(3), crops)


def _crop(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    count, _, height, width = images.shape
    corners = torch.randint(0, 2 * pad + 1, (2, count), generator=generator).to(images.device)
    windows = F.pad(images, (pad,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view: every crop of every image
    return windows[torch.arange(count, device=images.device), :, corners[0], corners[1]]


AUGMENTATIONS = {"crop": crop, "crop-flip": crop_flip}
