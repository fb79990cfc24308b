"""Masked optimiser steps on the CPU, each in one pass over memory. Imported for large networks only: Numba starts slowly.

With torch's number of threads. No rounding is fused, so results are the same on every CPU. The state of frozen weights is moved
like any other: a second condition makes the compiler store number by number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from suite.compiled import compiled, shared
from suite.masked import Columns

CHUNK = 2**18  # numbers that a thread takes at a time


def sgd(columns: Columns, rate: float, momentum: float, decay: float) -> None:
    """As torch's SGD without dampening. Columns: weights, gradients, momenta, masks; a weight whose mask is true stays."""
    _each(_sgd, columns, rate, momentum, decay)


def adam(columns: Columns, rate: float, betas: tuple[float, float], root: float, eps: float, decay: float) -> None:
    """As torch's Adam. Columns: weights, gradients, means, squares, masks.

    `rate` is divided by the correction of the means' bias, `root` is the root of that of the squares'.
    """
    _each(_adam, columns, rate, betas[1], 1 - betas[0], 1 - betas[1], root, eps, decay)


def _each(kernel: Callable[..., None], columns: Columns, *numbers: float) -> None:
    scalars = [np.float32(number) for number in numbers]
    rows = [[tensor.numpy() for tensor in row] for row in zip(*columns, strict=True)]
    chunks = [[part[at : at + CHUNK] for part in row] for row in rows for at in range(0, len(row[0]), CHUNK)]

    def work(first: int, last: int) -> None:
        for chunk in chunks[first:last]:
            kernel(*chunk, *scalars)

    shared(work, len(chunks))


@compiled
def _sgd(weight: Any, gradient: Any, momenta: Any, frozen: Any, rate: Any, momentum: Any, decay: Any) -> None:
    for i in range(len(weight)):
        old = weight[i]
        moved = momentum * momenta[i] + (gradient[i] + decay * old)
        momenta[i] = moved
        weight[i] = old if frozen[i] else old - rate * moved


@compiled
def _adam(
    weight: Any,
    gradient: Any,
    means: Any,
    squares: Any,
    frozen: Any,
    rate: Any,
    beta2: Any,
    rest1: Any,  # 1 - beta1
    rest2: Any,
    root: Any,
    eps: Any,
    decay: Any,
) -> None:
    for i in range(len(weight)):
        old = weight[i]
        pull = gradient[i] + decay * old
        mean = means[i] + rest1 * (pull - means[i])
        square = beta2 * squares[i] + rest2 * pull * pull
        means[i], squares[i] = mean, square
        weight[i] = old if frozen[i] else old - rate * mean / (np.sqrt(square) / root + eps)
