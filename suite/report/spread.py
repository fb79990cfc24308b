"""What the values of several seeds come to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

CONFIDENCE = 0.95
FEWEST = 3  # values that an interval is made of
RESAMPLES = 9_999


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


@dataclass(frozen=True)
class Interval:
    """The 95 % percentile bootstrap interval of a mean (Efron 1979), by `scipy.stats.bootstrap`: 9,999 resamples, always the same.

    For few values it is narrower than its name: resampled means never leave the range of the values. Of three values it is that
    range itself, since a resample is three times the same value with probability 1/27, more than the 2.5 % that are cut off.
    Of normally distributed values it holds the true mean in 75 % of all cases for n = 3, 83 % for n = 5, 92 % for n = 10.
    """

    low: float
    high: float

    @staticmethod
    def of(values: pd.Series[float]) -> Interval | None:
        """Of the values that are there; None if they are fewer than 3."""
        present = values.dropna().to_numpy(dtype=float)
        if len(present) < FEWEST:
            return None
        from scipy.stats import bootstrap  # here: importing it takes longer than printing most tables

        found = bootstrap(
            (present,),
            np.mean,
            confidence_level=CONFIDENCE,
            n_resamples=RESAMPLES,
            method="percentile",
            random_state=np.random.default_rng(0),
        ).confidence_interval
        return Interval(float(found.low), float(found.high))


def mean(values: pd.Series[float]) -> float | None:
    """Of the values that are there; None if none is."""
    spread = Spread.of(values)
    return spread.mean if spread else None
