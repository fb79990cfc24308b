"""LeNet-5 (LeCun et al. 1998) as it is trained today: ReLU, max pooling, dense conv2. 61,706 parameters on MNIST."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


class LeNet5(nn.Sequential):
    """(B, channels, size, size) -> (B, classes); conv1 pads by 2, so that 28 pixels act as the original's 32."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        side = (size // 2 - 4) // 2  # conv keeps the size, pool halves, conv takes 4 off, pool halves
        layers: dict[str, nn.Module] = {
            "conv1": nn.Conv2d(channels, 6, 5, padding=2),
            "relu1": nn.ReLU(inplace=True),
            "pool1": nn.MaxPool2d(2),
            "conv2": nn.Conv2d(6, 16, 5),
            "relu2": nn.ReLU(inplace=True),
            "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(16 * side * side, 120),
            "relu3": nn.ReLU(inplace=True),
            "fc2": nn.Linear(120, 84),
            "relu4": nn.ReLU(inplace=True),
            "fc3": nn.Linear(84, classes),
        }
        super().__init__(OrderedDict(layers))
