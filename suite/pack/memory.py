"""Where memory does not suffice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from suite.errors import UserError


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Raises `UserError` if there is not, which NumPy and torch say by different errors."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        raise UserError(f"there is not enough memory for {what}") from None
