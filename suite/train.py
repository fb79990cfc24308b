"""The masked training loop: a pure function of weights, seed and step number, so that it can stop and go on at any step.

Everything random about a step (data order, augmentation, dropout) is drawn from the seed and the number of the step, never from
a generator that lives from step to step; a checkpoint therefore needs weights, optimiser and position, and resumes bit-exactly.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer

from suite.config import Recipe
from suite.data import BatchRequest, DataSource
from suite.methods.base import Through
from suite.quant.layer import Layer

HOLDOUT_SEED = 0  # of the split of the training images: the same for all trials
AUGMENT, DROPOUT, ORDER = range(3)  # purposes of randomness
_SAMPLE_BATCH = 256


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

    def sample(self, count: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the same `count` training images, or of all if there are fewer, without augmentation."""
        requests = [BatchRequest(part, None) for part in torch.split(self.used[:count], _SAMPLE_BATCH)]
        return self.source.batches("train", requests, device)

    def epochs(self, batch_size: int, seed: int, first: int, count: int) -> Iterator[list[BatchRequest]]:
        """Batches number `first` to `first + count` of an endless stream of shuffled epochs, an epoch at a time."""
        size, end = self.steps_per_epoch(batch_size), first + count
        for epoch in range(first // size, math.ceil(end / size)):
            order = torch.Generator().manual_seed(mix(seed, ORDER, epoch))
            shuffled = self.used[torch.randperm(len(self.used), generator=order)]
            batches = torch.split(shuffled, batch_size)
            numbers = range(max(first, epoch * size), min(end, (epoch + 1) * size))
            yield [BatchRequest(batches[n - epoch * size], mix(seed, AUGMENT, n)) for n in numbers]


def trainable(model: nn.Module, layers: dict[str, Layer], allowed: Callable[[str], bool]) -> list[nn.Parameter]:
    """Switch gradients on for what may move, off for the rest (wholly frozen layers too), and return what may move."""
    whole = {id(layer.weight) for layer in layers.values() if bool(layer.frozen.all())}
    quantized = {id(layer.weight) for layer in layers.values()}
    for name, parameter in model.named_parameters():
        moves = id(parameter) not in whole and (id(parameter) in quantized or allowed(name))
        parameter.requires_grad_(moves)
    return [p for p in model.parameters() if p.requires_grad]


def make_optimizer(
    parameters: list[nn.Parameter], recipe: Recipe, learned: Sequence[Tensor] = (), learned_rate: float = 1.0
) -> Optimizer:
    """A fresh optimiser. `learned` tensors have `learned_rate` times the learning rate, and no weight decay."""
    groups = [
        {"params": parameters, "weight_decay": recipe.weight_decay, "factor": 1.0},
        {"params": list(learned), "weight_decay": 0.0, "factor": learned_rate},
    ]
    present = [group for group in groups if group["params"]]
    if recipe.optimizer == "adam":
        return Adam(present, lr=recipe.learning_rate, fused=True)
    return SGD(present, recipe.learning_rate, momentum=recipe.momentum, fused=True)


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


# Images and the part of the phase that is done, 0 to 1 -> logits, and what is added to the loss.
Forward = Callable[[Tensor, float], tuple[Tensor, Tensor | None]]


def plain(model: Callable[[Tensor], Tensor]) -> Forward:
    """The forward pass of a network, or of its compiled form, as it is."""
    return lambda images, progress: (model(images), None)


def seen_through(model: nn.Module, see: Callable[[float], Through | None], as_is: Forward) -> Forward:
    """The forward pass of a network with what `see(progress)` gives in place of its weights, `as_is` where that is None."""

    def forward(images: Tensor, progress: float) -> tuple[Tensor, Tensor | None]:
        seen = see(progress)
        if seen is None:
            return as_is(images, progress)
        weights = {f"{name}.weight": weight for name, weight in seen.weights.items()}
        return functional_call(model, weights, (images,)), seen.penalty

    return forward


def train(
    model: nn.Module,
    forward: Forward,
    optimizer: Optimizer,
    step: Callable[[], object],
    data: TrainingData,
    recipe: Recipe,
    seed: int,
    phase: Phase,
    compute: Compute,
    after_step: Callable[[float], None],
) -> None:
    """Run the rest of a phase.

    Args:
        forward: the model, its compiled form, or the model seen through a quantizer.
        step: the optimiser's step, or that of `masked_step`.
        after_step: called with the learning rate after every step, when all state is consistent; its exceptions pass through.
    """
    model.train()
    phase.totals = phase.totals.to(compute.device)
    for epoch in data.epochs(recipe.batch_size, seed, phase.first + phase.done, phase.steps - phase.done):
        for images, labels in data.source.batches("train", epoch, compute.device):
            rate = learning_rate(recipe, phase.done, phase.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            torch.manual_seed(mix(seed, DROPOUT, phase.first + phase.done))
            _backward(forward, optimizer, images, labels, phase, compute)
            step()
            phase.done += 1
            after_step(rate)


def _backward(
    forward: Forward, optimizer: Optimizer, images: Tensor, labels: Tensor, phase: Phase, compute: Compute
) -> None:
    """Gradients of a batch, and its part of the phase's totals."""
    with compute.autocast():
        logits, penalty = forward(images, phase.done / phase.steps)
    loss = F.cross_entropy(logits.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    (loss if penalty is None else loss + penalty).backward()  # type: ignore[no-untyped-call]
    count = len(labels)
    correct = (logits.detach().argmax(1) == labels).sum()
    phase.totals += torch.stack([loss.detach().double() * count, correct.double(), phase.totals.new_tensor(count)])
