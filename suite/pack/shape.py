"""Limits of the shapes of tensors in a file."""

from __future__ import annotations

import math

from suite.pack.errors import PackError

DIMENSIONS = 8  # at most
LARGEST = 2**31  # numbers in a tensor


def numel(shape: tuple[int, ...]) -> int:
    """How many numbers a tensor of this shape has. Raises `PackError` if they, or the lengths of an empty one, are too many."""
    if math.prod(max(length, 1) for length in shape) >= LARGEST:
        raise PackError(f"a tensor of shape {list(shape)} is too large: at most {LARGEST - 1} numbers")
    return math.prod(shape)


def row_of(shape: tuple[int, ...]) -> int:
    """Numbers of one filter or output: of a row, if the tensor is seen as a matrix."""
    return numel(shape[1:])
