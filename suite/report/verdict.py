"""Whether a row reproduces its published figure."""

from __future__ import annotations

from collections.abc import Collection

from suite.ledger import State
from suite.report.reference import Published
from suite.report.spread import Spread
from suite.report.tolerance import DEFAULT, UNITS, Allowed, Unit, allowed

DEVIATIONS = (
    2  # standard deviations of its own trials that a better figure is above, if that is more than the tolerance
)
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
    f"Verdict: reproduced if Δ is at most {DEFAULT.points:g} points below the published Δ and the ratio of the real file is at "
    "least the published one; better if, moreover, Δ is not below and the ratio is above, or Δ is above by more than that and "
    f"than {DEVIATIONS} standard deviations of ours. Where no Δ is published, errors are compared; where no error is either, Δ is "
    "compared with 0."
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
    gain, measured = _gain(error, delta, published)
    verdict = judge_gain(gain, measured, points)
    wanted = published.entry.ratio
    smaller = wanted is not None and (ratio is None or ratio < share * wanted)
    if verdict == BEYOND:
        return BOTH if smaller else ACCURACY
    if smaller:
        return RATIO
    larger = wanted is not None and ratio is not None and ratio > wanted
    return BETTER if gain >= 0 and larger else verdict


def tolerance_of(published: Published, unit: Unit) -> Allowed:
    return allowed(unit, [published.entry.tolerance])


def _gain(error: Spread, delta: Spread | None, published: Published) -> tuple[float, Spread]:
    """Points of accuracy above the published figure, and what of ours they are of."""
    if published.delta is not None and delta is not None:
        return round(delta.mean - published.delta, DECIMALS), delta
    if published.entry.top1_error is not None:
        return round(published.entry.top1_error - error.mean, DECIMALS), error
    return (0.0, error) if delta is None else (round(delta.mean, DECIMALS), delta)


def judge_gain(gain: float, measured: Spread, points: float) -> str:
    """The verdict on one accuracy, `gain` above the published figure, of which `points` may be missing.

    A mean that falls short is not excused by its trials' spread, and one that is above is better only beyond that.
    """
    gain = round(gain, DECIMALS)
    if gain < -points:
        return BEYOND
    surplus = max(points, round(DEVIATIONS * (measured.std or 0.0), DECIMALS))
    return BETTER if gain > surplus else REPRODUCED


def judge_ratio(ratio: float, wanted: float, share: float) -> str:
    """The verdict on one ratio of sizes: `share` of the published one must be reached."""
    return BEYOND if ratio < share * wanted else BETTER if ratio > wanted else REPRODUCED
