"""What a user can get wrong, told in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user asked for; the command line prints it without a traceback and exits 2."""


def choices(value: object, allowed: Iterable[object]) -> str:
    """`; allowed: a, b, c - did you mean b?` for the end of an error message."""
    names = [str(a) for a in allowed]
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f" - did you mean {near[0]!r}?" if near else ""
    return f"; allowed: {', '.join(names)}{hint}"
