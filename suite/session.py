"""One piece of work while it runs: network, data, position, saving and resuming. Baselines and trials share it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from suite import checkpoint, memory, stop
from suite.checkpoint import Checkpoint, Position
from suite.config import Recipe, Trial
from suite.data import DataSource
from suite.energy import Energy
from suite.evaluate import Metrics, evaluate
from suite.ledger import OpenAttempt
from suite.masked import masked_step
from suite.methods import Method
from suite.methods.base import Through
from suite.nets import build_network, quantizable
from suite.provenance import record
from suite.quant.layer import Layer
from suite.train import (
    Compute,
    Forward,
    Phase,
    TrainingData,
    make_deterministic,
    make_optimizer,
    plain,
    seen_through,
    train,
    trainable,
)


class Session:
    """State of a running baseline or trial; picks up the last checkpoint if there is one."""

    def __init__(
        self,
        trial: Trial,
        method: Method,
        attempt: OpenAttempt,
        source: DataSource,
        begin: Callable[[nn.Module], object],
        *,
        pruned: bool = False,
    ) -> None:
        """Build, and begin or resume.

        Args:
            begin: gives a freshly built network its starting weights; it is not called when resuming.
            pruned: whether weights that are exactly zero stay so.
        """
        make_deterministic(trial.threads)
        memory.restart_peak()
        self.trial, self.method, self.attempt = trial, method, attempt
        self.compute = Compute(best_device(), trial.precision == "bfloat16")
        record(attempt.path, trial, source.fingerprint, self.compute.device)
        self.data = TrainingData.split(source, trial.holdout)
        self.model = self._build()
        self._resumed = checkpoint.load(attempt.work.checkpoint, self.compute.device)
        if self._resumed is None:
            begin(self.model)
        else:
            self.model.load_state_dict(self._resumed.model)
        layers = _layers(self.model, pruned=pruned)
        selected = method.select(list(layers))
        self.layers = {name: layers[name] for name in selected}
        # What pruning alone holds: it is not quantized, or not yet.
        self.pruned = {n: layer for n, layer in layers.items() if n not in selected} if pruned else {}
        self.position = Position()
        if self._resumed is not None:
            checkpoint.restore_layers(self.masked(), self._resumed.layers)
            self.position = self._resumed.position
            attempt.say(f"resuming at stage {self.position.stage + 1}, step {self.position.step + self.position.done}")
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self._saved = time.monotonic()
        self._energy = Energy(attempt.path, self.compute.device)

    def _build(self) -> nn.Module:
        info, trial = self.data.source.info, self.trial
        model = build_network(trial.network, info.channels, info.size, info.classes, trial.seed).to(self.compute.device)
        if trial.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def evaluate(self) -> Metrics:
        """Metrics on the test images, now."""
        return evaluate(self.model, self.data.source, self.compute)

    def train(self, recipe: Recipe, steps: int, total: int, **labels: int) -> None:
        """Carry out, or finish, one phase of `steps` steps; `total` and `labels` go into the recorded points."""
        parameters = trainable(self.model, self.masked(), self._may_train())
        learned = [tensor for layer in self.layers.values() for tensor in layer.learned.values()]
        if not parameters and not learned:
            return
        optimizer = make_optimizer(parameters, recipe, learned, self.method.learned_rate(self.position.stage))
        phase = Phase(self.position.step, steps, self.position.done)
        if self._resumed is not None and self._resumed.optimizer is not None:
            optimizer.load_state_dict(self._resumed.optimizer)
            phase.totals = self._resumed.totals
        self._resumed = None

        def after_step(rate: float) -> None:
            self.position.done = phase.done
            step = phase.first + phase.done
            if step % self.trial.runtime.log_steps == 0 or phase.done == steps:
                self._report(phase, step=step, steps=total, lr=rate, **labels)
            if stop.requested() or time.monotonic() - self._saved >= self.trial.runtime.checkpoint_seconds:
                self.save(optimizer, phase)

        train(
            self.model,
            self._forward(),
            optimizer,
            masked_step(optimizer, self.masked().values()),
            self.data,
            recipe,
            self.trial.seed,
            phase,
            self.compute,
            after_step,
        )

    def masked(self) -> dict[str, Layer]:
        """All layers of which some weights may not move: those being quantized, and pruned ones that are not."""
        return self.layers | self.pruned

    def _forward(self) -> Forward:
        """The forward pass of this stage's re-training: the network, compiled if asked for, or seen through its quantizer."""
        model = self._compiled() if self.trial.compile else self.model
        return seen_through(self.model, self._seen, plain(model))

    def _seen(self, progress: float) -> Through | None:
        return self.method.through(self.position.stage, self.layers, progress) if self.layers else None

    @contextmanager
    def seen_weights(self, progress: float) -> Iterator[None]:
        """For measuring: the layers hold what the forward pass of this stage's re-training sees, then what they held before."""
        with torch.no_grad():
            seen = self._seen(progress)
            kept = {name: self.layers[name].weight.detach().clone() for name in seen.weights} if seen else {}
            for name in kept:
                self.layers[name].weight.copy_(seen.weights[name])  # type: ignore[union-attr]
        try:
            yield
        finally:
            for name, weight in kept.items():
                self.layers[name].weight.data.copy_(weight)

    def _compiled(self) -> Callable[[Tensor], Tensor]:
        """The network, compiled anew for each phase, so that a resumed phase runs the same code as an uninterrupted one."""
        torch.compiler.reset()
        compiled: Callable[[Tensor], Tensor] = torch.compile(self.model)
        return compiled

    def _report(self, phase: Phase, **fields: Any) -> None:
        means = phase.report()
        if not math.isfinite(means["loss"]):
            raise FloatingPointError(
                f"the training loss is {means['loss']} at step {fields['step']}: training diverged; lower the learning rate"
            )
        self.attempt.emit("train", **means, **fields)

    def _may_train(self) -> Callable[[str], bool]:
        norms = {
            f"{module}.{name}"
            for module, child in self.model.named_modules()
            if isinstance(child, _BatchNorm)
            for name, _ in child.named_parameters(recurse=False)
        }
        return lambda name: self.method.trains(name, is_bias=name.endswith("bias"), is_norm=name in norms)

    def save(self, optimizer: Optimizer | None = None, phase: Phase | None = None) -> None:
        """Write a checkpoint of this moment. Raises `stop.Stopped`, once it is written, if a stop was asked for."""
        self.attempt.check()
        self._count_time()
        checkpoint.save(
            self.attempt.work.checkpoint,
            Checkpoint(
                self.position,
                self.model.state_dict(),
                checkpoint.layer_tensors(self.masked()),
                optimizer.state_dict() if optimizer else None,
                phase.totals if phase else torch.zeros(3, dtype=torch.float64),
            ),
        )
        self._energy.record()
        self._saved = time.monotonic()
        stop.check()

    def _count_time(self) -> None:
        wall, cpu = time.monotonic(), time.process_time()
        self.position.wall_seconds += wall - self._wall
        self.position.cpu_seconds += cpu - self._cpu
        self._wall, self._cpu = wall, cpu

    def cost(self) -> dict[str, Any]:
        """What the work took so far, over all attempts up to their last checkpoints."""
        self._count_time()
        self._energy.record()
        on_gpu = self.compute.device.type == "cuda"
        return {
            "wall_seconds": round(self.position.wall_seconds, 3),
            "cpu_seconds": round(self.position.cpu_seconds, 3),
            "gpu_seconds": round(self.position.wall_seconds, 3) if on_gpu else 0.0,
            "peak_memory_bytes": memory.peak(),
            "peak_gpu_memory_bytes": memory.peak_gpu(),
            "steps": self.position.step,
            "attempts": self.attempt.number,
        }


def _layers(model: nn.Module, *, pruned: bool) -> dict[str, Layer]:
    """All quantizable layers; in a `pruned` network the weights that are exactly zero stay so."""
    layers = {}
    for name, weight in quantizable(model).items():
        live = weight.detach() != 0
        layers[name] = Layer.untouched(weight, None if not pruned or bool(live.all()) else live)
    return layers


def best_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
