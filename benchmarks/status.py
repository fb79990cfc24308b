"""What a look at a submitted sweep of 1,000 trials costs: reading the ledger, one call of sacct, drawing.

python benchmarks/status.py
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.launch.polling import Lookout
from suite.launch.whereabouts import Submitted, ask
from suite.ledger import Ledger
from suite.progress import Watch, text
from suite.sweep import Sweep, load_sweep

REPOSITORY = Path(__file__).parent.parent
ROUNDS = 5
# trials of each kind: done; running, with 1,000 points of a training curve; preempted; failed; killed; still in the queue
KINDS = {"done": 500, "running": 100, "preempted": 50, "failed": 25, "killed": 25, "queued": 300}
STATES = {"done": "COMPLETED", "running": "RUNNING", "failed": "COMPLETED", "killed": "NODE_FAIL"}
SWEEP = """
defaults: {network: lenet5, data: digits}
grid:
  - method: [{name: kmeans, bits: 3}]
    seed: [%s]
"""


def events(kind: str) -> list[dict[str, Any]]:
    now = time.time()
    found: list[dict[str, Any]] = [{"t": now - 1000, "event": "start", "attempt": 1}]
    point = {"event": "train", "loss": 0.25, "accuracy": 0.9, "steps": 2000, "stage": 1, "stages": 5, "lr": 0.01}
    found += [{"t": now - 1000 + step, **point, "step": step} for step in range(1000 if kind == "running" else 10)]
    ends = {"done": "done", "failed": "failed", "preempted": "interrupted"}
    return [*found, {"t": now, "event": "end", "outcome": ends[kind], "error": "x"}] if kind in ends else found


def write_trial(ledger: Ledger, identity: str, kind: str, job: str) -> None:
    work = ledger.trial(identity)
    attempt = work.path / "attempts" / "1"
    attempt.mkdir(parents=True)
    owner = {"host": "n1:elsewhere", "pid": 1, "born": "1", "job": job, "restart": 0}
    expires = time.time() + (3600 if kind == "running" else -1)
    (attempt / "claim.json").write_text(json.dumps({"owner": owner, "expires": expires}))
    (attempt / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events(kind)))
    if kind == "done":
        (work.path / "result.json").write_text('{"schema": 1}')


def record(task: str, kind: str) -> str:
    """Lines of sacct for an array task. A preempted one has two runs, the second of which waits."""
    ended = "Unknown" if kind == "running" else "1795517484"
    run = f"{task}|%s|None|0:0|n1|1795517407|1795517407|{ended}|77|240|1|cpu=1,mem=100M,node=1|00:00:00|slq-b\n"
    if kind == "preempted":
        waits = f"{task}|PENDING|BeginTime|0:0|None assigned|1795517490|Unknown|Unknown|0|240|1||00:00:00|slq-b\n"
        return run % "PREEMPTED" + waits
    return run % STATES[kind]


def build(folder: Path) -> tuple[Sweep, Ledger]:
    """A sweep, its ledger, and in `bin` a sacct that knows its array and counts its calls."""
    count = sum(KINDS.values())
    (folder / "b.yaml").write_text(SWEEP % ", ".join(map(str, range(count))))
    sweep, ledger = load_sweep(folder / "b.yaml"), Ledger(folder / "runs", "b")
    kinds = [kind for kind, number in KINDS.items() for _ in range(number)]
    for index, (trial, kind) in enumerate(zip(sweep.trials, kinds, strict=True)):
        if kind != "queued":
            write_trial(ledger, trial.id, kind, f"7_{index}")
    submission = ledger.path / "submissions" / "b"
    submission.mkdir(parents=True)
    intent = {
        "job_name": "slq-b",
        "backend": "array",
        "site": "here",
        "created": 0,
        "tasks": count,
        "gpus": 0,
        "cpus": 1,
    }
    trials = [trial.id for trial in sweep.trials]
    (submission / "submission.json").write_text(json.dumps({**intent, "trials": trials}))
    (submission / "job.json").write_text('{"job_id": "7"}')
    known = "".join(record(f"7_{index}", kind) for index, kind in enumerate(kinds) if kind != "queued")
    waiting = f"7_[{count - KINDS['queued']}-{count - 1}%8]"
    known += f"{waiting}|PENDING|None|0:0|None assigned|1795517407|Unknown|Unknown|0|240|1||00:00:00|slq-b\n"
    (folder / "known").write_text(known)
    (folder / "bin").mkdir()
    for name, script in {"sacct": f"cat {folder}/known", "squeue": "exit 1"}.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\necho {name} >> {folder}/calls\n{script}\n")
        (folder / "bin" / name).chmod(0o755)
    os.environ["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return sweep, ledger


def median(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and those of the processor, child processes included."""
    taken = []
    for _ in range(ROUNDS):
        begin, used = time.perf_counter(), sum(os.times()[:4])
        action()
        taken.append((time.perf_counter() - begin, sum(os.times()[:4]) - used))
    wall, processor = zip(*taken, strict=True)
    return statistics.median(wall), statistics.median(processor)


def calls(folder: Path, action: Callable[[], object]) -> int:
    """How often Slurm is called."""
    log = folder / "calls"
    log.write_text("")
    action()
    return len(log.read_text().splitlines())


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep, ledger = build(folder)
        known = ask(ledger)
        command = [sys.executable, "-c", "from suite.cli import main; main()", "status", str(folder / "b.yaml")]

        def first_look() -> Watch:
            watch = Watch(sweep, ledger, Lookout(ledger))
            watch.look()
            return watch

        def slq_status() -> None:
            subprocess.run(
                [*command, "--root", str(ledger.root)], check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL
            )

        def same(_: Ledger) -> Submitted:
            return known

        again = Watch(sweep, ledger, Lookout(ledger, ask=same))
        snapshot = first_look().look()
        assert len(known.report.jobs) == snapshot.total == sum(KINDS.values())
        rows = [
            ("call sacct and read its answer", median(lambda: ask(ledger)), calls(folder, lambda: ask(ledger))),
            ("first look (ledger and sacct)", median(first_look), calls(folder, first_look)),
            ("a later look, as in --watch", median(again.look), calls(folder, again.look)),
            ("draw it as text", median(lambda: text(snapshot)), 0),
            ("of the next row: start Python, import torch", median(import_sweep), 0),
            ("`slq status`, the whole command", median(slq_status), calls(folder, slq_status)),
        ]
    print("| step | seconds | of the processor | calls of Slurm |\n|:--|--:|--:|--:|")
    for step, (seconds, processor), count in rows:
        print(f"| {step} | {seconds:.2f} | {processor:.2f} | {count} |")


def import_sweep() -> None:
    subprocess.run([sys.executable, "-c", "import suite.sweep"], check=True, cwd=REPOSITORY)


if __name__ == "__main__":
    main()
