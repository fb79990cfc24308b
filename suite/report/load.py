"""The ledger for Python and notebooks: the frames of a sweep from its file; `suite.load` and `suite.load_steps` document them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import pandas as pd

from suite.ledger import Ledger
from suite.report.frame import tidy
from suite.report.steps import steps
from suite.sweep import Sweep, load_sweep


def load_trials(sweep: str | PathLike[str] | Sweep, root: str | PathLike[str]) -> pd.DataFrame:
    opened, ledger = _open(sweep, root)
    frame = tidy(ledger, opened.trials)
    _warn([*_absence(ledger), *(warning for warning in frame["warning"] if warning)])
    return frame


def load_points(sweep: str | PathLike[str] | Sweep, root: str | PathLike[str]) -> pd.DataFrame:
    opened, ledger = _open(sweep, root)
    frame, complaints = steps(ledger, opened.trials)
    _warn([*_absence(ledger), *complaints])
    return frame


def _open(sweep: str | PathLike[str] | Sweep, root: str | PathLike[str]) -> tuple[Sweep, Ledger]:
    opened = sweep if isinstance(sweep, Sweep) else load_sweep(Path(sweep))
    return opened, Ledger(Path(root).resolve(), opened.name)


def _absence(ledger: Ledger) -> list[str]:
    """A sweep that never ran is no mistake, but a mistyped root looks the same."""
    if ledger.path.exists():
        return []
    return [f"there is nothing of sweep {ledger.sweep} in {ledger.root}: it never ran, or `root` is another folder"]


def _warn(complaints: Sequence[str]) -> None:
    """One warning for all, at the line of the user that called `suite.load` or `suite.load_steps`."""
    if complaints:
        more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
        warnings.warn(f"{complaints[0]}{more}", stacklevel=4)
