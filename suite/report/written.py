"""Tables that were written before, from their CSV: what they rest on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from suite.errors import UserError

_NEXT = "nothing was written; slq tables takes --root for its ledger, --out for another folder, --force to replace it"


class LargerTableError(UserError):
    """A table that is there would be replaced by one that rests on fewer trials."""


def keep_larger(file: Path, done: int) -> None:
    """Refuse to replace the table with this CSV by one of `done` finished trials, if it rests on more.

    Raises:
        LargerTableError: then, and if nobody can say on how many it rests.
    """
    if not file.exists():
        return
    try:
        lines = pd.read_csv(file, usecols=["done", "trials"], dtype={"done": int})
    except ValueError:
        raise LargerTableError(f"{file} does not say on how many trials it rests; {_NEXT}") from None
    there = int(lines.drop_duplicates("trials")["done"].sum())  # several cells of a spec may be of the same trials
    if there > done:
        raise LargerTableError(
            f"{file} rests on {there} trials, more than the {done} that are done in this ledger; {_NEXT}"
        )


def takes(file: Path, sweep: str) -> bool:
    """Whether the published table with this CSV has cells of trials of that sweep."""
    try:
        cells = pd.read_csv(file, usecols=["trials"], dtype=str)["trials"].dropna()
    except ValueError:  # of no table that this suite has written
        return False
    return any(trial.startswith(f"{sweep}/") for trials in cells for trial in trials.split())
