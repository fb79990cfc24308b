"""What a cell of a published table can show: columns of the tidy frame, or what follows from them, and the figure beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from suite.report.reference import Published
from suite.report.tolerance import Unit

Values = Callable[[pd.DataFrame], "pd.Series[float]"]
Figure = Callable[[Published], float | None]


@dataclass(frozen=True)
class Metric:
    """`better` is +1 where more is better, -1 where less is. Without `unit` nothing is published, so there is no verdict.
    `explained`: the known deviations of a published figure are about it, too; they are about quantized networks and real files.

    Values are as `suite.load` has them; errors in %, changes in points of accuracy.
    """

    title: str
    pattern: str  # of a value
    values: Values  # rows of the tidy frame -> the value of each trial
    better: int = 1
    unit: Unit | None = None
    explained: bool = True
    change: Values | None = None  # -> accuracy minus that of the trial's own baseline, in points
    published: Figure = lambda figure: None
    published_change: Figure = lambda figure: None


def _published_top5_change(figure: Published) -> float | None:
    quantized, full = figure.entry.top5_error, figure.entry.full_top5_error
    return None if quantized is None or full is None else full - quantized


def _accuracy(error: float | None) -> float | None:
    return None if error is None else 100 - error


def _column(name: str) -> Values:
    return lambda frame: frame[name]


def _top1_change(frame: pd.DataFrame) -> pd.Series[float]:
    return frame["delta"]


def _top5_change(frame: pd.DataFrame) -> pd.Series[float]:
    return frame["top5"] - frame["baseline_top5"]


def _top1(title: str, values: Values, better: int, published: Figure) -> Metric:
    metric = Metric(title, "{:.2f}", values, better, "points", published=published)
    return replace(metric, change=_top1_change, published_change=lambda figure: figure.delta)


def _top5(title: str, values: Values, better: int, published: Figure) -> Metric:
    metric = Metric(title, "{:.2f}", values, better, "points", published=published)
    return replace(metric, change=_top5_change, published_change=_published_top5_change)


def _ratio(title: str, name: str) -> Metric:
    return Metric(
        title,
        "{:.2f}×",
        _column(name),
        unit="ratio",
        explained=name == "ratio",
        published=lambda figure: figure.entry.ratio,
    )


METRICS = {
    "error": _top1("Top-1 error %", _column("error"), -1, lambda figure: figure.entry.top1_error),
    "baseline_error": Metric(
        "Top-1 error %, full precision",
        "{:.2f}",
        lambda frame: 100 - frame["baseline_top1"],
        -1,
        "points",
        explained=False,
        published=lambda figure: figure.entry.full_top1_error,
    ),
    "baseline_top5_error": Metric(
        "Top-5 error %, full precision",
        "{:.2f}",
        lambda frame: 100 - frame["baseline_top5"],
        -1,
        "points",
        explained=False,
        published=lambda figure: figure.entry.full_top5_error,
    ),
    "top1": _top1("Top-1 accuracy %", _column("top1"), 1, lambda figure: _accuracy(figure.entry.top1_error)),
    "top5_error": _top5("Top-5 error %", lambda frame: 100 - frame["top5"], -1, lambda figure: figure.entry.top5_error),
    "top5": _top5("Top-5 accuracy %", _column("top5"), 1, lambda figure: _accuracy(figure.entry.top5_error)),
    "delta": Metric(
        "Δ full precision", "{:+.2f}", _column("delta"), unit="points", published=lambda figure: figure.delta
    ),
    "kept_ratio": Metric(
        "Ratio, weights kept",
        "{:.2f}×",
        lambda frame: 100 / frame["kept"],
        unit="ratio",
        explained=False,
        published=lambda figure: figure.entry.ratio,
    ),
    "ratio": _ratio("Ratio, file", "ratio"),
    "fixed_ratio": _ratio("Ratio, fixed width", "fixed_ratio"),
    "ratio_deep_compression": _ratio("Ratio, Han's count", "ratio_deep_compression"),
    "ratio_choi": _ratio("Ratio, Choi's count", "ratio_choi"),
    "bits_per_weight": Metric("Bits/weight, coded", "{:.2f}", _column("bits_per_weight"), -1),
    "fixed_bits_per_weight": Metric("Bits/weight, index", "{:.2f}", _column("fixed_bits_per_weight"), -1),
    "kept": Metric("Kept %", "{:.2f}", _column("kept"), -1),
    "file_bits": Metric("File bits", "{:,.0f}", _column("file_bits"), -1),
}
