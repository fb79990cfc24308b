"""Where the numbers are from: code, versions, machines and data of all attempts behind a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from suite.config import Trial
from suite.ledger import Ledger, Work
from suite.report.frame import DAMAGED
from suite.report.number import NOTHING
from suite.report.web.sheet import Sheet
from suite.report.web.told import code_of

Facts = dict[str, Any]  # a provenance.json


@dataclass(frozen=True)
class Origin:
    """`commit` is the one that all attempts at trials ran from, unchanged; None if there is no such one."""

    sheets: list[Sheet]
    commit: str | None


def origin(trials: Sequence[Trial], ledger: Ledger) -> Origin:
    """Of all attempts at the planned trials and at their starting points, finished or not."""
    tried = list(_provenances([(trial.data, ledger.trial(trial.id)) for trial in trials]))
    starts = {name: (trial.data, ledger.baseline(name)) for trial in trials for name in trial.start_ids}
    found = [*tried, *_provenances(starts.values())]
    facts = [provenance for _, provenance in found]
    codes = {(provenance.get("commit"), bool(provenance.get("dirty"))) for _, provenance in tried}
    only = next(iter(codes)) if len(codes) == 1 else (None, True)
    sheets = [
        _counted("Code", ["Commit"], facts, lambda p: [[code_of(p)]]),
        _counted("Versions", ["Package", "Version"], facts, _versions),
        _counted("Machines", ["Host", "Processor", "GPU", "Device", "Threads"], facts, _machine),
        _data(found),
    ]
    return Origin([sheet for sheet in sheets if sheet.lines], None if only[1] else only[0])


def _provenances(works: Iterable[tuple[str, Work]]) -> Iterator[tuple[str, Facts]]:
    """With the data set of each."""
    for data, work in works:
        try:
            yield from [(data, _checked(facts)) for attempt in work.attempts() if (facts := attempt.provenance())]
        except DAMAGED:  # listed among the failures, if it is a trial's
            continue


def _checked(facts: Any) -> Facts:
    """Raises AttributeError or TypeError for what is no provenance."""
    versions: dict[str, Any] = facts.get("versions", {})
    commit = facts.get("commit")
    return {**facts, "versions": dict(versions.items()), "commit": None if commit is None else str(commit)}


def _counted(title: str, names: list[str], facts: list[Facts], lines: Callable[[Facts], list[list[str]]]) -> Sheet:
    counts = Counter(tuple(line) for each in facts for line in lines(each))
    texts = [[*line, str(counts[line])] for line in sorted(counts)]
    return Sheet(title, [*names, "Attempts"], texts, frozenset(names))


def _versions(facts: Facts) -> list[list[str]]:
    return [[name, str(version or NOTHING)] for name, version in facts.get("versions", {}).items()]


def _machine(facts: Facts) -> list[list[str]]:
    return [[str(facts.get(name) or NOTHING) for name in ("host", "cpu", "gpu", "device", "threads")]]


def _data(found: list[tuple[str, Facts]]) -> Sheet:
    counts = Counter((data, str(facts.get("data_sha256") or NOTHING)) for data, facts in found)
    lines = [[*line, str(counts[line])] for line in sorted(counts)]
    return Sheet("Data", ["Data set", "SHA-256", "Attempts"], lines, frozenset({"Data set", "SHA-256"}))
