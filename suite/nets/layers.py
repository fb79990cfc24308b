"""Which weights of a network can be quantized."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

from suite.nets.registry import build_unseeded

_KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def quantizable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Layer name -> its weight, for convolutions and linear layers in module order; a shared weight appears once.

    Biases and batch normalisation are never quantized (released SLQ code: blob 0 of a layer only).
    """
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for name, module in model.named_modules():
        if isinstance(module, _KINDS):
            weight = module.get_parameter("weight")
            found.setdefault(id(weight), (name, weight))
    return dict(found.values())


@lru_cache
def layer_names(name: str, channels: int, size: int, classes: int) -> tuple[str, ...]:
    """Names of the quantizable layers, found without allocating a weight; UserError as `build_network`."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return tuple(quantizable(build_unseeded(name, channels, size, classes)))
