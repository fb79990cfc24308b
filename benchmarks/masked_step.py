"""What freezing weights costs: training steps with and without `Frozen.restore`, alternating, half of the weights frozen.

python benchmarks/masked_step.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from suite.config import Recipe
from suite.nets import build_network, quantizable
from suite.quant.layer import Layer
from suite.train import Frozen, make_optimizer

CASES = [("lenet5", 1, 28, 128), ("resnet20", 3, 32, 128), ("resnet18", 3, 224, 16)]
ROUNDS = 7


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(network: str, channels: int, size: int, batch: int) -> tuple[float, float, float]:
    """Medians in ms: whole step without restoring; the optimiser's step alone; restoring alone."""
    model = build_network(network, channels, size, 10, seed=0)
    images, labels = torch.randn(batch, channels, size, size), torch.randint(10, (batch,))
    layers = [Layer.untouched(weight) for weight in quantizable(model).values()]
    for layer in layers:
        layer.frozen = torch.rand_like(layer.weight) < 0.5
    optimizer, frozen = make_optimizer(list(model.parameters()), Recipe()), Frozen(layers)

    def forward_backward() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()

    rounds = [(timed(forward_backward), timed(optimizer.step), timed(frozen.restore)) for _ in range(ROUNDS + 3)][3:]
    passes, steps, restores = (1000 * statistics.median(column) for column in zip(*rounds, strict=True))
    return passes + steps, steps, restores


def main() -> None:
    torch.set_num_threads(1)
    print("| network | batch | training step, ms | optimiser's part, ms | restoring, ms | cost of freezing |")
    print("|:--|--:|--:|--:|--:|--:|")
    for network, channels, size, batch in CASES:
        step, optimizer, restore = measure(network, channels, size, batch)
        print(f"| {network} | {batch} | {step:.2f} | {optimizer:.2f} | {restore:.3f} | {restore / step:.1%} |")


if __name__ == "__main__":
    main()
