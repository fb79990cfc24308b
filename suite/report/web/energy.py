"""Energy of a sweep, by its devices' counters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from suite.energy import Used
from suite.ledger import Attempt, Work
from suite.report.energy import KINDS, computed, readable
from suite.report.frame import DAMAGED
from suite.report.number import number

KWH = 3.6e6  # joules
NAMES = {"gpu": "GPUs (counters of whole cards)", "cpu": "processors (counters of all packages of a machine)"}

Stint = tuple[float, float, float]  # of a device: from, until (seconds), watts


@dataclass(frozen=True)
class _Measured:
    """An attempt that has computed."""

    host: str
    on_gpu: bool
    used: Used | None


def energy(works: Iterable[Work]) -> str:
    """In words, about all attempts at trials and starting points, finished or not."""
    attempts = [attempt for work in works for attempt in _attempts(work)]
    told = [text for kind in KINDS if (text := _told(kind, attempts))]
    if not told:
        return "Energy: no counter could be read."
    shared = "What else ran on these devices meanwhile is in it; attempts that shared one are not counted twice."
    return f"Energy: {'; '.join(told)}. {shared}"


def _attempts(work: Work) -> list[_Measured]:
    try:
        return [_measured(attempt) for attempt in work.attempts() if computed(attempt)]
    except DAMAGED:  # listed among the failures, if it is a trial's
        return []


def _measured(attempt: Attempt) -> _Measured:
    facts = attempt.provenance()
    return _Measured(str(facts.get("host")), facts.get("device") == "cuda", readable(attempt.path))


def _told(kind: str, attempts: Sequence[_Measured]) -> str:
    """ "" if no attempt could be read."""
    able = [each for each in attempts if kind != "gpu" or each.on_gpu]
    devices: dict[str, list[Stint]] = defaultdict(list)
    read = 0
    for each in able:
        stints = _stints(each.used, kind) if each.used else {}
        read += bool(stints)
        for name, stint in stints.items():
            # a card's name is its own in the whole world, a package's in its machine
            devices[name if kind == "gpu" else f"{name} of {each.host}"].append(stint)
    if not read:
        return ""
    kilowatt_hours = sum(counted_once(stints) for stints in devices.values()) / KWH
    return f"{number(kilowatt_hours, '{:.3g}')} kWh of {NAMES[kind]}, {read} of {len(able)} attempts readable"


def _stints(used: Used, kind: str) -> dict[str, Stint]:
    """By device, at even power, since only the sum is known."""
    seconds = max(used.until - used.began, 1e-3)
    return {name: (used.began, used.began + seconds, joules / seconds) for name, joules in used.of(kind).items()}


def counted_once(stints: Sequence[Stint]) -> float:
    """Joules of one device over the times at which any attempt counted it; where several did, the mean of their powers."""
    begins = [(begin, 1, watts) for begin, _, watts in stints]
    changes = sorted([*begins, *((end, -1, -watts) for _, end, watts in stints)])
    total, power, running = 0.0, 0.0, 0
    for (at, step, watts), (until, _, _) in pairwise(changes):
        running += step
        power = power + watts if running else 0.0
        total += (until - at) * power / max(running, 1)
    return total
