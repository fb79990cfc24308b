"""What is known of a sweep at one moment: where each trial is, what the running ones do, which jobs there are. Changes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from suite import pace
from suite.config import Trial
from suite.launch import whereabouts
from suite.launch.polling import Lookout
from suite.launch.queue import Job
from suite.launch.whereabouts import Place, Submitted, Where
from suite.ledger import Event, Ledger, State, Work
from suite.sweep import Sweep


@dataclass(frozen=True)
class Activity:
    """What a running trial is doing."""

    label: str
    event: Event | None  # its newest one
    seconds_left: float | None = None
    job_id: str = ""
    job: Job | None = None  # what Slurm says of it


@dataclass(frozen=True)
class Stopped:
    """A trial that needs somebody's attention, and why."""

    label: str
    id: str
    place: Place
    why: str


@dataclass(frozen=True)
class Snapshot:
    """The state of every trial of a sweep at one moment."""

    total: int
    counts: dict[Place, int]
    running: list[Activity]
    stopped: list[Stopped]  # failed, lost and unreadable ones
    seconds_left: float | None = None
    reasons: dict[Place, Counter[str]] = field(
        default_factory=dict
    )  # of those that are neither done, running nor stopped
    submitted: Submitted = field(default_factory=Submitted)

    @property
    def finished(self) -> int:
        return self.counts.get(Place.DONE, 0)

    @property
    def left(self) -> int:
        """How many are neither done nor left alone."""
        return self.total - self.finished - _left_alone(self.counts)

    def is_over(self) -> bool:
        """Whether nothing will change by itself: all is done or left alone, or no job is left that would go on."""
        if self.finished == self.total or not self.submitted.groups:
            return self.left == 0
        expected = (Place.RUNNING, Place.QUEUED, Place.INTERRUPTED, Place.UNKNOWN)
        return not any(self.counts.get(place) for place in expected) and not any(
            group.is_live() for group in self.submitted.groups
        )


@dataclass
class Watch:
    """Takes snapshots of a sweep; remembers what cannot change any more, so that each look costs little."""

    sweep: Sweep
    ledger: Ledger
    lookout: Lookout | None = None  # what Slurm says is part of the view
    began: float = field(default_factory=time.time)
    _done: dict[str, float] = field(
        default_factory=dict
    )  # id -> when it was first seen done, with files that can be read

    def __post_init__(self) -> None:
        works = ((self.ledger.trial(trial.id), trial.canonical()) for trial in self.sweep.trials)
        done = (work.id for work, planned in works if work.has_result() and not work.problem(planned))
        self._done = dict.fromkeys(done, self.began)

    def look(self) -> Snapshot:
        submitted = self.lookout.submitted() if self.lookout else Submitted()
        counts: Counter[Place] = Counter()
        reasons: dict[Place, Counter[str]] = {}
        running, stopped = [], []
        for trial in self.sweep.trials:
            work = self.ledger.trial(trial.id)
            found = self._where(work, trial, submitted)
            counts[found.place] += 1
            if found.place is Place.RUNNING:
                running.append(_activity(self.ledger, work, trial.label, trial.start_ids, found.job))
            elif found.place in (Place.FAILED, Place.UNREADABLE) or (found.place is Place.LOST and found.why):
                stopped.append(Stopped(trial.label, trial.id, found.place, found.why))
            elif found.why:
                reasons.setdefault(found.place, Counter())[found.why] += 1
        ordered = {place: counts[place] for place in Place if counts[place]}
        total = len(self.sweep.trials)
        return Snapshot(total, ordered, running, stopped, self._seconds_left(ordered), reasons, submitted)

    def _where(self, work: Work, trial: Trial, submitted: Submitted) -> Where:
        """A trial that is done, and was whole once, is not looked at again; nor are files that are being written."""
        state = State.DONE if work.id in self._done else work.state()
        looked_at = state is State.RUNNING or work.id in self._done
        if not looked_at and (problem := work.problem(trial.canonical())):
            return Where(Place.UNREADABLE, problem)
        if state is State.DONE:
            self._done.setdefault(work.id, time.time())
        return whereabouts.where(work, state, submitted)

    def _seconds_left(self, counts: dict[Place, int]) -> float | None:
        """From the pace of the trials that finished while we watched."""
        seen = [when for when in self._done.values() if when > self.began]
        left = len(self.sweep.trials) - counts.get(Place.DONE, 0) - _left_alone(counts)
        if not seen or not left:
            return None
        return left * (max(seen) - self.began) / len(seen)


def _left_alone(counts: Mapping[Place, int]) -> int:
    return counts.get(Place.FAILED, 0) + counts.get(Place.UNREADABLE, 0)


def _activity(ledger: Ledger, work: Work, label: str, starts: Sequence[str], job: Job | None) -> Activity:
    """The newest event of a trial; while it waits for its baseline, the baseline's."""
    attempt = work.newest_attempt()
    if attempt is None:
        return Activity(label, None)
    events = pace.recent(attempt)
    event = events[-1] if events else None
    if event is not None and event["event"] == "start":
        tried = [making for identity in starts if (making := ledger.baseline(identity).newest_attempt())]
        making = tried[-1] if tried else None
        inner = making.newest("train") if making else None
        event = {**inner, "baseline": True} if inner else event
    return Activity(label, event, pace.seconds_left(events), attempt.job(), job)
