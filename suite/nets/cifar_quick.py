"""Caffe's cifar10_quick (examples/cifar10/cifar10_quick_train_test.prototxt): 145,578 parameters on CIFAR-10."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def _pooled(size: int) -> int:
    """Side after a 3x3 pool of stride 2, rounded up as Caffe does: ceil((size - 3) / 2) + 1."""
    return size // 2


class CifarQuick(nn.Sequential):
    """(B, channels, size, size) -> (B, classes).

    As in Caffe the first pool comes before its ReLU, and there is none between the two inner products. Caffe's
    initialisation (deviation 1e-4 in conv1) is for pixels of 0..255; inputs are normalised here: PyTorch's own is used.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        side = _pooled(_pooled(_pooled(size)))
        layers: dict[str, nn.Module] = {
            "conv1": nn.Conv2d(channels, 32, 5, padding=2),
            "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
            "relu1": nn.ReLU(inplace=True),
            "conv2": nn.Conv2d(32, 32, 5, padding=2),
            "relu2": nn.ReLU(inplace=True),
            "pool2": nn.AvgPool2d(3, 2, ceil_mode=True),
            "conv3": nn.Conv2d(32, 64, 5, padding=2),
            "relu3": nn.ReLU(inplace=True),
            "pool3": nn.AvgPool2d(3, 2, ceil_mode=True),
            "flatten": nn.Flatten(),
            "ip1": nn.Linear(64 * side * side, 64),
            "ip2": nn.Linear(64, classes),
        }
        super().__init__(OrderedDict(layers))
