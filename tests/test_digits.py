"""The digits are scikit-learn's, without scikit-learn."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F

from suite.data.digits import load_digits


def test_are_split_as_scikit_learn_does() -> None:
    from sklearn.datasets import load_digits as load_sklearn_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_sklearn_digits(return_X_y=True)
    small = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) * (255 / 16)
    images = F.interpolate(small, size=(28, 28), mode="bilinear").round().to(torch.uint8)
    train, test = train_test_split(range(len(labels)), test_size=540, stratify=labels, random_state=0)
    ours = load_digits()
    assert torch.equal(ours["train"].images, images[train])
    assert torch.equal(ours["test"].images, images[test])
    assert ours["train"].labels.tolist() == labels[train].tolist()
    assert ours["test"].labels.tolist() == labels[test].tolist()


def test_scikit_learn_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds, in every process that trains."""
    for name in ("sklearn.datasets", "sklearn.model_selection"):
        monkeypatch.setitem(sys.modules, name, None)
    load_digits()
