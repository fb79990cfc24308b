"""Masked optimiser steps on the CPU, each in one pass over memory. Imported for large networks only: Numba starts slowly.

With torch's number of threads. No rounding is fused, so results are the same on every CPU. The state of frozen weights is moved
like any other: a second condition makes the compiler store number by number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from numba import njit, prange

from suite.masked import Columns

CHUNK = 65_536  # numbers that a thread takes at a time


def sgd(columns: Columns, rate: float, momentum: float, decay: float) -> None:
    """As torch's SGD without dampening. Columns: weights, gradients, momenta, masks; a weight whose mask is true stays."""
    _each(_sgd, columns, rate, momentum, decay)


def adam(columns: Columns, rate: float, betas: tuple[float, float], root: float, eps: float, decay: float) -> None:
    """As torch's Adam. Columns: weights, gradients, means, squares, masks.

    `rate` is divided by the correction of the means' bias, `root` is the root of that of the squares'.
    """
    _each(_adam, columns, rate, betas[1], 1 - betas[0], 1 - betas[1], root, eps, decay)


def _each(kernel: Callable[..., None], columns: Columns, *numbers: float) -> None:
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    scalars = [np.float32(number) for number in numbers]
    for row in zip(*columns, strict=True):
        kernel(*(tensor.numpy() for tensor in row), *scalars)


@njit(parallel=True)
def _sgd(weight: Any, gradient: Any, momenta: Any, frozen: Any, rate: Any, momentum: Any, decay: Any) -> None:
    for chunk in prange((len(weight) + CHUNK - 1) // CHUNK):
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        _sgd_part(weight[part], gradient[part], momenta[part], frozen[part], rate, momentum, decay)


@njit(error_model="numpy")  # else it checks each division, one number at a time
def _sgd_part(weight: Any, gradient: Any, momenta: Any, frozen: Any, rate: Any, momentum: Any, decay: Any) -> None:
    for i in range(len(weight)):
        old = weight[i]
        moved = momentum * momenta[i] + (gradient[i] + decay * old)
        momenta[i] = moved
        weight[i] = old if frozen[i] else old - rate * moved


@njit(parallel=True)
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
    for chunk in prange((len(weight) + CHUNK - 1) // CHUNK):
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        state = (weight[part], gradient[part], means[part], squares[part], frozen[part])
        _adam_part(*state, rate, beta2, rest1, rest2, root, eps, decay)


@njit(error_model="numpy")  # else it checks each division, one number at a time
def _adam_part(
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
