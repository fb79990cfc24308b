"""What the tests submit through Submitit: a function that counts, can be interrupted, and goes on from its file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


class Countdown:
    """Counts to `steps` in a file; what it returns says in which runs of the job the steps were made."""

    def __init__(self, folder: str, steps: int) -> None:
        self.folder, self.steps = folder, steps

    def __call__(self, index: int) -> dict[str, Any]:
        path = Path(self.folder) / f"{index}.txt"
        with path.open("a") as file:
            for _ in range(len(path.read_text().splitlines()), self.steps):
                file.write(f"{os.environ.get('SLURM_RESTART_COUNT', '0')}\n")
                file.flush()
                time.sleep(0.1)
        return {"index": index, "runs": path.read_text().split(), "job": os.environ["SLURM_JOB_ID"]}

    def checkpoint(self, index: int) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Countdown(self.folder, self.steps), index)
