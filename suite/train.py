"""The masked training loop: a pure function of weights, seed and step number, so that it can stop and go on at any step.

Everything random about a step (data order, augmentation, dropout) is drawn from the seed and the number of the step, never from
a generator that lives from step to step; a checkpoint therefore needs weights, optimiser and position, and resumes bit-exactly.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer

from suite.config import Recipe
from suite.data import BatchRequest, DataSource
from suite.quant.layer import Layer

HOLDOUT_SEED = 0  # of the split of the training images: the same for all trials
AUGMENT, DROPOUT, ORDER = range(3)  # purposes of randomness


def mix(*numbers: int) -> int:
    """A seed from several numbers."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = ((state ^ number) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**64
        state ^= state >> 31
    return state % 2**63


def make_deterministic(threads: int) -> None:
    """Let equal inputs give equal bits in this process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA is first used
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


@dataclass(frozen=True)
class TrainingData:
    """The training images of a source, without those held out for measuring losses."""

    source: DataSource
    used: Tensor  # (N,) int64
    held_out: Tensor  # (H,) int64

    @staticmethod
    def split(source: DataSource, holdout: int) -> TrainingData:
        """Raises ValueError if nothing is left to train on."""
        count = source.count("train")
        if holdout >= count:
            raise ValueError(f"holdout {holdout} leaves nothing of the {count} training images; choose a smaller one")
        shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(HOLDOUT_SEED))
        return TrainingData(source, shuffled[holdout:], shuffled[:holdout])

    def steps_per_epoch(self, batch_size: int) -> int:
        """Whole batches only: the few images left over differ from epoch to epoch."""
        return max(1, len(self.used) // batch_size)

    def steps(self, recipe: Recipe) -> int:
        """Training steps of the recipe's epochs."""
        return round(recipe.epochs * self.steps_per_epoch(recipe.batch_size))

    def epochs(self, batch_size: int, seed: int, first: int, count: int) -> Iterator[list[BatchRequest]]:
        """Batches number `first` to `first + count` of an endless stream of shuffled epochs, an epoch at a time."""
        size, end = self.steps_per_epoch(batch_size), first + count
        for epoch in range(first // size, math.ceil(end / size)):
            order = torch.Generator().manual_seed(mix(seed, ORDER, epoch))
            shuffled = self.used[torch.randperm(len(self.used), generator=order)]
            batches = torch.split(shuffled, batch_size)
            numbers = range(max(first, epoch * size), min(end, (epoch + 1) * size))
            yield [BatchRequest(batches[n - epoch * size], mix(seed, AUGMENT, n)) for n in numbers]


class Frozen:
    """Puts frozen weights back after each optimiser step, exactly, whatever momentum and decay did to them."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self._partly = [
            (layer.weight.data, layer.frozen, layer.weight.detach().clone())
            for layer in layers
            if bool(layer.frozen.any()) and not bool(layer.frozen.all())
        ]

    def restore(self) -> None:
        for weight, frozen, value in self._partly:
            torch.where(frozen, value, weight, out=weight)


def trainable(model: nn.Module, layers: dict[str, Layer], allowed: Callable[[str], bool]) -> list[nn.Parameter]:
    """Switch gradients on for what may move, off for the rest (wholly frozen layers too), and return what may move."""
    whole = {id(layer.weight) for layer in layers.values() if bool(layer.frozen.all())}
    quantized = {id(layer.weight) for layer in layers.values()}
    for name, parameter in model.named_parameters():
        moves = id(parameter) not in whole and (id(parameter) in quantized or allowed(name))
        parameter.requires_grad_(moves)
    return [p for p in model.parameters() if p.requires_grad]


def make_optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> Optimizer:
    """A fresh optimiser."""
    if recipe.optimizer == "adam":
        return Adam(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    return SGD(parameters, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True)


def learning_rate(recipe: Recipe, done: int, steps: int) -> float:
    """The rate of the step after `done` of `steps` steps."""
    part = done / steps
    match recipe.schedule:
        case "constant":
            return recipe.learning_rate
        case "cosine":
            return recipe.learning_rate * (1 + math.cos(math.pi * part)) / 2
        case "step":
            return recipe.learning_rate * recipe.gamma ** sum(part >= m for m in recipe.milestones)


@dataclass
class Phase:
    """One uninterrupted stretch of training (a baseline, or the re-training of a stage), and how far it is."""

    first: int  # number of its first step in the whole trial
    steps: int
    done: int = 0
    totals: Tensor = field(
        default_factory=lambda: torch.zeros(3, dtype=torch.float64)
    )  # loss, correct, images since a report

    def report(self) -> dict[str, float]:
        """Mean training loss and accuracy since the last report."""
        loss, correct, images = self.totals.tolist()
        self.totals.zero_()
        return {"loss": loss / images, "accuracy": correct / images}


@dataclass(frozen=True)
class Compute:
    """Where and how forward passes run."""

    device: torch.device
    bfloat16: bool

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)


def train(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    optimizer: Optimizer,
    frozen: Frozen,
    data: TrainingData,
    recipe: Recipe,
    seed: int,
    phase: Phase,
    compute: Compute,
    after_step: Callable[[float], None],
) -> None:
    """Run the rest of a phase.

    Args:
        forward: the model or its compiled form.
        after_step: called with the learning rate after every step, when all state is consistent; its exceptions pass through.
    """
    model.train()
    phase.totals = phase.totals.to(compute.device)
    for epoch in data.epochs(recipe.batch_size, seed, phase.first + phase.done, phase.steps - phase.done):
        for images, labels in data.source.batches("train", epoch, compute.device):
            rate = learning_rate(recipe, phase.done, phase.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(mix(seed, DROPOUT, phase.first + phase.done))
            _step(forward, optimizer, images, labels, phase.totals, compute)
            frozen.restore()
            phase.done += 1
            after_step(rate)


def _step(
    forward: Callable[[Tensor], Tensor],
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    totals: Tensor,
    compute: Compute,
) -> None:
    with compute.autocast():
        logits = forward(images)
    loss = F.cross_entropy(logits.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    count = len(labels)
    correct = (logits.detach().argmax(1) == labels).sum()
    totals += torch.stack([loss.detach().double() * count, correct.double(), totals.new_tensor(float(count))])
