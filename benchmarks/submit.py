"""What submitting a sweep of 1,000 trials costs: seconds, and calls of Slurm. From the checkout: python -m benchmarks.submit

Starts a cluster of its own (slurm/dev-cluster, needs root and Slurm), on which nothing runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.slurm.dev_cluster import DevCluster, dev_cluster

TRIALS = 1000
CALLS, SECONDS = 10, 60  # what is aimed at
COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "sacctmgr", "sinfo", "scancel", "srun")
SWEEP = f"""
defaults: {{network: lenet5, data: digits}}
grid:
  - method: [{{name: full}}, {{name: kmeans, bits: 3}}, {{name: slq, bits: 4}}, {{name: mlq, bits: 2}}]
    seed: [{", ".join(map(str, range(TRIALS // 4)))}]
"""
SLQ = [sys.executable, "-c", "from suite.cli import main; main()"]


def main() -> None:
    print("| MaxArraySize | command | arrays | seconds | calls of Slurm |\n|--:|:--|--:|--:|:--|")
    for most in (10_001, 301):
        with dev_cluster(max_array=most) as cluster, tempfile.TemporaryDirectory(prefix="slq-") as folder:
            cluster.command("scontrol", "update", "partitionname=main", "state=down")
            for row in measure(cluster, Path(folder)):
                print(f"| {most} | {row} |", flush=True)


def measure(cluster: DevCluster, folder: Path) -> Iterator[str]:
    """Show, submit, and submit again: a row of the table for each."""
    file, site, root = folder / "thousand.yaml", folder / "site.toml", folder / "runs"
    file.write_text(SWEEP)
    site.write_text('partition = "main"\nmemory = "900M"\n')
    submit = [*SLQ, "submit", str(file), "--site", str(site), "--root", str(root), "--allow-dirty"]
    for name, command in (("--dry-run", [*submit, "--dry-run"]), ("submit", submit), ("submit again", submit)):
        before = len(arrays(cluster))
        with counted(cluster, folder) as (environment, calls):
            begin = time.perf_counter()
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - begin
        told = ", ".join(f"{count} {each}" for each, count in calls.items())
        verdict = "" if calls.total() <= CALLS and seconds < SECONDS else " **too many**"
        yield f"{name} | {len(arrays(cluster)) - before} | {seconds:.1f} | {calls.total()} ({told}){verdict}"
    queued = len(cluster.queue())
    if queued != TRIALS:
        raise RuntimeError(f"{queued} tasks are queued, not {TRIALS}")


def arrays(cluster: DevCluster) -> set[str]:
    return {job.partition("_")[0] for job in cluster.queue()}


@contextmanager
def counted(cluster: DevCluster, folder: Path) -> Iterator[tuple[dict[str, str], Counter[str]]]:
    """An environment in which Slurm's commands are counted; the counts are there when the body is over."""
    binaries, log, calls = folder / "bin", folder / "calls", Counter[str]()
    binaries.mkdir(exist_ok=True)
    log.write_text("")
    for command in COMMANDS:
        script = binaries / command
        script.write_text(f'#!/bin/sh\necho {command} >> {log}\nexec {shutil.which(command)} "$@"\n')
        script.chmod(0o755)
    yield {**os.environ, **cluster.env, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}, calls
    calls.update(log.read_text().split())


if __name__ == "__main__":
    main()
