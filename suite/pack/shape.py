"""Limits of the shapes of tensors in a file."""

from __future__ import annotations

from suite.pack.errors import PackError

DIMENSIONS = 8  # at most
LARGEST = 2**31  # numbers in a tensor


def numel(shape: tuple[int, ...]) -> int:
    """How many numbers a tensor of this shape has. Raises `PackError` if they are too many to be one."""
    size = 1
    for length in shape:
        size *= length
        if length >= LARGEST or size >= LARGEST:
            raise PackError(f"a tensor of shape {list(shape)} is too large: at most {LARGEST - 1} numbers")
    return size


def row_of(shape: tuple[int, ...]) -> int:
    """Numbers of one filter or output: of a row, if the tensor is seen as a matrix."""
    return numel(shape[1:])
