"""torchvision, imported in this one place: `datasets`, `models` and `transforms`.

The registry's torchvision is built for CUDA. Beside a CPU-only torch its compiled extension cannot load, and importing
it raises "operator torchvision::nms does not exist" (pytorch/vision#9085). Models, transforms and data sets need none of
its operators, so declaring the two that it mentions at import is enough; `ops.nms` and its image codecs stay unusable.
"""

from __future__ import annotations

import importlib
import sys

import torch

_SCHEMA = "{}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# Declarations last as long as their library, so it lives in the module.
_operators = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]


def _declare_missing_operators() -> None:
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _operators.define(_SCHEMA.format(name))  # type: ignore[no-untyped-call]


def _forget_half_import() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def _prepare() -> None:
    """Make `import torchvision` work. Tried first: an extension that loads must find its operators undeclared."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if torch.version.cuda is not None or "torchvision::" not in str(error):
            raise
        _forget_half_import()
        _declare_missing_operators()


_prepare()

from torchvision import datasets, models, transforms  # noqa: E402

__all__ = ["datasets", "models", "transforms"]
