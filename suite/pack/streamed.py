"""safetensors files read and written tensor by tensor: the library itself holds all of them in memory to write them.

The format: eight bytes, the length of the header (least significant first); the header, JSON, filled up with spaces to a
multiple of eight bytes; the tensors, without gaps, each at the offsets that the header says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from suite.pack.raw import view_of
from suite.pack.shape import numel

ALIGNMENT = 8  # bytes
METADATA = "__metadata__"  # a name that no tensor of such a file can have
DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Facts:
    """What the header says of a tensor."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return numel(self.shape) * self.dtype.itemsize


def is_safetensors(data: bytes) -> bool:
    """Whether a file begins like one of these."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def each_tensor(path: Path) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Names of the tensors of a safetensors file, each with what reads it. Raises `SafetensorError`."""
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
    for name in names:
        yield name, partial(_read, path, name)


def metadata_of(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself. Raises `SafetensorError`."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def _read(path: Path, name: str) -> Tensor:
    """The file is opened anew each time: once a tensor is gone, so are the pages of the file that it was read from."""
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
        return tensor


def write_each(
    file: BinaryIO, facts: list[Facts], tensor_of: Callable[[str], Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors as safetensors. Each is asked for when it is its turn.

    Raises:
        ValueError: if a tensor has a name that such files keep for themselves.
    """
    ordered = sorted(facts, key=lambda one: -one.dtype.itemsize)  # so that every tensor is aligned
    header = json.dumps(_header(ordered, metadata), separators=(",", ":")).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    file.write(len(header).to_bytes(8, "little") + header)
    for one in ordered:
        file.write(view_of(tensor_of(one.name)))


def _header(facts: list[Facts], metadata: Mapping[str, str]) -> dict[str, Any]:
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    at = 0
    for one in facts:
        if one.name == METADATA:
            raise ValueError(f"a tensor cannot be called {METADATA!r} in a safetensors file")
        offsets = [at, at := at + one.size]
        header[one.name] = {"dtype": DTYPES[one.dtype], "shape": list(one.shape), "data_offsets": offsets}
    return header
