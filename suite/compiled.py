"""Functions that numba compiles, and work that threads share. Imported late, by what needs them: numba takes a second."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from hashlib import sha256
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from numba import njit

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")


def compiled(function: F) -> F:
    """The function as machine code, kept beside the source for the next process, that lets other threads run.

    Nothing checks its indices: it must.
    """
    try:
        loops: Any = njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no folder to keep it in can be written
        return cast(F, njit(nogil=True, error_model="numpy")(function))
    with suppress(AttributeError):  # NUMBA_DISABLE_JIT is set, or a later numba keeps it otherwise
        _name_apart(loops._cache._cache_file)
    return cast(F, loops)


def _name_apart(files: Any) -> None:
    """Machine code is kept under a name of what it was made for.

    Numba counts files up without a lock: of processes that compile a function at once, for other arguments or on another
    kind of processor (nodes share folders), one would find the code of the other where its index says that its own is.
    """
    base, save = files._index_name.removesuffix(".nbi"), files.save

    def save_apart(key: object, data: object) -> None:
        name = f"{base}.{sha256(repr(key).encode()).hexdigest()[:16]}"
        files._data_name = lambda number: f"{name}.{number}.nbc"
        save(key, data)

    files.save = save_apart


def shared(work: Callable[[int, int], T], count: int) -> list[T]:
    """`work(first, last)` for parts of `range(count)`, as many as torch uses threads; results in order.

    No part works any more when it returns or raises: what they write to is the caller's again. `work` must not share work
    itself: it might wait for a thread that waits for it.
    """
    parts = max(1, min(torch.get_num_threads(), count))
    ends = [count * part // parts for part in range(parts + 1)]
    if parts == 1:
        return [work(0, count)]
    others = [_threads().submit(work, *part) for part in pairwise(ends[1:])]
    try:
        return [work(ends[0], ends[1]), *(other.result() for other in others)]
    finally:
        for other in others:
            other.cancel()
        wait(others)


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads that stay for the next work: to start some for each takes as long as a pass over a million values."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="shared")


os.register_at_fork(after_in_child=_threads.cache_clear)  # a fork has none of its parent's threads
