"""A method carried out on a small network that the tests build themselves, without ledger, evaluation or files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suite.masked import masked_step
from suite.methods import Method
from suite.methods.base import Net
from suite.nets import quantizable
from suite.quant.layer import Layer
from suite.train import Recipe, make_optimizer, plain, seen_through, trainable

BATCH, STEPS = 8, 3


@dataclass
class Ran:
    """What came out."""

    layers: dict[str, Layer]
    moved: set[str]  # layers of which a weight or a learned tensor changed in re-training


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def carry_out(
    method: Method,
    model: nn.Module,
    inputs: Tensor,
    *,
    live: dict[str, Tensor] | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    after_phase: Callable[[dict[str, Layer], dict[str, Tensor]], None] = lambda layers, before: None,
) -> Ran:
    """All stages with a few steps of re-training in between. `after_phase` gets the layers and their weights before the phase."""
    recipe = recipe or Recipe(learning_rate=0.01, weight_decay=0.1)
    torch.manual_seed(0)
    labels = torch.arange(BATCH) % 3
    weights = quantizable(model)
    layers = {name: Layer.untouched(weights[name], (live or {}).get(name)) for name in method.select(list(weights))}

    def loss() -> float:
        with torch.inference_mode():
            return float(F.cross_entropy(model(inputs).float(), labels))

    def sample(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield inputs[:count], labels[:count]

    net = Net(layers, loss, seed, model, sample)
    stages, moved = method.stages(len(layers)), set[str]()
    for stage in range(stages):
        method.quantize(stage, net)
        if stage < stages - 1:
            before = {name: layer.weight.detach().clone() for name, layer in layers.items()}
            moved |= _retrain(method, stage, model, layers, inputs, labels, recipe)
            moved |= {name for name, layer in layers.items() if not torch.equal(layer.weight, before[name])}
            after_phase(layers, before)
    return Ran(layers, moved)


def _retrain(
    method: Method,
    stage: int,
    model: nn.Module,
    layers: dict[str, Layer],
    inputs: Tensor,
    labels: Tensor,
    recipe: Recipe,
) -> set[str]:
    """Returns the layers whose learned tensors moved."""
    learned = [tensor for layer in layers.values() for tensor in layer.learned.values()]
    before = {name: [t.detach().clone() for t in layer.learned.values()] for name, layer in layers.items()}
    parameters = trainable(model, layers, lambda name: True)
    optimizer = make_optimizer(parameters, recipe, learned, method.learned_rate(stage))
    masked = masked_step(optimizer, layers.values())
    forward = seen_through(model, lambda progress: method.through(stage, layers, progress), plain(model))
    model.train()
    for step in range(STEPS):
        logits, penalty = forward(inputs, step / STEPS)
        total = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        (total if penalty is None else total + penalty).backward()
        masked()
    model.eval()
    pairs = {name: zip(layer.learned.values(), before[name], strict=True) for name, layer in layers.items()}
    return {name for name, each in pairs.items() if any(not torch.equal(now, then) for now, then in each)}
