"""What runs are called in MLflow: the trial's label, and what tells it from the trials that have the same one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

LONGEST = 250  # characters; more does not fit into MLflow's tables


class PlannedTrial(Protocol):
    """What must be known of a trial of the plan."""

    @property
    def id(self) -> str: ...

    @property
    def label(self) -> str:
        """A short name for people, such as "SLQ 5b loss s0 lenet5 digits"."""

    def config(self) -> dict[str, Any]:
        """All settings, nested."""

    def canonical(self) -> dict[str, Any]:
        """Those that decide the outcome."""


@dataclass(frozen=True)
class Named:
    """A trial of the plan and its names. No two trials of a plan have the same `run`; seeds share a `configuration`."""

    trial: PlannedTrial
    run: str
    configuration: str


@dataclass(frozen=True)
class _Row:
    """Trials that differ in their seeds only; their labels are `method`, the seed, and `place`."""

    method: str
    place: str
    settings: str  # JSON, sorted

    @property
    def title(self) -> str:
        return f"{self.method}{self.place}"


def named(planned: Sequence[PlannedTrial]) -> dict[str, Named]:
    """The trials of a plan by id, such as "k-means 3b, centres not trained, s0 lenet5 digits"."""
    rows = [_row(trial.label, trial.config()) for trial in planned]
    phrases = _phrases(dict.fromkeys(rows))
    found: dict[str, Named] = {}
    taken: set[str] = set()
    for trial, row in zip(planned, rows, strict=True):
        head = f"{row.method}{phrases[row]}"
        seed = trial.label.removeprefix(row.method).removesuffix(row.place)
        name = f"{head}{seed}{row.place}"
        if len(name) > LONGEST or name in taken:
            name = f"{name[: LONGEST - 11]} {_digest(trial.id)}"
        taken.add(name)
        found[trial.id] = Named(trial, name, f"{head}{row.place}")
    return found


def _row(label: str, config: Mapping[str, Any]) -> _Row:
    from suite.config import dotted, shared  # imports torch

    method, _, place = label.rpartition(f" s{config.get('seed')}")
    settings = json.dumps(shared(dotted(config)), sort_keys=True)
    return _Row(method or label, place if method else "", settings)


def _phrases(rows: Iterable[_Row]) -> dict[_Row, str]:
    """What must be said of each row beside its method: nothing, unless other rows have the same title."""
    from suite.report.label import row_labels  # imports pandas

    distinct = list(rows)
    titles = [row.title for row in distinct]
    labels = row_labels(titles, [json.loads(row.settings) for row in distinct])
    texts = [label.removeprefix(title) for label, title in zip(labels, titles, strict=True)]
    seen: set[tuple[str, str]] = set()
    phrases = {}
    for row, text in zip(distinct, texts, strict=True):
        unlike = text if (row.title, text) not in seen else f"{text}, {_digest(row.settings)}"
        seen.add((row.title, text))
        phrases[row] = f"{unlike}," if unlike else ""
    return phrases


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:10]
