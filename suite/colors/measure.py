"""How far a reduced image is from the original."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from suite.colors.picture import Pixels
from suite.colors.space import delta_e, to_lab

AT_ONCE = 2**18  # pixels whose colour difference is computed at once


@dataclass(frozen=True)
class Measures:
    mse: float  # mean of squared differences over all pixels and the channels of sRGB, 0 to 255
    psnr: float  # dB, 10 log10(255^2 / mse); infinite for equal images
    delta_e: float  # mean CIEDE2000 difference of the pixels; about 1 to 2 is just visible side by side
    colors: int  # different ones in the reduced image


def measure(original: Pixels, reduced: Pixels) -> Measures:
    """Compare two images of one shape, (H, W, 3)."""
    squared = np.square(original.astype(np.int32) - reduced)
    mse = float(squared.mean())
    psnr = 10 * math.log10(255**2 / mse) if mse else math.inf
    return Measures(mse, psnr, _mean_delta_e(original, reduced), len(np.unique(reduced.reshape(-1, 3), axis=0)))


def _mean_delta_e(original: Pixels, reduced: Pixels) -> float:
    """Each pair of colours is compared once and counted as often as it occurs."""
    both = np.concatenate([original.reshape(-1, 3), reduced.reshape(-1, 3)], axis=1).astype(np.uint64)
    packed, counts = np.unique(both @ (np.uint64(256) ** np.arange(6, dtype=np.uint64)), return_counts=True)
    pairs = (packed[:, None] >> (np.uint64(8) * np.arange(6, dtype=np.uint64)) & np.uint64(255)).astype(np.uint8)
    total = 0.0
    for i in range(0, len(pairs), AT_ONCE):
        part = pairs[i : i + AT_ONCE]
        total += float(delta_e(to_lab(part[:, :3]), to_lab(part[:, 3:])) @ counts[i : i + AT_ONCE])
    return total / float(counts.sum())
