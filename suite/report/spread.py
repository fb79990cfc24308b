"""What the values of several seeds come to."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (ddof = 1; None for a single value)."""

    mean: float
    std: float | None

    @staticmethod
    def of(values: pd.Series[float]) -> Spread | None:
        """Of the values that are there; None if none is."""
        present = values.dropna()
        if present.empty:
            return None
        return Spread(float(present.mean()), float(present.std(ddof=1)) if len(present) > 1 else None)


def mean(values: pd.Series[float]) -> float | None:
    """Of the values that are there; None if none is."""
    spread = Spread.of(values)
    return spread.mean if spread else None
