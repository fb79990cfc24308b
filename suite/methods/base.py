"""What a quantization method is: typed options plus a sequence of stages, each of which snaps and freezes some weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from suite.quant.layer import Layer
from suite.tape import Changes, one_by_one


@dataclass(frozen=True)
class Through:
    """Re-training through a quantizer: what the forward pass sees in place of the weights, differentiable."""

    weights: dict[str, Tensor]  # by layer, shape and type of its weight
    penalty: Tensor | None = None  # added to the loss, nats


@dataclass
class Net:
    """A network as a method sees it."""

    layers: dict[str, Layer]  # what this method quantizes, by name, in network order
    loss: Callable[[], float]  # mean loss on held-out training images, with the weights as they are at the moment
    seed: int  # of the trial
    model: nn.Module = field(default_factory=nn.Module)  # the network whose layers these are
    sample: Callable[[int], Iterator[tuple[Tensor, Tensor]]] = lambda count: iter(())  # images to train on, and labels
    memory: dict[str, Any] = field(default_factory=dict)  # JSON values a method keeps from stage to stage
    losses: Callable[[Changes], list[list[float]]] | None = (
        None  # `loss` with each change alone; None: one after the other
    )

    def generator(self, *purpose: int) -> torch.Generator:
        """Randomness that depends on the trial's seed and the purpose only."""
        state = self.seed
        for number in purpose:
            state = (state * 1_000_003 + number + 1) % 2**63
        return torch.Generator().manual_seed(state)

    def losses_if_snapped(self, choices: Mapping[str, Sequence[Tensor]]) -> dict[str, list[float]]:
        """By layer, the loss with each choice of its clusters, (K,) bool, set to their centres and all else as it is."""
        changes = [
            (self.layers[name].weight, [partial(self.layers[name].snapped, clusters) for clusters in each])
            for name, each in choices.items()
        ]
        losses = self.losses(changes) if self.losses else one_by_one(self.loss, changes)
        return dict(zip(choices, losses, strict=True))


class Method(BaseModel):
    """Base of all methods. A subclass is its own configuration: its fields are the options of a sweep file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: ClassVar[str]  # in tables

    @property
    def label(self) -> str:
        """Short name of this configuration for people: "SLQ 5b loss"."""
        bits = getattr(self, "bits", None)
        return self.title if bits is None else f"{self.title} {bits}b"

    @property
    def as_published(self) -> bool:
        """False for an ablation: published figures are not put beside it."""
        return True

    def select(self, names: Sequence[str]) -> list[str]:
        """Which of a network's layers, in network order, this method quantizes."""
        return []

    def trains(self, parameter: str, *, is_bias: bool, is_norm: bool) -> bool:
        """Whether re-training may move a parameter that is not a quantized weight."""
        return True

    def stages(self, layers: int) -> int:
        """How many times `quantize` is called for a network with this many selected layers.

        Raises:
            ValueError: if the options are impossible for such a network.
        """
        return 0

    def quantize(self, stage: int, net: Net) -> dict[str, Any]:
        """Carry out stage 0, 1, ...: move centres, snap and freeze weights. Between stages the free weights are re-trained.

        Returns what was decided and why, as JSON values, for the record.
        """
        raise LookupError(f"{self.name} has no stage {stage}")

    def through(self, stage: int, layers: dict[str, Layer], progress: float) -> Through | None:
        """How the re-training after `stage` sees the layers; None: their weights as they are.

        Trained are the weights that are not frozen and the tensors in each layer's `learned`; `quantize` of the next stage
        makes of them what is kept. `progress` is the part of this re-training that is done, 0 to 1. Must depend on its
        arguments only.
        """
        return None

    def learned_rate(self, stage: int) -> float:
        """Learning rate of the layers' `learned` tensors, as a multiple of the recipe's. They know no weight decay."""
        return 1.0


class FreezeMethod(Method):
    """Options shared by the methods that freeze clusters of weights and re-train the rest."""

    quantize_first: bool = Field(True, description="Quantize the network's first layer.")
    quantize_last: bool = Field(True, description="Quantize the last layer (released: AlexNet yes, ResNet-18 no).")
    train_biases: bool = Field(True, description="Re-train biases (released code: frozen, its older copy: trained).")
    train_batchnorm: bool = Field(
        True, description="Re-train batch-norm scales and shifts; the running statistics always follow the data."
    )

    def select(self, names: Sequence[str]) -> list[str]:
        last = len(names) - 1
        return [n for i, n in enumerate(names) if (i > 0 or self.quantize_first) and (i < last or self.quantize_last)]

    def trains(self, parameter: str, *, is_bias: bool, is_norm: bool) -> bool:
        return self.train_batchnorm if is_norm else (self.train_biases or not is_bias)


def check_schedule(schedule: Sequence[int], clusters: int) -> None:
    """A schedule lists how many clusters are fixed after each stage. Raises `ValueError` unless it rises and ends with all."""
    rising = all(a < b for a, b in zip((0, *schedule), schedule, strict=False))
    if not schedule or not rising or schedule[-1] != clusters:
        raise ValueError(
            f"schedule {list(schedule)} is impossible: it lists the clusters fixed after each stage, must rise from at least 1 "
            f"and end with all {clusters} clusters"
        )
