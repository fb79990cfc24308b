"""Ray Tune as a packer: it runs trials on the worker processes of a Ray that is there already.

Tune is never the record: it is told which trials to run and forgets them; outcomes are in the ledger.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from suite import stop
from suite.config import Trial
from suite.launch.early import Early, standing_of
from suite.launch.worker import disk_is_full
from suite.ledger import Event, Ledger

Errors = dict[str, str]  # trial id -> what went wrong

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that is given no GPU sees none
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C reaches us as KeyboardInterrupt
    "RAY_AIR_NEW_OUTPUT": "0",  # its new output ignores verbose=0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # the last report, with the outcome, has no metrics
}  # of Ray and Tune, which read their environment when they are imported

STOP_FILE = "SLQ_STOP_FILE"  # variable of worker processes: when this file appears, trials save and stop
NODE_DATA = "SLQ_NODE_DATA"  # likewise: the data root on a node that has the data on its own disk
WATCH = 0.5  # seconds between looks at it

NO_SPACE = "the disk is full: "
DIED = "its worker process ended without a word: killed, or out of memory; run again"


def pack(
    trials: Sequence[Trial],
    ledger: Ledger,
    data_root: Path,
    storage: Path,
    *,
    cpus: Callable[[Trial], int],
    gpus: float,
    at_once: int | None = None,
    early: Early | None = None,
) -> Errors:
    """Run these trials, as many at once as there is room for (and at most `at_once`), and say what went wrong.

    `storage` is for Tune's temporary files. `ray.init` must have been called, with `SETTINGS` in the environment before.
    With `early`, trials that do worse than others are stopped before their ends.
    """
    from ray import tune  # only now: Ray reads its environment when it is imported

    def need(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": cpus(_trial(config)), "GPU": gpus}])

    work = tune.with_parameters(_work, ledger=ledger, data_root=data_root, early=early)
    scheduler = early.scheduler() if early else None
    results = tune.Tuner(
        tune.with_resources(work, need),
        param_space={"trial": tune.grid_search([trial.model_dump_json() for trial in trials])},
        tune_config=tune.TuneConfig(max_concurrent_trials=at_once, reuse_actors=True, scheduler=scheduler),
        run_config=tune.RunConfig(storage_path=str(storage), name="pack", verbose=0),
    ).fit()
    reports = [result.metrics for result in results if result.metrics]
    said = {report["trial"]: report["error"] for report in reports if "trial" in report}
    return {trial.id: error for trial in trials if (error := said.get(trial.id, DIED))}


def _trial(config: dict[str, Any]) -> Trial:
    return Trial.model_validate_json(config["trial"])


def _work(config: dict[str, Any], ledger: Ledger, data_root: Path, early: Early | None) -> None:
    """One trial in a worker process, which goes on to its next one after an error."""
    from ray import tune

    trial = _trial(config)
    stop.clear()  # the trial before may have been stopped early
    said = _run_judged(trial, ledger, data_root, early) if early else _run(trial, ledger, data_root)
    tune.report({"trial": trial.id, "error": said})


def _run(trial: Trial, ledger: Ledger, data_root: Path) -> str:
    """Run a trial and return what went wrong."""
    from suite.trial import run_trial

    try:
        with _watching_for_stop():
            stop.check()
            run_trial(trial, ledger, Path(os.environ.get(NODE_DATA, data_root)))
    except stop.Stopped as reason:
        return f"stopped: {reason}"
    except Exception as error:
        return f"{NO_SPACE if disk_is_full(error) else ''}{type(error).__name__}: {error}"
    return ""


def _run_judged(trial: Trial, ledger: Ledger, data_root: Path, early: Early) -> str:
    """The same in a thread, while this one reports how the trial does, and has it stop if Tune's scheduler says so."""
    from ray import tune

    work, said = ledger.trial(trial.id), list[str]()
    before = work.newest_attempt()
    seen: Event | None = before.newest("eval") if before else None
    runner = threading.Thread(target=lambda: said.append(_run(trial, ledger, data_root)))
    runner.start()
    while runner.is_alive():
        runner.join(WATCH)
        attempt = work.newest_attempt()
        event = attempt.newest("eval") if attempt else None
        if event is None or event == seen:
            continue
        tune.report({"trial": trial.id, "error": "", **standing_of(event)})  # returns when the scheduler has judged
        seen = event
        if early.judged(trial.id):
            stop.request(early.reason)
    return said[0] if said else "its thread ended without a word"


@contextmanager
def _watching_for_stop() -> Iterator[None]:
    """Turn the stop file, if there is to be one, into a request to stop: now, and from a thread until the end."""
    if STOP_FILE not in os.environ:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH):
            with suppress(OSError):  # a shared file system that does not answer now may do so soon
                _look_for_stop()

    _look_for_stop()
    watcher = threading.Thread(target=watch, name="watch for stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _look_for_stop() -> None:
    file = Path(os.environ[STOP_FILE])
    if file.exists():
        stop.request(file.read_text())
