"""What freezing weights costs: the optimiser's step with half of each layer frozen, and the whole training step, side by side.

python benchmarks/masked_step.py [--cuda]
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suite import masked
from suite.config import Recipe
from suite.masked import masked_step
from suite.nets import build_network, quantizable
from suite.quant.layer import Layer
from suite.train import make_optimizer

SECONDS = 10.0  # for each comparison
NETWORK, CLASSES = "resnet18", 1000
BATCHES = {"cpu": (16, 160), "cuda": (256, 224)}  # images and their size, of the whole training step

WAYS = {
    "fused, nothing frozen": "",
    "this suite": "exact",
    "fused, then torch.where": "exact",
    "gradients masked, then fused": "NOT exact: momentum and decay move what is frozen",
}


class Case:
    """A network, its optimiser and one way to step."""

    def __init__(self, way: str, optimizer: str, device: str) -> None:
        self.model: nn.Module = build_network(NETWORK, 3, 224, CLASSES, seed=0).to(device)
        self.optimizer = make_optimizer(list(self.model.parameters()), Recipe.model_validate({"optimizer": optimizer}))
        self.layers = [Layer.untouched(weight) for weight in quantizable(self.model).values()]
        random = torch.Generator().manual_seed(0)
        for layer in self.layers:
            layer.frozen = (torch.rand(layer.weight.shape, generator=random) < 0.5).to(device)
        self.gradients = [torch.randn_like(p, requires_grad=False) for p in self.model.parameters()]
        self._step = self._by(way)

    def _by(self, way: str) -> Callable[[], object]:
        if way == "this suite":
            return masked_step(self.optimizer, self.layers)
        if way == "fused, then torch.where":
            large, masked.LARGE = masked.LARGE, 10**12
            try:
                return masked_step(self.optimizer, self.layers)
            finally:
                masked.LARGE = large
        return self._masking_gradients if way.startswith("gradients") else self.optimizer.step

    def _masking_gradients(self) -> None:
        for layer in self.layers:
            if layer.weight.grad is not None:
                layer.weight.grad.masked_fill_(layer.frozen, 0)
        self.optimizer.step()

    def step(self) -> None:
        for parameter, gradient in zip(self.model.parameters(), self.gradients, strict=True):
            parameter.grad = gradient
        self._step()

    def train(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(self.model(images), labels).backward()  # type: ignore[no-untyped-call]
        self._step()


def milliseconds(actions: list[Callable[[], object]], device: str) -> list[float]:
    """The least time of each, taken in turns."""
    times: list[list[float]] = [[] for _ in actions]
    for action in actions * 3:
        action()
    end = time.perf_counter() + SECONDS
    for round_ in itertools.count():
        for action, found in zip(actions, times, strict=True):
            found.append(_timed(action, device))
        if round_ >= 2 and time.perf_counter() > end:
            break
    return [1000 * min(found) for found in times]


def _timed(action: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def steps(device: str, threads: list[int]) -> Iterator[str]:
    for optimizer, count in itertools.product(("sgd", "adam"), threads):
        torch.set_num_threads(count)
        cases = [Case(way, optimizer, device) for way in WAYS]
        found = milliseconds([case.step for case in cases], device)
        for (way, remark), ms in zip(WAYS.items(), found, strict=True):
            yield f"| {optimizer} | {count} | {way} | {ms:.2f} | {ms / found[0]:.2f} | {remark} |"


def training(device: str, threads: list[int]) -> Iterator[str]:
    batch, size = BATCHES[device]
    images, labels = torch.randn(batch, 3, size, size).to(device), torch.randint(CLASSES, (batch,)).to(device)
    for count in threads:
        torch.set_num_threads(count)
        cases = [Case(way, "sgd", device) for way in list(WAYS)[:3]]
        found = milliseconds([lambda case=case: case.train(images, labels) for case in cases], device)
        for way, ms in zip(WAYS, found, strict=False):
            yield f"| {count} | {batch} × {size}² | {way} | {ms:.1f} | {ms / found[0]:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuda", action="store_true", help="measure on the GPU")
    device = "cuda" if parser.parse_args().cuda else "cpu"
    threads = [1] if device == "cuda" else [2, 1]
    print(
        "| optimiser | threads | step | ms, least | ratio | frozen weights stay |\n|:--|--:|:--|--:|--:|:--|",
        flush=True,
    )
    for line in steps(device, threads):
        print(line, flush=True)
    print("\n| threads | batch | training step (SGD) | ms, least | ratio |\n|--:|:--|:--|--:|--:|", flush=True)
    for line in training(device, threads):
        print(line, flush=True)


if __name__ == "__main__":
    main()
