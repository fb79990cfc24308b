"""scikit-learn's handwritten digits: real data that needs no download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from suite.data.memory import Arrays
from suite.data.source import Split

_TEST_IMAGES = (54, 55, 53, 55, 54, 55, 54, 54, 52, 54)  # of each digit, of 1,797 images


def load_digits() -> dict[Split, Arrays]:
    """1,257 training and 540 test images, stratified, enlarged from 8x8 to MNIST's 28x28 so that its networks fit."""
    table = np.loadtxt(_file(), dtype=np.uint8, delimiter=",")  # a row an image: pixels, label
    pixels, labels = table[:, :-1], table[:, -1]
    small = torch.from_numpy(pixels).to(torch.float32).view(-1, 1, 8, 8) * (255 / 16)  # ink is 0..16
    images = F.interpolate(small, size=(28, 28), mode="bilinear").round().to(torch.uint8)
    targets = torch.from_numpy(labels).to(torch.int64)
    train, test = map(torch.from_numpy, _split(labels))
    return {"train": Arrays(images[train], targets[train]), "test": Arrays(images[test], targets[test])}


def _file() -> Path:
    """Read without scikit-learn: to import that, as every process that trains would, takes seconds."""
    found = find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _split(labels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices of the training and of the test images: those of scikit-learn's `train_test_split`, stratified, of seed 0."""
    draws = np.random.RandomState(0)
    draws.permutation(2)  # scikit-learn's: in which order 4 and 6, which are equally many, give one more to training
    train, test = [], []
    for digit, count in enumerate(_TEST_IMAGES):
        images = draws.permutation(np.flatnonzero(labels == digit))
        train.append(images[:-count])
        test.append(images[-count:])
    return draws.permutation(np.concatenate(train)), draws.permutation(np.concatenate(test))
