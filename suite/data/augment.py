"""The usual CIFAR augmentation (He et al. 2016, section 4.2), on whole batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_PAD = 4  # pixels


def crop_flip(images: Tensor, seed: int) -> Tensor:
    """Pad by 4 black pixels, crop at random to the old size, flip every other image on average; (B, C, H, W) uint8.

    Drawn on the CPU from `seed`, so that every device gets the same images.
    """
    count, _, height, width = images.shape
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 2 * _PAD + 1, (2, count), generator=generator).to(images.device)
    flips = (torch.rand(count, generator=generator) < 0.5).to(images.device)
    windows = F.pad(images, (_PAD,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view: every crop of every image
    crops = windows[torch.arange(count, device=images.device), :, corners[0], corners[1]]
    return torch.where(flips.view(-1, 1, 1, 1), crops.flip(3), crops)
