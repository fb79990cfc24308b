"""Why trials failed, were lost or cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from suite.config import Trial
from suite.launch.whereabouts import Submitted, ask, where
from suite.ledger import Ledger, State, Work, in_words
from suite.report.frame import DAMAGED
from suite.report.paths import Shorten
from suite.report.web.told import NO_LAST_WORD, Told

LINES = 40  # of a log's end that are shown


@dataclass(frozen=True)
class Failure:
    """`place`: failed, lost, interrupted, unknown (as `slq status` says), or unreadable; `log`: the end of its newest attempt's."""

    trial: Told
    place: str
    why: str
    reached: str  # how far its newest attempt came
    log: str


def failures(trials: Sequence[Trial], ledger: Ledger, told: dict[str, Told], shorten: Shorten) -> list[Failure]:
    """In the order of the plan.

    Slurm is asked, once, if trials of a submitted sweep stopped: why it ended a job is in no file of the ledger.
    """
    stopped = [trial for trial in trials if told[trial.id].state in (State.FAILED, State.LOST)]
    submitted = _asked(ledger) if stopped else Submitted()
    return list(_found(trials, ledger, told, submitted, shorten))


def _asked(ledger: Ledger) -> Submitted:
    try:
        return ask(ledger)
    except DAMAGED:  # a submission's record: the trials' own files say the rest
        return Submitted()


def _found(
    trials: Sequence[Trial], ledger: Ledger, told: dict[str, Told], submitted: Submitted, shorten: Shorten
) -> Iterator[Failure]:
    for trial in trials:
        view = told[trial.id]
        if view.warning:
            yield Failure(view, "unreadable", view.warning, "", "")
        elif view.state in (State.FAILED, State.LOST):
            try:
                yield _failure(view, ledger.trial(trial.id), submitted, shorten)
            except DAMAGED as error:
                yield Failure(view, view.state, shorten(in_words(error)), "", "")


def _failure(view: Told, work: Work, submitted: Submitted, shorten: Shorten) -> Failure:
    found, attempt = where(work, State(view.state), submitted), work.newest_attempt()
    stage, step = attempt.progress() if attempt else (0, 0)
    log = attempt.log().rstrip().splitlines()[-LINES:] if attempt else []
    return Failure(
        trial=view,
        place=found.place,
        why=shorten(found.why or NO_LAST_WORD),
        reached=f"came to stage {stage}, step {step}" if stage else "ended before its first stage",
        log=shorten("\n".join(log)),
    )
