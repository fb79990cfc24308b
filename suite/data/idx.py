"""IDX files, the format of MNIST (yann.lecun.com/exdb/mnist): magic 0 0 type rank, big-endian sizes, then the elements."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from suite.data.memory import Arrays
from suite.data.missing import missing
from suite.data.source import Split
from suite.errors import UserError

_UNSIGNED_BYTE = 8
_STEMS = {"train": "train", "test": "t10k"}


def load_idx(title: str, folders: Sequence[Path]) -> dict[Split, Arrays]:
    """MNIST's four files from the first of `folders` that exists; UserError if one is missing or damaged."""
    folder = next((f for f in folders if f.is_dir()), folders[0])
    return {"train": _load_split(title, folder, "train"), "test": _load_split(title, folder, "test")}


def _load_split(title: str, folder: Path, split: Split) -> Arrays:
    images = read_idx(_find(title, folder, f"{_STEMS[split]}-images-idx3-ubyte"), rank=3)
    labels_path = _find(title, folder, f"{_STEMS[split]}-labels-idx1-ubyte")
    labels = read_idx(labels_path, rank=1)
    if len(labels) != len(images):
        raise UserError(f"{labels_path} has {len(labels)} labels for {len(images)} images; fetch both files again")
    return Arrays(images.unsqueeze(1), labels.to(torch.int64))


def _find(title: str, folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise missing(title, "its four IDX files, plain or .gz,", folder / name)


def read_idx(path: Path, rank: int) -> Tensor:
    """The unsigned bytes in an IDX file, plain or gzip, as a uint8 tensor of `rank` dimensions; UserError if damaged."""
    content = _content(path)
    header = 4 + 4 * rank
    if content[:4] != bytes((0, 0, _UNSIGNED_BYTE, rank)):
        raise _damaged(path, f"starts with {content[:4].hex(' ') or 'nothing'}, not 00 00 08 {rank:02x}")
    if len(content) < header:
        raise _damaged(path, f"{len(content)} bytes are not even a header of {header}")
    shape = np.frombuffer(content[4:header], dtype=">u4").astype(int)
    if len(content) != header + shape.prod():
        raise _damaged(path, f"{header} + {'x'.join(map(str, shape))} bytes expected, {len(content)} found")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())


def _content(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is no whole IDX file: {why}; fetch it again")
