"""Error bars of accuracies: a sample standard deviation each way, but not beyond 100 %."""

from __future__ import annotations

from collections.abc import Iterable

from suite.report.spread import Spread

Bar = tuple[float, float]  # how far it reaches below and above its mean, points


def bar(spread: Spread, top1: Spread) -> Bar:
    """Of an accuracy, %, or a difference of it, points, where the accuracy itself is `top1`; (0, 0) for a single trial."""
    std = spread.std or 0.0
    return std, min(std, 100.0 - top1.mean)


def cut_off(bars: Iterable[Bar]) -> str:
    """A sentence for the caption, if any bar is shorter above than below."""
    return " Bars end where the accuracy is 100 %." if any(above < below for below, above in bars) else ""
