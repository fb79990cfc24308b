"""On a CUDA device the same bits as on the CPU, where the centres are found; codes are given on the device, by comparison."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from suite.quant import kmeans1d
from suite.quant.init import first_centres
from suite.quant.layer import Layer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def deterministic():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def drawn(count: int, degrees: float = 3.0) -> torch.Tensor:
    return torch.from_numpy((0.02 * np.random.default_rng(0).standard_t(degrees, count)).astype(np.float32))


@pytest.mark.parametrize("k", [3, 17, 32, 256, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_clusters_are_the_same(k: int, dtype: torch.dtype) -> None:
    weights = drawn(500_000).to(dtype).view(500, 1000)
    centres, codes = kmeans1d(weights, k)
    on_device = kmeans1d(weights.cuda(), k)
    assert on_device[0].is_cuda
    assert torch.equal(on_device[0].cpu(), centres)
    assert torch.equal(on_device[1].cpu(), codes)


def test_values_that_are_told_apart_are_the_same() -> None:
    weights = 1000 + 0.01 * drawn(300_000)
    here, there = kmeans1d(weights, 17), kmeans1d(weights.cuda(), 17)
    assert torch.equal(here[0], there[0].cpu())
    assert torch.equal(here[1], there[1].cpu())


def test_layers_are_quantized_alike() -> None:
    def staged(weight: torch.Tensor) -> list[torch.Tensor]:
        layer, states = Layer.untouched(weight.clone()), []
        layer.start(first_centres("ladder", layer.values(), 17, torch.Generator()))
        for stage in range(3):
            layer.recluster(~layer.fixed, 10)
            chosen = torch.zeros(17, dtype=torch.bool)
            chosen[stage * 5 : stage * 5 + 5] = True
            layer.fix(chosen)
            states += [layer.weight.cpu(), layer.codes.cpu(), layer.codebook, layer.frozen.cpu()]
        return states

    weight = drawn(1_200_000).view(1200, 1000)
    for ours, theirs in zip(staged(weight), staged(weight.cuda()), strict=True):
        assert torch.equal(ours, theirs)
