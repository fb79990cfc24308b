"""Whether a row reproduces its published figure."""

from __future__ import annotations

from collections.abc import Collection

from suite.ledger import State
from suite.report.reference import Published
from suite.report.spread import Spread
from suite.report.tolerance import DEFAULT, UNITS, Allowed, Unit, allowed

DEVIATIONS = 2  # standard deviations of its own trials that a figure may fall short, if that is more than the tolerance
DECIMALS = 6  # of points: a difference of 0.2 is one even if binary fractions make it 0.2000000000000018

MISSING, RUNNING, STOPPED = "missing", "running", "stopped"
NO_FIGURE, DIFFERS = "no published figure", "differs in data"
REPRODUCED, BETTER = "reproduced", "better"
ACCURACY, RATIO, BOTH = "accuracy lower", "ratio lower", "accuracy and ratio lower"
OUTSIDE = (ACCURACY, RATIO, BOTH)  # of what is allowed
BEYOND = "outside tolerance"  # of a single figure
KNOWN = "known deviation"
JUDGED = (REPRODUCED, BETTER, *OUTSIDE, BEYOND)

EXPLAINED = (
    f"Verdict: reproduced if Δ is at most {DEFAULT.points:g} points (or {DEVIATIONS} standard deviations of ours, if that is more) "
    "below the published Δ and the ratio of the real file is at least the published one; better if, moreover, Δ is not below "
    "and the ratio is above, or Δ is above by more than that. Where no Δ is published, errors are compared; where no error is "
    "either, Δ is compared with 0."
)


def incomplete(states: Collection[str]) -> str:
    """The verdict on trials in these states, "" if all are done: stopped, if none of the others will be without being run again."""
    done = sum(state == State.DONE for state in states)
    if done in (0, len(states)):
        return "" if done else MISSING
    is_over = not any(state in (State.NEW, State.RUNNING) for state in states)
    return f"{STOPPED}, {done} of {len(states)} done" if is_over else f"{RUNNING} {done} of {len(states)}"


def judge(
    error: Spread, delta: Spread | None, ratio: float | None, published: Published | None, *, same_data: bool
) -> str:
    """The verdict on a complete row: one of the words above.

    Args:
        error: top-1 error, %.
        delta: accuracy minus full precision's, points; None for full precision itself.
        ratio: whole network at 32 bits / real file.
        same_data: whether the data are those of the published figure.
    """
    if published is None or not published.entry.available:
        return NO_FIGURE
    if not same_data:
        return DIFFERS
    points, share = (tolerance_of(published, unit).value for unit in UNITS)
    gain, missing = (round(value, DECIMALS) for value in _gain(error, delta, published, points))
    wanted = published.entry.ratio
    smaller = wanted is not None and (ratio is None or ratio < share * wanted)
    if gain < -missing:
        return BOTH if smaller else ACCURACY
    if smaller:
        return RATIO
    larger = wanted is not None and ratio is not None and ratio > wanted
    return BETTER if gain > missing or (gain >= 0 and larger) else REPRODUCED


def tolerance_of(published: Published, unit: Unit) -> Allowed:
    return allowed(unit, [published.entry.tolerance])


def _gain(error: Spread, delta: Spread | None, published: Published, points: float) -> tuple[float, float]:
    """Points of accuracy above the published figure, and how many below it are allowed."""
    if published.delta is not None and delta is not None:
        return delta.mean - published.delta, slack(delta, points)
    if published.entry.top1_error is not None:
        return published.entry.top1_error - error.mean, slack(error, points)
    return (0.0, points) if delta is None else (delta.mean, slack(delta, points))


def slack(spread: Spread, points: float) -> float:
    """How many points a mean may fall short."""
    return max(points, DEVIATIONS * (spread.std or 0.0))


def judge_gain(gain: float, missing: float) -> str:
    """The verdict on one accuracy: points above the published figure, and how many below it are allowed."""
    gain, missing = round(gain, DECIMALS), round(missing, DECIMALS)
    return BEYOND if gain < -missing else BETTER if gain > missing else REPRODUCED


def judge_ratio(ratio: float, wanted: float, share: float) -> str:
    """The verdict on one ratio of sizes: `share` of the published one must be reached."""
    return BEYOND if ratio < share * wanted else BETTER if ratio > wanted else REPRODUCED
