"""Masked optimiser steps on a GPU, each one launch for all weights. Triton, which comes with torch for CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from suite.masked import Columns

BLOCK = 4096  # numbers that a program takes
_ALIGNED = 16  # bytes: where four numbers can be loaded at once


class CudaKernels:
    """As `suite.masked.Kernels`, for weights on one device. The state of frozen weights is moved like any other."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pointers: list[list[int]] = []
        self._sizes: list[int] = []
        self._table = self._blocks = torch.empty(0)

    def sgd(self, columns: Columns, rate: float, momentum: float, decay: float) -> None:
        self._launch(_sgd, columns, rate, momentum, decay)

    def adam(
        self, columns: Columns, rate: float, betas: tuple[float, float], root: float, eps: float, decay: float
    ) -> None:
        rest = [1 - beta for beta in betas]  # in double precision, as torch does
        self._launch(_adam, columns, rate, betas[1], *rest, root, eps, decay)

    def _launch(self, kernel: Any, columns: Columns, *numbers: float) -> None:
        self._lay_out(columns)
        aligned = all(pointer % _ALIGNED == 0 for row in self._pointers for pointer in row)
        kernel[(len(self._blocks),)](self._table, self._blocks, *numbers, ALIGNED=aligned, BLOCK=BLOCK, num_warps=8)

    def _lay_out(self, columns: Columns) -> None:
        """Put on the device where the tensors are, unless that is known: gradients mostly come back to the same place."""
        pointers = [[tensor.data_ptr() for tensor in row] for row in zip(*columns, strict=True)]
        sizes = [weight.numel() for weight in columns[0]]
        if pointers != self._pointers or sizes != self._sizes:
            self._table = self._there([[*row, size] for row, size in zip(pointers, sizes, strict=True)])
        if sizes != self._sizes:
            self._blocks = self._there([[n, at] for n, size in enumerate(sizes) for at in range(0, size, BLOCK)])
        self._pointers, self._sizes = pointers, sizes

    def _there(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Without waiting for the GPU to finish what it is at."""
        here = torch.tensor(rows, dtype=torch.int64)
        return here.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else here


@triton.jit  # type: ignore[untyped-decorator]
def _numbers(row, column: tl.constexpr, aligned: tl.constexpr):  # type: ignore[no-untyped-def]
    pointer = tl.load(row + column).to(tl.pointer_type(tl.float32))
    return tl.multiple_of(pointer, 16) if aligned else pointer


@triton.jit  # type: ignore[untyped-decorator]
def _sgd(table, blocks, rate, momentum, decay, ALIGNED: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    row = table + tl.load(blocks + 2 * tl.program_id(0)) * 5
    at = tl.load(blocks + 2 * tl.program_id(0) + 1) + tl.arange(0, BLOCK)
    inside = at < tl.load(row + 4)
    weights, gradients, momenta = _numbers(row, 0, ALIGNED), _numbers(row, 1, ALIGNED), _numbers(row, 2, ALIGNED)
    frozen = tl.load(tl.load(row + 3).to(tl.pointer_type(tl.uint8)) + at, mask=inside, other=1)
    old = tl.load(weights + at, mask=inside)
    pull = tl.load(gradients + at, mask=inside) + decay * old
    moved = momentum * tl.load(momenta + at, mask=inside) + pull
    tl.store(momenta + at, moved, mask=inside)
    tl.store(weights + at, tl.where(frozen != 0, old, old - rate * moved), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _adam(table, blocks, rate, beta2, rest1, rest2, root, eps, decay, ALIGNED: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    row = table + tl.load(blocks + 2 * tl.program_id(0)) * 6
    at = tl.load(blocks + 2 * tl.program_id(0) + 1) + tl.arange(0, BLOCK)
    inside = at < tl.load(row + 5)
    weights, gradients = _numbers(row, 0, ALIGNED), _numbers(row, 1, ALIGNED)
    means, squares = _numbers(row, 2, ALIGNED), _numbers(row, 3, ALIGNED)
    frozen = tl.load(tl.load(row + 4).to(tl.pointer_type(tl.uint8)) + at, mask=inside, other=1)
    old, mean = tl.load(weights + at, mask=inside), tl.load(means + at, mask=inside)
    pull = tl.load(gradients + at, mask=inside) + decay * old
    mean += rest1 * (pull - mean)
    square = beta2 * tl.load(squares + at, mask=inside) + rest2 * pull * pull
    tl.store(means + at, mean, mask=inside)
    tl.store(squares + at, square, mask=inside)
    moved = old - rate * mean / (tl.sqrt(square) / root + eps)
    tl.store(weights + at, tl.where(frozen != 0, old, moved), mask=inside)
