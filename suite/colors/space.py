"""CIE Lab by scikit-image, which is an optional part of the installation."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from suite.errors import UserError

Array = NDArray[np.float64]


def require_scikit_image() -> None:
    """Raises `UserError` with what to do if scikit-image is missing."""
    try:
        import skimage.color  # noqa: F401
    except ImportError:
        raise UserError(
            "scikit-image is not installed, which CIE Lab and delta-E need: pip install 'slq-suite[colors]'"
        ) from None


def to_lab(rgb: NDArray[np.uint8]) -> Array:
    """sRGB (..., 3), 0 to 255, as CIE Lab under D65: lightness 0 to 100, a and b about -100 to 100."""
    from skimage.color import rgb2lab

    return cast(Array, rgb2lab(rgb))


def from_lab(lab: Array) -> NDArray[np.uint8]:
    """CIE Lab (..., 3) as sRGB, rounded; what sRGB cannot show becomes the nearest value in each channel."""
    from skimage.color import lab2rgb

    shown: Array = np.clip(lab2rgb(lab), 0, 1)
    return np.rint(shown * 255).astype(np.uint8)


def delta_e(one: Array, other: Array) -> Array:
    """CIEDE2000 colour differences (...,) of two arrays in Lab, (..., 3)."""
    from skimage.color import deltaE_ciede2000

    return cast(Array, deltaE_ciede2000(one, other))
