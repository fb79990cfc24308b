"""How good a network is: accuracy on the test images, loss on the images held out from training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suite.data import BatchRequest, DataSource
from suite.tape import Changes, changed_outputs
from suite.train import Compute, TrainingData

BATCH = 256


@dataclass(frozen=True)
class Metrics:
    """Accuracies as fractions, mean cross-entropy in nats."""

    top1: float
    top5: float
    loss: float


@torch.inference_mode()
def evaluate(model: nn.Module, source: DataSource, compute: Compute) -> Metrics:
    """Metrics on all test images."""
    model.eval()
    requests = [BatchRequest(part, None) for part in torch.split(torch.arange(source.count("test")), BATCH)]
    sums = torch.zeros(3, dtype=torch.float64, device=compute.device)
    for images, labels in source.batches("test", requests, compute.device):
        with compute.autocast():
            logits = model(images).float()
        sums += _sums(logits, labels)
    top1, top5, loss = sums.tolist()
    count = source.count("test")  # divided here: CUDA multiplies by the reciprocal, which is not the same
    return Metrics(top1 / count, top5 / count, loss / count)


def _sums(logits: Tensor, labels: Tensor) -> Tensor:
    """Correct at 1, correct at 5, and summed loss, float64 (3,)."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = best == labels[:, None]
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return torch.stack([hits[:, 0].sum().double(), hits.sum().double(), loss.double()])


class HeldOutLoss:
    """Mean loss on the held-out training images, decoded once and kept on the device: it is asked for many times."""

    def __init__(self, model: nn.Module, data: TrainingData, compute: Compute) -> None:
        self._model, self._compute = model, compute
        requests = [BatchRequest(part, None) for part in torch.split(data.held_out, BATCH)]
        self._batches = list(data.source.batches("train", requests, compute.device))
        self._count = sum(len(labels) for _, labels in self._batches)

    @torch.inference_mode()
    def __call__(self) -> float:
        self._model.eval()
        total = 0.0
        for images, labels in self._batches:
            total += _summed(self._forward(images), labels)
        return total / self._count

    @torch.inference_mode()
    def changed(self, changes: Changes) -> list[list[float]]:
        """The loss with each change of each weight alone; what comes before the weight in the network is computed once for all."""
        self._model.eval()
        totals = [[0.0] * len(each) for _, each in changes]
        for images, labels in self._batches:
            for weight, change, logits in changed_outputs(self._model, self._forward, images, changes):
                totals[weight][change] += _summed(logits, labels)
        return [[total / self._count for total in each] for each in totals]

    def _forward(self, images: Tensor) -> Tensor:
        with self._compute.autocast():
            logits: Tensor = self._model(images).float()
        return logits


def _summed(logits: Tensor, labels: Tensor) -> float:
    return float(F.cross_entropy(logits, labels, reduction="sum").double())
