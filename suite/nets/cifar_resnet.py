"""ResNet for CIFAR (He et al. 2016, section 4.2): groups of 16, 32 and 64 channels, depth 6n + 2, option A.

Module names and the centred zero padding follow akamaster/pytorch_resnet_cifar10, so that its published weights load.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class _Block(nn.Module):
    """Two 3x3 convolutions around a shortcut without parameters (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self._stride = stride
        self._padding = (outputs - inputs) // 2  # new channels on either side

    def _shortcut(self, x: Tensor) -> Tensor:
        if self._stride == 1 and not self._padding:
            return x
        return F.pad(x[:, :, :: self._stride, :: self._stride], (0, 0, 0, 0, self._padding, self._padding))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y + self._shortcut(x), inplace=True)


def _group(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [_Block(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(_Block(inputs, outputs, stride), *rest)


def _initialise(module: nn.Module) -> None:
    """He et al. 2015, normal, fan in."""
    # On the meta device there is nothing to fill, and normal_ would import 1.7 s of torch's Python decompositions.
    if isinstance(module, nn.Conv2d | nn.Linear) and not module.weight.is_meta:
        nn.init.kaiming_normal_(module.weight)


class CifarResNet(nn.Module):
    """(B, channels, size, size) -> (B, classes); global pooling makes it fit every size."""

    def __init__(self, depth: int, channels: int, size: int, classes: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _group(16, 16, blocks, stride=1)
        self.layer2 = _group(16, 32, blocks, stride=2)
        self.layer3 = _group(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits
