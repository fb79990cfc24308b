"""Tensors that are pruned but not quantized: the positions of the numbers that are not zero, and these as they are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.pack.errors import PackError
from suite.pack.plane import Plane, Unit
from suite.pack.raw import from_bytes, to_bytes
from suite.pack.shape import numel, row_of
from suite.pack.streams import AUTO
from suite.pack.varint import Reader


def is_sparse(tensor: Tensor) -> bool:
    """Whether most of a weight's numbers are zeros, and none is -0."""
    if tensor.dim() < 2 or not tensor.is_floating_point():
        return False
    zeros = tensor == 0
    return 2 * int(zeros.sum()) > tensor.numel() and not bool((zeros & tensor.signbit()).any())


def sparse(tensor: Tensor, coder: str = AUTO) -> bytes:
    """Positions and numbers; the former by this coder where it can."""
    flat = tensor.detach().cpu().reshape(-1)
    is_set = flat != 0
    unit = Unit(is_set.to(torch.int32).numpy().view(np.uint32), 2, 0, row_of(tuple(tensor.shape)))
    return min((plane.written() for plane in unit.planes(coder)), key=len) + to_bytes(flat[is_set])


def read_sparse(data: bytes | memoryview, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """The inverse. Raises `PackError`."""
    reader = Reader(data)
    is_set = positions(reader, shape).symbols()
    numbers = reader.rest()
    if len(numbers) != int(is_set.sum()) * dtype.itemsize:
        raise PackError(f"{len(numbers)} bytes for {int(is_set.sum())} numbers of {dtype}")
    raw = np.zeros((len(is_set), dtype.itemsize), dtype=np.uint8)
    raw[is_set != 0] = _bytes_of(numbers, dtype)
    return from_bytes(raw.reshape(-1).data, dtype, shape)


def positions(reader: Reader, shape: tuple[int, ...]) -> Plane:
    """Which numbers are not zero, where a section begins. Raises `PackError`; decodes nothing yet."""
    return Plane.read(reader, numel(shape), 2, row_of(shape))


def _bytes_of(data: bytes, dtype: torch.dtype) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, dtype.itemsize)
