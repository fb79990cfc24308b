"""LeNet-300-100 (LeCun et al. 1998): two hidden layers of 300 and 100 units. 266,610 parameters on MNIST."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


class LeNet300(nn.Sequential):
    """(B, channels, size, size) -> (B, classes). ReLU between the layers and no dropout: this suite's choice."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        layers: dict[str, nn.Module] = {
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(channels * size * size, 300),
            "relu1": nn.ReLU(inplace=True),
            "fc2": nn.Linear(300, 100),
            "relu2": nn.ReLU(inplace=True),
            "fc3": nn.Linear(100, classes),
        }
        super().__init__(OrderedDict(layers))
