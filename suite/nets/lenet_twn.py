"""The network of TWN on MNIST, after the authors' code (github fengfu-chris/caffe-twns, examples/mnist/lenet_tn.prototxt)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from suite.nets.lenet_caffe import pooled_twice


class LeNetTWN(nn.Sequential):
    """(B, channels, size, size) -> (B, classes): a wider LeNet with batch normalisation, 583,242 parameters on MNIST.

    Deviation: PyTorch's initialisation instead of Xavier's. Full precision; the ternary weights are the method's part.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        side = pooled_twice(size)
        layers: dict[str, nn.Module] = {
            "conv1": nn.Conv2d(channels, 32, 5),
            "bn1": nn.BatchNorm2d(32),
            "relu1": nn.ReLU(inplace=True),
            "pool1": nn.MaxPool2d(2, ceil_mode=True),
            "conv2": nn.Conv2d(32, 64, 5),
            "bn2": nn.BatchNorm2d(64),
            "relu2": nn.ReLU(inplace=True),
            "pool2": nn.MaxPool2d(2, ceil_mode=True),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(64 * side * side, 512),
            "bn3": nn.BatchNorm1d(512),
            "relu3": nn.ReLU(inplace=True),
            "fc2": nn.Linear(512, classes),
        }
        super().__init__(OrderedDict(layers))
