"""Tables that were written before, from their CSV: what they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from suite.errors import UserError
from suite.ledger import State

_NEXT = "nothing was written; slq tables takes --root for its ledger, --out for another folder, --force to replace it"


class LargerTableError(UserError):
    """A table that is there would be replaced by one that rests on fewer trials."""


def keep_larger(file: Path, trials: Mapping[str, str]) -> None:
    """Refuse to replace the table with this CSV if it rests on more of the trials that are planned now than are done.

    Args:
        trials: every planned one, named as in the CSV's column `trials` -> state.

    Raises:
        LargerTableError: then, and if nobody can say on how many it rests.
    """
    if not file.exists():
        return
    try:
        lines = pd.read_csv(file, usecols=["done", "trials"], dtype={"done": int, "trials": str}, keep_default_na=False)
    except ValueError:
        raise LargerTableError(f"{file} does not say on how many trials it rests; {_NEXT}") from None
    there, done = _known_done(lines, set(trials)), sum(state == State.DONE for state in trials.values())
    if there > done:
        raise LargerTableError(
            f"{file} rests on {there} trials, more than the {done} that are done in this ledger, of those planned now; {_NEXT}"
        )


def _known_done(lines: pd.DataFrame, planned: set[str]) -> int:
    """How many of the planned trials the table rests on, at least: a line says how many of its trials are done, not which."""
    uncounted, count = set(planned), 0
    for done, names in zip(lines["done"], lines["trials"], strict=True):
        found = set(names.split())
        count += max(0, int(done) - len(found - uncounted))  # as if those that do not count here were all done
        uncounted -= found  # several cells of a spec may be of the same trials
    return count


def takes(file: Path, sweep: str) -> bool:
    """Whether the published table with this CSV has cells of trials of that sweep."""
    try:
        cells = pd.read_csv(file, usecols=["trials"], dtype=str)["trials"].dropna()
    except ValueError:  # of no table that this suite has written
        return False
    return any(trial.startswith(f"{sweep}/") for trials in cells for trial in trials.split())
