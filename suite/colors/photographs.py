"""The photographs that scikit-learn and scikit-image bring along, so that a comparison needs no download."""

from __future__ import annotations

import numpy as np

from suite.colors.picture import Pixels

# The defaults of the self-organizing maps were chosen while looking at the figures of the first six, not of the others.
CHOSEN_ON = ("china", "flower", "astronaut", "coffee", "chelsea", "rocket")
HELD_OUT = ("motorcycle", "retina", "tissue", "galaxies")
_IN_SCIKIT_IMAGE = {"tissue": "immunohistochemistry", "galaxies": "hubble_deep_field"}


def photograph(name: str) -> Pixels:
    """One of the photographs, (H, W, 3) sRGB."""
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        return np.array(load_sample_image(f"{name}.jpg"))
    from skimage import data

    if name == "motorcycle":
        return np.array(data.stereo_motorcycle()[0])
    return np.array(getattr(data, _IN_SCIKIT_IMAGE.get(name, name))())
