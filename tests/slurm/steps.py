"""Training steps of other processes, made slow, held, or greedy for memory. Results stay what they are.

A trial then lasts as long as a test needs it to, on any machine and at no cost in processor time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Python runs `sitecustomize` when it starts. Training asks after every step, in `stop.requested`, whether it should stop.
HOOK = """
import os, time
from suite import stop

seconds, megabytes, steps = (float(os.environ[f"STEPS_{name}"]) for name in ("SECONDS", "MEGABYTES", "HELD"))
held = os.path.join(os.path.dirname(__file__), "held")
taken = []

def requested(original=stop.requested):
    time.sleep(seconds)
    taken.append(b"x" * int(megabytes * 2**20))
    while len(taken) > steps and os.path.exists(held) and not original():
        time.sleep(0.02)
    return original()

stop.requested = requested
"""


@dataclass(frozen=True)
class Steps:
    """What happens to the steps of processes that have the environment that `install` returns."""

    folder: Path
    seconds: float = 0.0  # that a step takes at least
    megabytes: float = 0.0  # that a step leaves taken
    held: int | None = None  # steps of a process after which it waits for `release`, or for a request to stop

    def are_usual(self) -> bool:
        return not self.seconds and not self.megabytes and self.held is None

    def install(self) -> dict[str, str]:
        """Write what is needed into the folder; returns environment variables."""
        self.folder.mkdir(parents=True)
        (self.folder / "sitecustomize.py").write_text(HOOK)
        if self.held is not None:
            (self.folder / "held").touch()
        numbers = {"SECONDS": self.seconds, "MEGABYTES": self.megabytes, "HELD": self.held or 0}
        return {"PYTHONPATH": str(self.folder)} | {f"STEPS_{name}": str(value) for name, value in numbers.items()}

    def release(self) -> None:
        """Let all that are held go on, and hold nobody any more."""
        (self.folder / "held").unlink()
