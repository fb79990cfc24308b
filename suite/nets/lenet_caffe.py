"""Caffe's LeNet (examples/mnist/lenet_train_test.prototxt): the "LeNet-5" of Deep Compression. 431,080 parameters on MNIST."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def pooled_twice(size: int) -> int:
    """Side after two 5x5 convolutions without padding, each with a 2x2 pool that rounds up as Caffe does: 28 -> 4."""
    for _ in range(2):
        size = (size - 4 + 1) // 2
    return size


class LeNetCaffe(nn.Sequential):
    """(B, channels, size, size) -> (B, classes). As in Caffe, only the first full layer has a ReLU; there is no dropout.

    Caffe's inner products ip1 and ip2 are fc1 and fc2 here. Deviations: PyTorch's initialisation instead of Xavier's; biases
    learn as fast as weights.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        side = pooled_twice(size)
        layers: dict[str, nn.Module] = {
            "conv1": nn.Conv2d(channels, 20, 5),
            "pool1": nn.MaxPool2d(2, ceil_mode=True),
            "conv2": nn.Conv2d(20, 50, 5),
            "pool2": nn.MaxPool2d(2, ceil_mode=True),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(50 * side * side, 500),
            "relu1": nn.ReLU(inplace=True),
            "fc2": nn.Linear(500, classes),
        }
        super().__init__(OrderedDict(layers))
