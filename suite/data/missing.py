"""The message for data that is not there."""

from __future__ import annotations

from pathlib import Path

from suite.errors import UserError


def missing(title: str, what: str, place: Path) -> UserError:
    """Nothing is downloaded, so say what belongs where."""
    return UserError(
        f"{title} not found: put {what} at {place} (the data root is set by --data-root or SLQ_DATA_ROOT); "
        "the data set 'digits' needs no files"
    )
