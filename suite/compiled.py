"""Functions that numba compiles, and work that threads share. Imported late, by what needs them: numba takes a second."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

import torch
from numba import njit

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")


def compiled(function: F) -> F:
    """The function as machine code, kept beside the source for the next process, that lets other threads run.

    Nothing checks its indices: it must.
    """
    try:
        return cast(F, njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError:  # no folder to keep it in can be written
        return cast(F, njit(nogil=True, error_model="numpy")(function))


def shared(work: Callable[[int, int], T], count: int) -> list[T]:
    """`work(first, last)` for parts of `range(count)`, as many as torch uses threads, at the same time; results in order."""
    parts = max(1, min(torch.get_num_threads(), count))
    ends = [count * part // parts for part in range(parts + 1)]
    if parts == 1:
        return [work(0, count)]
    with ThreadPoolExecutor(parts) as threads:
        return list(threads.map(work, ends[:-1], ends[1:]))
