"""scikit-learn's handwritten digits: real data that needs no download."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from suite.data.memory import Arrays
from suite.data.source import Split

_TEST_IMAGES = 540  # of 1,797


def load_digits() -> dict[Split, Arrays]:
    """1,257 training and 540 test images, stratified, enlarged from 8x8 to MNIST's 28x28 so that its networks fit."""
    # Imported here: a second that plan, submit and status would spend on data they never open.
    from sklearn.datasets import load_digits as load_sklearn_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_sklearn_digits(return_X_y=True)
    small = torch.from_numpy(pixels).to(torch.float32).view(-1, 1, 8, 8) * (255 / 16)  # ink is 0..16
    images = F.interpolate(small, size=(28, 28), mode="bilinear").round().to(torch.uint8)
    train, test = train_test_split(range(len(labels)), test_size=_TEST_IMAGES, stratify=labels, random_state=0)
    targets = torch.from_numpy(labels).to(torch.int64)
    return {"train": Arrays(images[train], targets[train]), "test": Arrays(images[test], targets[test])}
