"""What a pixel is to a clustering: its colour, and beside it what lies around it.

Papamarkos, Atsalakis and Strouthopoulos 2002 ("Adaptive color reduction") feed a self-organizing map with colours and "local
spatial features". Only that paper's abstract was available: which features these are here (local mean, local spread, position),
their windows and their weights, is this suite's choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import uniform_filter

from suite.colors.picture import Pixels
from suite.colors.space import Array, to_lab

Space = Literal["rgb", "lab"]
UNIT = {"rgb": 255.0, "lab": 100.0}  # from black to white


@dataclass(frozen=True)
class Features:
    """Weights of the features; the colour itself has weight 1. A feature of weight 0 is left out."""

    space: Space = "lab"
    local: float = 0.0  # the mean colour of a window about the pixel
    smoothness: float = 0.0  # standard deviation of lightness (in RGB: of the channels' mean) in that window
    position: float = (
        0.0  # row and column; weight 1: from edge to edge of the longer side as far as from black to white
    )
    window: int = 5  # pixels; at the image's edge the outermost ones are repeated

    @property
    def only_color(self) -> bool:
        return self.local == self.smoothness == self.position == 0

    def of(self, rgb: Pixels) -> Array:
        """Features (H * W, D) of an image (H, W, 3), in C order. The first three columns are the colour."""
        color = colors_in(self.space, rgb)
        parts = [color]
        if self.local:
            parts.append(self.local * self._mean(color))
        if self.smoothness:
            parts.append(self.smoothness * self._spread(color)[..., None])
        if self.position:
            parts.append(self.position * UNIT[self.space] * _places(rgb.shape[0], rgb.shape[1]))
        return np.concatenate(parts, axis=-1).reshape(rgb.shape[0] * rgb.shape[1], -1)

    def _mean(self, channels: Array) -> Array:
        """(H, W, C): means over the window."""
        means: Array = uniform_filter(channels, size=(self.window, self.window, 1), mode="nearest")
        return means

    def _spread(self, color: Array) -> Array:
        """(H, W)"""
        light = color[..., :1] if self.space == "lab" else color.mean(axis=-1, keepdims=True)
        light = light - light.mean()  # smaller squares lose fewer digits
        variance = self._mean(light**2) - self._mean(light) ** 2
        return np.sqrt(np.maximum(variance[..., 0], 0))


def colors_in(space: Space, rgb: Pixels) -> Array:
    """sRGB colours (..., 3) as coordinates of a space: RGB as it is, 0 to 255, or CIE Lab."""
    return rgb.astype(np.float64) if space == "rgb" else to_lab(rgb)


def _places(height: int, width: int) -> Array:
    """(H, W, 2): row and column, 0 to 1 along the longer side."""
    rows, columns = np.mgrid[:height, :width] / max(height - 1, width - 1, 1)
    return np.stack([rows, columns], axis=-1)
