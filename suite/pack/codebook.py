"""Codebooks in a file: the distinct values in use, in the type of the weights."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.pack.bits import pack, unpack
from suite.pack.errors import PackError
from suite.pack.raw import DTYPES, dtype_number, from_bytes, to_bytes
from suite.pack.steps import FARTHEST, multiples, step_of
from suite.pack.varint import Reader, varint
from suite.quant.layer import CODES

FLOATS = 4  # the first types are those that weights can have
MOST = torch.iinfo(CODES).max  # entries


@dataclass(frozen=True)
class Codebook:
    """Values that the codes of one layer, or of several, stand for."""

    values: Tensor  # (K,) or (K, d), in the type of the weights

    @property
    def zero(self) -> int | None:
        """Which entry is a number of all zero bits."""
        if self.values.dim() > 1:
            return None
        found = np.flatnonzero(_patterns(self.values) == 0)
        return int(found[0]) if len(found) else None

    def written(self) -> bytes:
        """As they are, or as a step and a bit for each of its multiples from the lowest to the highest."""
        dimension = 0 if self.values.dim() == 1 else self.values.shape[1]
        kind, raw = FLOATS * dimension + dtype_number(self.values.dtype), to_bytes(self.values)
        stepped = self._stepped() if not dimension else None
        if stepped is None or len(stepped) >= len(raw) + 1:
            return varint(2 * kind, len(self.values)) + raw
        return varint(2 * kind + 1) + stepped

    def _stepped(self) -> bytes | None:
        found = step_of(self.values)
        if found is None:
            return None
        step, numbers = found
        lowest, reach = int(numbers[0]), int(numbers[-1] - numbers[0]) + 1
        present = np.zeros(reach, dtype=np.uint32)
        present[numbers - lowest] = 1
        return struct.pack("<d", step) + varint(lowest + FARTHEST, reach) + pack(present, 1)

    @staticmethod
    def read(reader: Reader) -> Codebook:
        kind, is_stepped = divmod(reader.number(), 2)
        dimension, dtype = kind // FLOATS, DTYPES[kind % FLOATS]
        if is_stepped and dimension:
            raise PackError(f"a codebook of vectors of {dimension} has no step")
        if is_stepped:
            (step,) = struct.unpack("<d", reader.take(8))
            lowest, reach = reader.number(2 * FARTHEST + 1) - FARTHEST, reader.number(2 * FARTHEST + 2)
            present = unpack(reader.take((reach + 7) // 8), 1, reach)
            return Codebook(_checked(multiples(step, np.flatnonzero(present) + lowest, dtype)))
        count = reader.number(MOST + 1)
        data = reader.take(count * max(dimension, 1) * dtype.itemsize)
        return Codebook(from_bytes(data, dtype, (count, dimension) if dimension else (count,)))

    @staticmethod
    def of(entries: Tensor, dtype: torch.dtype, used: NDArray[np.bool_]) -> tuple[Codebook, NDArray[np.int64]]:
        """Entries (K,) or (K, d) that are `used`, equal ones once, scalars in rising order, and the new place of each old one."""
        values = entries.detach().cpu().to(dtype)
        rows, place = _distinct(values[torch.from_numpy(used)])
        places = np.zeros(len(used), dtype=np.int64)
        places[used] = place
        return Codebook(rows), places


def _checked(values: Tensor) -> Tensor:
    if len(values) > MOST:
        raise PackError(f"a codebook of {len(values)} entries is too large: at most {MOST}")
    return values


def _distinct(values: Tensor) -> tuple[Tensor, NDArray[np.int64]]:
    patterns = _patterns(values)
    _, first, place = np.unique(patterns, axis=0, return_index=True, return_inverse=True)
    rows = values[torch.from_numpy(first)]
    if values.dim() > 1:
        return rows, place.reshape(-1)
    order = torch.argsort(rows.double(), stable=True)
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order.numpy()] = np.arange(len(order))
    return rows[order], ranks[place.reshape(-1)]


def _patterns(values: Tensor) -> NDArray[np.integer]:
    """The bits of the values as integers: unlike the values, they tell -0 from 0 and know NaN."""
    same_size = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.dtype.itemsize]
    patterns: NDArray[np.integer] = values.contiguous().view(same_size).numpy()
    return patterns
