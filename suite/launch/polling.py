"""How often Slurm is asked while somebody watches: soon at first, then ever more seldom; not by all watchers at the same moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from suite.launch.queue import Report
from suite.launch.whereabouts import Submitted, ask, gather
from suite.ledger import Ledger

SOON, BRISK, SELDOM = 2.0, 10.0, 60.0  # seconds between two looks: the first, while things happen, and at most
GROWTH = 1.5
JITTER = 0.2  # share by which a delay is longer or shorter by chance, so that watchers spread out
BUDGET = 5  # failures in a row after which asking often is given up


@dataclass
class Polling:
    """Delays between looks, given how the looks went. Knows no clock and calls nothing."""

    luck: random.Random = field(default_factory=random.Random, repr=False)
    failures: int = 0  # in a row
    _delay: float = SOON

    def after(self, *, answered: bool, changed: bool) -> float:
        """Seconds until the next look.

        Args:
            answered: whether the look had an answer.
            changed: whether it differed from the one before: then more is likely to happen soon. In a large sweep something
                happens all the time, which is no reason to ask every second.
        """
        self.failures = 0 if answered else self.failures + 1
        delay = SELDOM if self.gave_up() else self._delay
        self._delay = min(BRISK if answered and changed else SELDOM, self._delay * GROWTH)
        return delay * self.luck.uniform(1 - JITTER, 1 + JITTER)

    def gave_up(self) -> bool:
        """Whether it failed so often in a row that it is only tried now and then, until it answers again."""
        return self.failures >= BUDGET


@dataclass
class Lookout:
    """The newest that is known of the jobs of a sweep; asks Slurm when it is time."""

    ledger: Ledger
    polling: Polling = field(default_factory=Polling)
    ask: Callable[[Ledger], Submitted] = ask
    clock: Callable[[], float] = time.monotonic
    _known: Submitted = field(default_factory=Submitted)
    _due: float = float("-inf")

    def submitted(self) -> Submitted:
        """Asks only if it is time to."""
        if self.clock() >= self._due:
            self._known = self._look()
        return self._known

    def _look(self) -> Submitted:
        found = self.ask(self.ledger)
        answered = bool(found.report.source) or not found.groups
        changed = found.states() != self._known.states()
        self._due = self.clock() + self.polling.after(answered=answered, changed=changed)
        return found if answered else self._silent(found)

    def _silent(self, found: Submitted) -> Submitted:
        """Until the budget is spent, what was known last stands, and it is said that it does; then all jobs are unknown."""
        notes, known = [found.report.problem], self._known.report
        if self.polling.failures > 1:
            notes.append(f"{self.polling.failures} times in a row")
        if self.polling.gave_up():
            known = Report()
            notes.append("it is asked only now and then from here on")
        elif known.jobs:
            notes.append("what is shown of jobs is older")
        report = replace(known, problem="; ".join(notes))
        return gather((group.submission for group in found.groups), lambda _: report)
