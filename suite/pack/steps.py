"""Codebooks of uniform quantizers: every value is a whole multiple of one step, rounded to the type of the weights."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FARTHEST = 2**15  # steps from zero

Multiples = NDArray[np.int64]


def multiples(step: float, numbers: Multiples, dtype: torch.dtype) -> Tensor:
    """The values, (K,): the product in double precision, then rounded."""
    with np.errstate(over="ignore", invalid="ignore"):  # a damaged file may have any step
        return torch.from_numpy(numbers * step).to(dtype)


def step_of(values: Tensor) -> tuple[float, Multiples] | None:
    """A step and the whole numbers, (K,), that give exactly these rising values, (K,); None if there seems to be no such step."""
    exact = values.double().numpy()
    if len(exact) < 2 or not np.isfinite(exact).all():
        return None
    gaps = np.diff(exact)
    for parts in (1, 2, 3):  # the smallest difference may be two or three steps
        found = _with_step(values, exact, float(gaps.min()) / parts)
        if found is not None:
            return found
    return None


def _with_step(values: Tensor, exact: NDArray[np.float64], about: float) -> tuple[float, Multiples] | None:
    if about <= 0 or np.abs(exact).max() > FARTHEST * about:
        return None
    numbers = np.round(exact / about).astype(np.int64)
    if not numbers.any():  # half a step on either side of zero
        return None
    step = _refined(exact[numbers != 0], numbers[numbers != 0], torch.finfo(values.dtype).eps)
    if not np.isfinite(step) or _bits(multiples(step, numbers, values.dtype)) != _bits(values):
        return None
    return step, numbers


def _refined(exact: NDArray[np.float64], numbers: Multiples, eps: float) -> float:
    """The middle of all steps whose products round to these values."""
    half = np.exp2(np.frexp(exact)[1] - 2.0) * eps  # of the distance between neighbouring numbers of the type
    low = ((np.abs(exact) - half) / np.abs(numbers)).max()
    high = ((np.abs(exact) + half) / np.abs(numbers)).min()
    return float(low + high) / 2


def _bits(values: Tensor) -> list[int]:
    integers: list[int] = values.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[values.dtype.itemsize]).tolist()
    return integers
