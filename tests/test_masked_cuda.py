"""Masked optimiser steps by the kernels for GPUs."""

from __future__ import annotations

import pytest
import torch

from suite import masked
from suite.config import Recipe
from tests.masked_steps import Run, check

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_frozen_weights_keep_their_bits_on_a_gpu(
    optimizer: str, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(masked, "LARGE", 0)
    recipe = Recipe.model_validate({"optimizer": optimizer, "learning_rate": 0.01, "weight_decay": 0.1})
    ours, plain = (Run.of(recipe, masked=each, device="cuda", layout=layout) for each in (True, False))
    for run in (ours, plain):
        run.go(20)
    assert isinstance(ours.step, masked._Skipping)
    check(ours, plain)
