"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from suite.errors import UserError, choices
from suite.nets.cifar_quick import CifarQuick
from suite.nets.cifar_resnet import CifarResNet
from suite.nets.imagenet import build_torchvision
from suite.nets.lenet import LeNet5
from suite.nets.lenet_300_100 import LeNet300
from suite.nets.lenet_caffe import LeNetCaffe
from suite.nets.lenet_twn import LeNetTWN


@dataclass(frozen=True)
class Network:
    """An architecture that fits itself to images of `channels` x `size` x `size` and a number of classes."""

    name: str
    title: str  # for tables
    build: Callable[[int, int, int], nn.Module]  # (channels, size, classes) -> freshly initialised
    published: str | None = None  # file stem of published weights
    min_size: int = 1  # pixels; below it a feature map would be empty
    colour_only: bool = False  # takes three channels and nothing else


def _cifar_resnet(depth: int) -> Network:
    published = f"cifar10-resnet{depth}" if depth in _PUBLISHED_DEPTHS else None
    return Network(f"resnet{depth}", f"ResNet-{depth}", partial(CifarResNet, depth), published)


def _torchvision(name: str, title: str, min_size: int) -> Network:
    return Network(name, title, partial(build_torchvision, name), f"imagenet-{name}", min_size, colour_only=True)


_PUBLISHED_DEPTHS = (20, 32, 44, 56)  # by akamaster/pytorch_resnet_cifar10; 8 is this suite's small sibling
_ALL = (
    Network("lenet-300-100", "LeNet-300-100", LeNet300),
    Network("lenet5", "LeNet-5", LeNet5, min_size=12),
    Network("lenet5-caffe", "LeNet-5 (Caffe)", LeNetCaffe, min_size=13),
    Network("lenet-twn", "LeNet (TWN)", LeNetTWN, min_size=13),
    Network("cifar10-quick", "CIFAR-10 quick", CifarQuick, min_size=8),
    *map(_cifar_resnet, (8, *_PUBLISHED_DEPTHS)),
    # Smallest sizes from torchvision's own table.
    _torchvision("alexnet", "AlexNet", 63),
    _torchvision("vgg16", "VGG-16", 32),
    _torchvision("googlenet", "GoogLeNet", 15),
    _torchvision("resnet18", "ResNet-18", 1),
)
NETWORKS: dict[str, Network] = {network.name: network for network in _ALL}


def find_network(name: str) -> Network:
    """The network called `name`; UserError if there is none."""
    if name not in NETWORKS:
        raise UserError(f"unknown network {name!r}{choices(name, NETWORKS)}")
    return NETWORKS[name]


def build_unseeded(name: str, channels: int, size: int, classes: int) -> nn.Module:
    """Build with the random state and on the device that hold now; UserError if the images do not suit the network."""
    network = find_network(name)
    if size < network.min_size:
        raise UserError(
            f"{name} needs images of at least {network.min_size} pixels, not {size}; {_fitting(channels, size)}"
        )
    if network.colour_only and channels != 3:
        raise UserError(f"{name} needs images of 3 channels, not {channels}; {_fitting(channels, size)}")
    return network.build(channels, size, classes)


def _fitting(channels: int, size: int) -> str:
    """The next step after a misfit: which networks do take such images."""
    fits = [n.name for n in _ALL if size >= n.min_size and (channels == 3 or not n.colour_only)]
    return f"networks for these images: {', '.join(fits)}"


def build_network(name: str, channels: int, size: int, classes: int, seed: int) -> nn.Module:
    """A freshly initialised network on the CPU, fixed by the arguments; torch's own random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too
        return build_unseeded(name, channels, size, classes)
