"""Tensors as plain bytes, least significant byte first, in C order."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from suite.pack.errors import PackError

# New types go to the end: files name a type by its place here.
DTYPES = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)


def dtype_number(dtype: torch.dtype) -> int:
    """Raises `ValueError` for a type that files cannot hold."""
    if dtype not in DTYPES:
        raise ValueError(f"tensors of {dtype} cannot be packed; possible: {', '.join(map(str, DTYPES))}")
    return DTYPES.index(dtype)


def to_bytes(tensor: Tensor) -> bytes:
    """Of any shape, on any device."""
    return view_of(tensor).tobytes()


def view_of(tensor: Tensor) -> memoryview:
    """The same without a copy, if the tensor is in C order and on the CPU: what changes it changes the view."""
    if not tensor.numel():
        return memoryview(b"")  # an empty tensor may have a stride that `view` refuses
    flat = tensor.detach().cpu().reshape(-1).contiguous()  # a column of a matrix is flat, but its numbers lie apart
    return flat.view(torch.uint8).numpy().data


def from_bytes(data: bytes | memoryview, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """The inverse. Raises `PackError` unless the data have just the right length."""
    size = torch.Size(shape).numel() * dtype.itemsize
    if len(data) != size:
        raise PackError(f"a tensor of {size} bytes has {len(data)} in the file")
    if dtype == torch.bool and np.frombuffer(data, dtype=np.uint8).max(initial=0) > 1:
        raise PackError("a tensor of truth values holds others")
    tensor = torch.empty(shape, dtype=dtype)
    tensor.reshape(-1).view(torch.uint8).numpy()[:] = np.frombuffer(data, dtype=np.uint8)
    return tensor
