"""The paper-style tables of a sweep: a block per network and data, a row per configuration, the mean over its seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pandas as pd

from suite.errors import UserError
from suite.ledger import Ledger, State
from suite.report.frame import PlannedTrial, tidy
from suite.report.reference import STANDS_FOR, Found, Published, References
from suite.report.sizes import Sizes
from suite.report.spread import Interval, Spread, mean
from suite.report.titles import DATA, NETWORKS
from suite.report.tolerance import UNITS
from suite.report.verdict import JUDGED, KNOWN, OUTSIDE, incomplete, judge, tolerance_of

FULL_PRECISION = "full"
_MANY_CLASSES = {"imagenet", "cifar100"}  # top-5 says something only there


@dataclass(frozen=True)
class Row:
    """A configuration over its seeds. Accuracies and errors in %, `delta` in points; None where nothing is known."""

    label: str
    method: str
    bits: int | None
    trials: Mapping[str, str]  # id -> state, every planned one
    top1: Spread | None
    error: Spread | None
    delta: Spread | None  # over the differences of each trial to its own baseline
    delta_interval: Interval | None  # None for fewer than 3
    top5_error: Spread | None
    pruned: bool
    kept: float | None  # % of the weights that are not pruned
    fixed_bits_per_weight: float | None  # without entropy coding
    bits_per_weight: float | None  # as the real file has it
    ratio: float | None  # whole network at 32 bits / real file
    sizes: Sizes
    published: Published | None
    verdict: str  # see suite.report.verdict
    deviation: str  # what is outside the tolerance, and the reason, where the verdict is a known deviation; else ""
    mistakes: tuple[str, ...]  # in published figures that are left out
    tolerance_note: str  # what is allowed and why, where the figure has a tolerance of its own and is judged; else ""

    @property
    def done(self) -> int:
        return sum(state == State.DONE for state in self.trials.values())

    @property
    def planned(self) -> int:
        return len(self.trials)

    @property
    def footnotes(self) -> list[str]:
        published = [self.published.footnote] if self.published else []
        return [*published, *self.verdict_notes]

    @property
    def verdict_notes(self) -> list[str]:
        return [
            *([self.deviation_note] if self.deviation else []),
            *([self.tolerance_note] if self.tolerance_note else []),
        ]

    @property
    def deviation_note(self) -> str:
        return f"Known deviation, {self.deviation}."


@dataclass(frozen=True)
class Block:
    """All configurations of one network on one data set, and what was published for them."""

    network: str
    data: str
    title: str
    published_title: str
    rows: tuple[Row, ...]
    published: tuple[Published, ...]

    @property
    def has_top5(self) -> bool:
        return self.data in _MANY_CLASSES

    @property
    def has_pruned(self) -> bool:
        """Whether any row begins from a pruned network."""
        return any(row.pruned for row in self.rows)

    @property
    def has_figures(self) -> bool:
        """Whether a figure was published for any row, so that there are verdicts."""
        return any(row.published is not None and row.published.entry.available for row in self.rows)

    @property
    def has_own_data(self) -> bool:
        """Whether the data are the published ones, so that errors compare and not only differences."""
        return self.data not in STANDS_FOR


@dataclass(frozen=True)
class Tables:
    """Everything that is printed for a sweep."""

    sweep: str
    blocks: tuple[Block, ...]
    dirty: int  # trials that ran from uncommitted code
    warnings: tuple[str, ...]

    @property
    def rows(self) -> list[Row]:
        return [row for block in self.blocks for row in block.rows]

    @property
    def done(self) -> int:
        return sum(row.done for row in self.rows)

    @property
    def footnotes(self) -> list[str]:
        """In the order in which they are first used; [1] is the first."""
        shown = [
            note
            for block in self.blocks
            for note in chain(*(row.footnotes for row in block.rows), (p.footnote for p in block.published))
        ]
        return list(dict.fromkeys(shown))


def build_tables(
    ledger: Ledger,
    planned: Sequence[PlannedTrial],
    references: References,
    networks: Mapping[str, str] = NETWORKS,
    data: Mapping[str, str] = DATA,
) -> Tables:
    """The tables of a sweep as its ledger stands now; `networks` and `data` map identifiers to titles.

    Raises `UserError` if nothing is planned.
    """
    if not planned:
        raise UserError(f"sweep {ledger.sweep} plans no trials, so it has no tables")
    return tables_of(ledger.sweep, tidy(ledger, planned), references, networks, data)


def tables_of(
    sweep: str,
    frame: pd.DataFrame,
    references: References,
    networks: Mapping[str, str] = NETWORKS,
    data: Mapping[str, str] = DATA,
) -> Tables:
    """The tables of a frame that `tidy` made: for those who need both, and the same moment of a running sweep in both."""
    pairs = list(dict.fromkeys(zip(frame["network"], frame["data"], strict=True)))
    parts = [frame[(frame["network"] == network) & (frame["data"] == name)] for network, name in pairs]
    blocks = tuple(_block(part, references, networks, data) for part in parts)
    mistakes = dict.fromkeys(mistake for block in blocks for row in block.rows for mistake in row.mistakes)
    return Tables(
        sweep=sweep,
        blocks=blocks,
        dirty=sum(dirty is True for dirty in frame["dirty"]),
        warnings=tuple(warning for warning in [*frame["warning"], *mistakes] if warning),
    )


def _block(frame: pd.DataFrame, references: References, networks: Mapping[str, str], data: Mapping[str, str]) -> Block:
    network, name = str(frame["network"].iloc[0]), str(frame["data"].iloc[0])
    published_data = STANDS_FOR.get(name, name)
    return Block(
        network=network,
        data=name,
        title=f"{networks.get(network, network)} on {data.get(name, name)}",
        published_title=f"{networks.get(network, network)} on {data.get(published_data, published_data)}",
        rows=tuple(_summary(group, references) for _, group in frame.groupby("configuration", sort=False)),
        published=references.on(network, name),
    )


def _summary(group: pd.DataFrame, references: References) -> Row:
    data, method, bits = str(group["data"].iloc[0]), str(group["method"].iloc[0]), _bits(group)
    settings = json.loads(group["configuration"].iloc[0])
    pruned = any(name.startswith("prune.") for name in settings)
    error, ratio = Spread.of(group["error"]), mean(group["ratio"])
    is_baseline = method == FULL_PRECISION and not pruned
    delta = None if is_baseline else Spread.of(group["delta"])
    found = _found(group, settings, references)
    published = found.published
    left = incomplete(group["state"])
    judged = judge(error, delta, ratio, published, same_data=data not in STANDS_FOR) if error and not left else left
    is_known = bool(found.known) and judged in OUTSIDE
    return Row(
        label=str(group["row"].iloc[0]),
        method=method,
        bits=32 if method == FULL_PRECISION else bits,
        trials=dict(zip(group["id"], group["state"], strict=True)),
        top1=Spread.of(group["top1"]),
        error=error,
        delta=delta,
        delta_interval=None if is_baseline else Interval.of(group["delta"]),
        top5_error=Spread.of(100 - group["top5"]),
        pruned=pruned,
        kept=mean(group["kept"]),
        fixed_bits_per_weight=mean(group["fixed_bits_per_weight"]),
        bits_per_weight=mean(group["bits_per_weight"]),
        ratio=ratio,
        sizes=Sizes.of(group),
        published=published,
        verdict=KNOWN if is_known else judged,
        deviation=f"{judged}: {found.known}" if is_known else "",
        mistakes=found.mistakes,
        tolerance_note=_tolerance_note(published) if published and judged in JUDGED else "",
    )


def _found(group: pd.DataFrame, settings: Mapping[str, Any], references: References) -> Found:
    if not group["as_published"].all():
        return Found()
    network, data, method = (str(group[name].iloc[0]) for name in ("network", "data", "method"))
    return references.find(network, data, method, _bits(group), settings)


def _bits(group: pd.DataFrame) -> int | None:
    bits = group["bits"].iloc[0]
    return None if pd.isna(bits) else int(bits)


def _tolerance_note(published: Published) -> str:
    """Of a figure's own tolerance, "" if it has none."""
    used = [
        tolerance_of(published, unit) for unit in UNITS if getattr(published.entry.tolerance, unit, None) is not None
    ]
    return " ".join(tolerance.note for tolerance in used)
