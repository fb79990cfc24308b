"""The optimiser's step in which frozen weights stand still, exactly, whatever momentum and decay would do to them.

Masking gradients is not enough: decay and momentum move a weight without gradient, too. Small networks take torch's own step and
get their frozen weights back afterwards, and so does every network on a GPU, where that costs a third of the step. Large ones
on the CPU have a kernel of their own that steps over frozen weights: there, putting values back costs more than the step.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from suite.quant.layer import Layer

# Weights of partly frozen layers from which kernels are used. Below, importing and compiling them costs more than they save, and
# results stay those of torch's own step to the bit; above, they equal them to rounding.
LARGE = 1_000_000

# What kernels leave out, as torch's groups of parameters call it.
_LEFT_OUT = {SGD: ("dampening", "nesterov", "maximize"), Adam: ("amsgrad", "maximize", "decoupled_weight_decay")}

Columns = Sequence[Sequence[Tensor]]  # equally long; a row is what belongs to one weight, all flat and of one length


def masked_step(optimizer: Optimizer, layers: Iterable[Layer]) -> Callable[[], object]:
    """The optimiser's step for these layers with the weights that are frozen now, and with the values they have now.

    The optimiser's state stays where torch keeps it, so that it is saved and loaded as ever. That of frozen weights means nothing.
    """
    masks = {
        layer.weight: layer.frozen for layer in layers if bool(layer.frozen.any()) and not bool(layer.frozen.all())
    }
    if not masks:
        return optimizer.step
    if not _has_kernel(optimizer, list(masks)):
        values = [(weight.data, mask, weight.detach().clone()) for weight, mask in masks.items()]
        return partial(_step_and_restore, optimizer, values)
    return _Skipping(optimizer, masks)


def _step_and_restore(optimizer: Optimizer, values: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    optimizer.step()
    for weight, frozen, value in values:
        torch.where(frozen, value, weight, out=weight)


def _has_kernel(optimizer: Optimizer, weights: list[Tensor]) -> bool:
    """Whether there is a kernel for this optimiser and these weights, and they are enough for it."""
    enough = sum(w.numel() for w in weights) >= LARGE and all(_is_plain(w) for w in weights)
    return enough and type(optimizer) in _LEFT_OUT and all(_is_usual(optimizer, g) for g in optimizer.param_groups)


def _is_usual(optimizer: Optimizer, group: dict[str, Any]) -> bool:
    """Whether a kernel does for this group of parameters what torch does; there is none for SGD without momentum."""
    has_momentum = isinstance(optimizer, Adam) or bool(group["momentum"])
    return has_momentum and not any(group.get(flag) for flag in _LEFT_OUT[type(optimizer)])


def _is_plain(weight: Tensor) -> bool:
    """Whether it is float32, on the CPU, and fills one piece of memory."""
    dense = weight.is_contiguous() or (weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last))
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and dense


class _Skipping:
    """A step by kernels for partly frozen weights, by the optimiser itself for all others."""

    def __init__(self, optimizer: Optimizer, masks: dict[Tensor, Tensor]) -> None:
        self._optimizer = optimizer
        self._masks = {weight: _flat(mask, weight) for weight, mask in masks.items()}

    def __call__(self) -> None:
        step = self._adam if isinstance(self._optimizer, Adam) else self._sgd
        for group in self._optimizer.param_groups:
            weights = [p for p in group["params"] if p in self._masks and p.grad is not None]
            if weights:
                step(group, weights)
            for weight in weights:
                weight.grad = None  # done: the optimiser passes over what has no gradient
        self._optimizer.step()

    def _sgd(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        from suite.masked_cpu import sgd

        # -0 is what any number can be added to without a change; torch's own first momentum is the first gradient.
        columns = self._columns(weights, momentum_buffer=-0.0)
        sgd(columns, group["lr"], group["momentum"], group["weight_decay"])

    def _adam(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        from suite.masked_cpu import adam

        counted = defaultdict[int, list[Tensor]](list)
        for weight in weights:
            state = self._optimizer.state[weight]
            state["step"] = state.get("step", torch.zeros(())) + 1
            counted[int(state["step"])].append(weight)
        betas, rest = group["betas"], (group["eps"], group["weight_decay"])
        for count, alike in counted.items():
            bias, root = 1 - betas[0] ** count, math.sqrt(1 - betas[1] ** count)
            columns = self._columns(alike, exp_avg=0.0, exp_avg_sq=0.0)
            adam(columns, group["lr"] / bias, betas, root, *rest)

    def _columns(self, weights: list[Tensor], **starts: float) -> Columns:
        """Weights, gradients, each kind of state (begun with a number if it is not there), masks."""
        states = [[self._kept(weight, name, start) for weight in weights] for name, start in starts.items()]
        gradients = [_flat(weight.grad, weight) for weight in weights if weight.grad is not None]
        return [[_flat(w, w) for w in weights], gradients, *states, [self._masks[w] for w in weights]]

    def _kept(self, weight: Tensor, name: str, start: float) -> Tensor:
        state: dict[str, Tensor] = self._optimizer.state[weight]
        if name not in state:
            state[name] = torch.full_like(weight, start, requires_grad=False)
        elif state[name].stride() != weight.stride():  # of a checkpoint from another machine
            state[name] = torch.empty_like(weight, requires_grad=False).copy_(state[name])
        return _flat(state[name], weight)


def _flat(tensor: Tensor, weight: Tensor) -> Tensor:
    """The numbers of a tensor of the weight's shape, (N,), in the order in which the weight's lie in memory."""
    if tensor.stride() != weight.stride():
        tensor = torch.empty_like(weight, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
    return tensor.detach().as_strided((tensor.numel(),), (1,))
