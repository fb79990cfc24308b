"""torchvision's ImageNet networks. torchvision takes 2 s to import: only on first use."""

from __future__ import annotations

from typing import Any

from torch import nn

# The two auxiliary heads matter only to training from scratch and are no part of the 6,624,904 published weights.
# transform_input maps the usual normalisation to the one that the published GoogLeNet was trained with.
_GOOGLENET = {"aux_logits": False, "transform_input": True, "init_weights": True}


def build_torchvision(name: str, channels: int, size: int, classes: int) -> nn.Module:
    """torchvision's `name`, freshly initialised: (B, 3, size, size) -> (B, classes)."""
    from suite.vision import models

    extra: dict[str, Any] = _GOOGLENET if name == "googlenet" else {}
    model: nn.Module = models.get_model(name, weights=None, num_classes=classes, **extra)
    if name in ("alexnet", "vgg16") and size == 224:
        # Their adaptive pooling changes nothing at this size, and on CUDA it has no deterministic backward pass.
        model.avgpool = nn.Identity()
    return model


def weights_file(name: str) -> str:
    """The file name under which torchvision publishes (and torch.hub keeps) the weights IMAGENET1K_V1."""
    from suite.vision import models

    url: str = models.get_model_weights(name)["IMAGENET1K_V1"].url
    return url.rpartition("/")[2]
