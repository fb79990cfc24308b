"""Trials that a search gives up before their ends, because a scheduler of Ray Tune finds that others do better.

Tune would end such a trial where it stands. Here its verdict only becomes a file; the trial sees it after its next report, saves,
and stops as it does for any other reason. What was measured of it stays in the ledger, it is not done, and it can go on later.

Trials are compared after equal shares of their stages, by the accuracy after re-training; their numbers of stages differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from suite.errors import UserError, choices
from suite.ledger import Event, Work

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

Name = Literal["none", "asha", "median"]
PERCENT, ACCURACY = (
    "percent",
    "top1",
)  # of the stages that are behind a trial; of the test images, in its last evaluation
GRACE = 25  # percent that every trial may do
ASHA_KEEPS = 2  # of so many trials one goes on at 25, 50 and 100 percent
MEDIAN_NEEDS = 3  # trials to compare with
REASON = "stopped early"


@dataclass(frozen=True)
class Early:
    """A scheduler and the folder in which its verdicts lie."""

    name: str
    verdicts: Path

    @staticmethod
    def of(name: str, verdicts: Path) -> Early | None:
        """None for "none"."""
        if name not in get_args(Name):
            raise UserError(f"no scheduler {name!r}{choices(name, get_args(Name))}")
        return None if name == "none" else Early(name, verdicts)

    @property
    def reason(self) -> str:
        return f"{REASON} by {self.name}: others did better"

    def judged(self, trial: str) -> bool:
        """Whether the trial is to stop."""
        return (self.verdicts / trial).exists()

    def judge(self, trial: str) -> None:
        self.verdicts.mkdir(parents=True, exist_ok=True)
        (self.verdicts / trial).touch()

    def scheduler(self) -> TrialScheduler:
        """For Tune; it never ends a trial itself."""
        base, options = _tunes(self.name)
        early = self

        class Judge(base):  # type: ignore[misc, valid-type]
            def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
                if early.judged(result["trial"]):
                    return str(base.CONTINUE)
                if super().on_trial_result(controller, trial, result) == base.STOP:
                    early.judge(result["trial"])
                return str(base.CONTINUE)

            def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
                if PERCENT in result:  # the last report tells how the trial ended, no metrics
                    super().on_trial_complete(controller, trial, result)

        return Judge(time_attr=PERCENT, metric=ACCURACY, mode="max", grace_period=GRACE, **options)


def _tunes(name: str) -> tuple[Any, dict[str, Any]]:
    """Tune's class and what is particular to it."""
    from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule

    if name == "asha":
        return ASHAScheduler, {"max_t": 100, "reduction_factor": ASHA_KEEPS, "stop_last_trials": False}
    options = {"min_samples_required": MEDIAN_NEEDS, "min_time_slice": inf}  # it would pause trials, too
    return MedianStoppingRule, options


def standing_of(event: Event) -> dict[str, float]:
    """What a trial reports to the scheduler of an event "eval"."""
    return {PERCENT: 100 * event["stage"] / event["stages"], ACCURACY: event["top1"]}


def was_stopped_early(work: Work) -> bool:
    """Whether that is how the newest attempt ended."""
    attempt = work.newest_attempt()
    end = attempt.newest("end") if attempt else None
    return end is not None and str(end.get("error", "")).startswith(REASON)
