"""What bringing MLflow up to a large sweep costs: every trial is a copy of one that was really run, with a seed of its own.

python benchmarks/sync.py [--trials N...] [--tracking-uri URI]
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

from suite.config import Trial
from suite.ledger import Ledger
from suite.track import default_uri, sync
from suite.trial import run_trial

REAL = {  # as in jobs/quickstart.yaml
    "network": "lenet5",
    "data": "digits",
    "method": {"name": "slq", "bits": 5},
    "baseline": {"epochs": 5, "batch_size": 32},
    "retrain": {"epochs": 30, "batch_size": 32, "budget": "trial"},
    "holdout": 128,
}


def trial(seed: int) -> Trial:
    return Trial.model_validate({**REAL, "seed": seed})


def copy(real: Path, ledger: Ledger, planned: Trial) -> None:
    """The folder of another seed's trial, with its own settings and id in it."""
    folder = ledger.trial(planned.id).path
    shutil.copytree(real, folder)
    for name in ("config.json", "result.json"):
        content = json.loads((folder / name).read_text())
        (content if name == "config.json" else content["config"])["seed"] = planned.seed
        if name == "result.json":
            content["trial"] = planned.id
        (folder / name).write_text(json.dumps(content, indent=1))


def measure(real: Path, root: Path, count: int, uri: str | None) -> str:
    """A row of the table for a sweep of so many trials."""
    ledger, trials = Ledger(root, f"sync-{count}"), [trial(seed) for seed in range(1, count + 1)]
    uri = uri or default_uri(root)
    sync(ledger, [], uri)  # imports MLflow and makes the database
    for planned in trials[:-1]:
        copy(real, ledger, planned)
    seconds, busy = [], []
    for number in range(3):
        if number == 2:
            copy(real, ledger, trials[-1])
        start, before = time.perf_counter(), time.process_time()
        report = sync(ledger, trials, uri)
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - before)
        wanted = [(count - 1, 0), (0, count - 1), (1, count - 1)][number]
        if (report.created, report.unchanged) != wanted:
            raise RuntimeError(f"the sync did something else: {report}")
        points = report.points
    database = root / "mlflow.db"
    artifacts = sum(file.stat().st_size for file in (root / "mlartifacts").rglob("*") if file.is_file())
    sizes = [database.stat().st_size if database.exists() else 0, artifacts]
    first, again, one = seconds
    processor = f"{1000 * busy[0] / (count - 1):.0f}"
    times = f"{first:.1f} | {1000 * first / (count - 1):.0f} | {processor} | {again:.2f} | {one:.2f}"
    return f"| {count:,} | {points} | {times} | {sizes[0] / 1e6:.0f} | {sizes[1] / 1e6:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[5_000], help="sizes of sweeps, at least 2")
    parser.add_argument("--tracking-uri", help="default: SQLite, made anew for each size")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slq-sync-") as temporary:
        ledger = Ledger(Path(temporary) / "real", "real")
        run_trial(trial(0), ledger, Path("data"))
        real = ledger.trial(trial(0).id).path
        columns = ["trials", "points each", "sync, s", "ms a trial", "of the processor, ms", "again, s", "one more, s"]
        columns += ["database, MB", "artifacts, MB"]
        print(f"| {' | '.join(columns)} |\n|{'--:|' * len(columns)}")
        for count in arguments.trials:
            print(measure(real, Path(temporary) / str(count), count, arguments.tracking_uri), flush=True)


if __name__ == "__main__":
    main()
