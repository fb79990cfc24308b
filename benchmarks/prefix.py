"""The losses of quantizing each of 17 clusters alone in each layer: with shared computations, and one forward pass for each.

python benchmarks/prefix.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from suite.methods.base import Net
from suite.methods.slq import cluster_impacts
from suite.nets import build_network, quantizable
from suite.quant.init import codebook_size
from suite.quant.layer import Layer
from suite.tape import Changes, changed_outputs, one_by_one

BITS = 5  # 17 clusters
CASES = [("resnet20", 32, 16), ("resnet18", 64, 8)]  # network, size and number of images
COUNTED = ("conv", "linear", "addmm")


class Counter(TorchDispatchMode):
    """Counts convolutions and linear layers that are evaluated."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        self.count += any(name in str(func) for name in COUNTED)
        return func(*args, **(kwargs or {}))


def measure(network: str, size: int, batch: int) -> None:
    model = build_network(network, 3, size, 10, seed=0).eval()
    images, labels = torch.randn(batch, 3, size, size), torch.randint(10, (batch,))

    def loss_of(logits: Tensor) -> float:
        return float(F.cross_entropy(logits, labels, reduction="sum").double()) / batch

    def loss() -> float:
        return loss_of(model(images))

    def shared(changes: Changes) -> list[list[float]]:
        totals = [[0.0] * len(each) for _, each in changes]
        for i, j, logits in changed_outputs(model, model, images, changes):
            totals[i][j] = loss_of(logits)
        return totals

    layers = {name: Layer.untouched(weight) for name, weight in quantizable(model).items()}
    for layer in layers.values():
        values = layer.values().double()
        layer.start(torch.linspace(float(values.min()), float(values.max()), codebook_size(BITS)))
        layer.recluster(torch.ones_like(layer.fixed), 3)
    ways: dict[str, Callable[[Changes], list[list[float]]]] = {
        "one pass each": lambda changes: one_by_one(loss, changes),
        "shared": shared,
    }
    found, counts, seconds = {}, {}, {}
    for way, losses in ways.items():
        net = Net(layers, loss, 0, nn.Module(), losses=losses)
        with torch.inference_mode():
            start = time.perf_counter()
            found[way] = cluster_impacts(net)
            seconds[way] = time.perf_counter() - start
    images, labels = images[:1], labels[:1]  # for counting, the size does not matter
    for way, losses in ways.items():
        net = Net(layers, loss, 0, nn.Module(), losses=losses)
        with torch.inference_mode(), Counter() as counter:
            cluster_impacts(net)
        counts[way] = counter.count
    same = all(torch.equal(found["shared"][name], found["one pass each"][name]) for name in layers)
    depth = len(layers)
    for way in ways:
        ratios = f"{counts['one pass each'] / counts[way]:.2f} | {seconds['one pass each'] / seconds[way]:.2f}"
        equal = "yes" if same else "NO"
        print(f"| {network} | {depth} | {way} | {counts[way]} | {seconds[way]:.1f} | {ratios} | {equal} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    print("| network | layers | losses | evaluations of a layer | s | fewer evaluations, × | faster, × | same bits |")
    print("|:--|--:|:--|--:|--:|--:|--:|:--|", flush=True)
    for network, size, batch in CASES:
        measure(network, size, batch)
    print(
        "\nIn a chain of L layers, a change in layer i leaves i - 1 of them alone: at most 2L/(L + 1) times fewer evaluations."
    )


if __name__ == "__main__":
    main()
