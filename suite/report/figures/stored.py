"""The tensors of a network's file one at a time: all of a large network's take gigabytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from suite.pack.container import Packed, unpacked
from suite.pack.errors import PackError
from suite.pack.store import is_packed_file


@dataclass(frozen=True)
class Stored:
    """A network's file, packed or safetensors; nothing is read before it is asked for."""

    path: Path

    def numbers(self, name: str) -> NDArray[Any]:
        """A tensor, flat. Raises `PackError` if the file is damaged, or has none of this name."""
        try:
            tensor = self._packed_tensor(name) if is_packed_file(self.path) else self._plain_tensor(name)
        except (PackError, SafetensorError, KeyError) as error:
            raise PackError(f"{self.path} cannot be read: {error}") from None
        # NumPy has no bfloat16
        return (tensor if tensor.element_size() > 2 else tensor.float()).numpy().ravel()

    @cached_property
    def _packed(self) -> Packed:
        return unpacked(self.path.read_bytes())

    def _packed_tensor(self, name: str) -> Tensor:
        entries = {entry.name: entry for entry in self._packed.entries}
        return self._packed.tensor(entries[name])

    def _plain_tensor(self, name: str) -> Tensor:
        with safe_open(self.path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor
