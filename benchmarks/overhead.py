"""What a sweep of short trials costs beside the trials themselves: `slq run`, Ray Tune alone, and joblib.

python benchmarks/overhead.py [--trials N] [--workers N]

A trial sleeps for a second. With `slq run` it is also all that a trial is for the suite: a claim, its events, provenance, a packed
network, a result (those of a trial that was really run once), a run in MLflow, and a row of the table. Overhead is the time of the
whole command, from a Python that has only started, times the workers, over the trials, less the second.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from suite.config import Trial
from suite.ledger import Ledger

SECONDS = 1.0  # that a trial sleeps
EVENTS = 40  # that it records meanwhile
REAL = {  # the trial whose files the others copy
    "network": "lenet5",
    "data": "digits",
    "method": {"name": "slq", "bits": 5},
    "baseline": {"epochs": 2, "batch_size": 128},
    "retrain": {"epochs": 2, "batch_size": 128, "budget": "trial"},
    "holdout": 64,
}
Fixed = tuple[float, float]  # seconds before the first trial begins, and after the last one has ended


def stub(trial: Trial, ledger: Ledger, data_root: Path) -> bool:
    """In place of `run_trial`: the same writing, and a pause in place of the work. `data_root` is the real trial's folder."""
    import torch

    from suite.files import write_atomic
    from suite.provenance import record

    attempt = ledger.trial(trial.id).try_claim(trial.config())
    assert attempt is not None
    with attempt.running():
        began = time.monotonic()
        record(attempt.path, trial, "0" * 64, torch.device("cpu"))
        result = json.loads((data_root / "result.json").read_text())
        model = (data_root / "model.slq").read_bytes()
        for step in range(1, EVENTS + 1):
            attempt.emit("train", stage=1, stages=2, step=step, steps=EVENTS, loss=1 / step, accuracy=0.5, lr=0.1)
        wrote = time.monotonic() - began
        time.sleep(SECONDS)
        attempt.say(f"slept {SECONDS} s, wrote for {wrote:.3f} s")
        write_atomic(attempt.work.model, lambda temporary: temporary.write_bytes(model))
        attempt.finish({**result, "trial": trial.id, "config": trial.config()})
    return True


def with_suite(count: int, workers: int, folder: Path) -> Fixed:
    """`slq run`, in this process."""
    from suite.cli.run import run
    from suite.launch import pack

    ledger, real = Ledger(folder / "runs", "short"), folder / "real"
    work = pack._work

    def stubbed(config: dict[str, Any], **given: Any) -> None:
        import suite.trial

        suite.trial.run_trial = stub
        work(config, **given | {"data_root": real})

    pack._work = stubbed
    sweep = folder / "short.yaml"
    defaults = {name: value for name, value in REAL.items() if name != "method"}
    grid = [{"method": [REAL["method"]], "seed": list(range(count))}]
    sweep.write_text(json.dumps({"defaults": defaults, "grid": grid}))  # JSON is YAML
    run(sweep, ledger.root, workers=workers, gpus=0.0, tables_folder=folder / "tables", data_root=folder)
    ended = time.time()
    events = [work.attempts()[0].events() for work in ledger.trials()]
    if len(events) != count:
        raise RuntimeError(f"{len(events)} trials were run")
    return min(each[0]["t"] for each in events) - STARTED, ended - max(each[-1]["t"] for each in events)


def with_tune(count: int, workers: int, folder: Path) -> Fixed:
    """The same sleeps in Ray Tune, with actors that are used again, and without any of its own logs."""
    from suite.launch.pack import SETTINGS

    os.environ |= SETTINGS
    import ray
    from ray import tune

    def sleep(config: dict[str, Any]) -> None:
        began = time.time()
        time.sleep(SECONDS)
        tune.report({"began": began, "ended": time.time()})

    ray.init(
        address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    results = tune.Tuner(
        tune.with_resources(sleep, {"cpu": 1}),
        param_space={"trial": tune.grid_search(list(range(count)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=workers, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), name="sleeps", verbose=0),
    ).fit()
    ray.shutdown()
    times = [result.metrics for result in results]
    return min(each["began"] for each in times) - STARTED, time.time() - max(each["ended"] for each in times)


def with_joblib(count: int, workers: int, folder: Path) -> Fixed:
    """The same sleeps in joblib's processes, which keep no record."""
    from joblib import Parallel, delayed

    def sleep(_: int) -> tuple[float, float]:
        began = time.time()
        time.sleep(SECONDS)
        return began, time.time()

    times = Parallel(n_jobs=workers)(delayed(sleep)(each) for each in range(count))
    return min(began for began, _ in times) - STARTED, time.time() - max(ended for _, ended in times)


WAYS = {"slq run": with_suite, "Ray Tune": with_tune, "joblib": with_joblib}
STARTED = time.time()


def measure(way: str, count: int, workers: int, folder: Path) -> str:
    """A row of the table, from a process of its own."""
    command = [sys.executable, __file__, "--trials", str(count), "--workers", str(workers), "--way", way]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--folder", str(folder)], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    wall = time.perf_counter() - began
    first, last = json.loads(done.stdout.splitlines()[-1])
    python = wall - _inside(done.stdout)
    between = (wall - python - first - last) * workers / count - SECONDS
    overhead = wall * workers / count - SECONDS
    return f"| {way} | {wall:.1f} | {overhead:.3f} | {python + first:.1f} | {between:.3f} | {last:.1f} |"


def _inside(said: str) -> float:
    """Seconds that the process says it took since its imports."""
    return float(said.splitlines()[-2])


def one(way: str, count: int, workers: int, folder: Path) -> None:
    fixed = WAYS[way](count, workers, folder)
    print(time.time() - STARTED)
    print(json.dumps(fixed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        one(given.way, given.trials, given.workers, given.folder)
        return
    from suite.trial import run_trial

    with tempfile.TemporaryDirectory(prefix="slq-overhead-") as temporary:
        folder = Path(temporary)
        ledger, trial = Ledger(folder / "real-runs", "real"), Trial.model_validate({**REAL, "seed": 0})
        run_trial(trial, ledger, Path("data"))
        ledger.trial(trial.id).path.rename(folder / "real")
        print(f"{given.trials} trials of {SECONDS:g} s, {given.workers} workers\n")
        print("| | whole, s | overhead a trial, s | until the first trial, s | between trials, s | after the last, s |")
        print("|:--|--:|--:|--:|--:|--:|")
        for way in WAYS:
            print(measure(way, given.trials, given.workers, folder), flush=True)


if __name__ == "__main__":
    main()
