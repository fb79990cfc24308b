"""Steps of an optimiser with and without masks, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from suite.config import Recipe
from suite.masked import masked_step
from suite.quant.layer import Layer
from suite.train import make_optimizer

SHAPES = (
    (24, 16, 3, 3),
    (70_001, 3),
    (50,),
)  # the last one has no mask; the second has an odd length and several chunks


@dataclass
class Run:
    weights: list[nn.Parameter]
    starts: list[Tensor]
    masks: list[Tensor]  # true: frozen
    optimizer: Optimizer
    step: Callable[[], object]
    random: torch.Generator

    @staticmethod
    def of(recipe: Recipe, *, masked: bool, device: str = "cpu", layout: torch.memory_format | None = None) -> Run:
        random = torch.Generator().manual_seed(3)
        starts = [torch.randn(shape, generator=random).to(device) * 0.1 for shape in SHAPES]
        starts[0] = starts[0].to(memory_format=layout or torch.contiguous_format)
        starts[1][:100] = -0.0
        weights = [nn.Parameter(start.clone()) for start in starts]
        layers = [Layer.untouched(weight) for weight in weights[:2]]
        for layer in layers:
            layer.frozen = (torch.rand(layer.weight.shape, generator=random) < 0.5).to(device)
        optimizer = make_optimizer(list(weights), recipe)
        step = masked_step(optimizer, layers) if masked else optimizer.step
        return Run(weights, starts, [layer.frozen for layer in layers], optimizer, step, random)

    def go(self, steps: int) -> None:
        for _ in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.97
            for weight in self.weights:
                gradient = torch.randn(weight.shape, generator=self.random).to(weight.device)
                weight.grad = torch.empty_like(weight, requires_grad=False).copy_(gradient)
            self.step()


def check(masked: Run, plain: Run) -> None:
    """Frozen weights hold their bits, free ones are those of the plain run to rounding, those without mask are the same."""
    for weight, other, start, frozen in zip(masked.weights, plain.weights, masked.starts, masked.masks, strict=False):
        bits, before = weight.detach().view(torch.int32), start.view(torch.int32)
        assert torch.equal(bits[frozen], before[frozen])
        assert bool((other != start)[frozen].all())  # the plain run does move them
        assert bool((weight != start)[~frozen].all())
        torch.testing.assert_close(weight[~frozen], other[~frozen], rtol=1e-5, atol=2e-6)
    assert torch.equal(masked.weights[2], plain.weights[2])
