"""What an attempt's process and its GPU do while a trial computes: `system.jsonl` in its folder, a line every ten seconds.

    {"t": 1700000000.0, "cpu_percent": 396.2, "memory_bytes": 1500000000, "gpu_percent": 97, "gpu_memory_bytes": 9000000000,
     "gpu_watts": 312.5}

`cpu_percent` is of one processor (as in `top`: 400 means four busy ones), since the sample before; `memory_bytes` is the resident
size. Both are those of the process alone, without the ones that read photographs for it. A GPU's figures are NVML's, of the whole
card, also where only a share of it belongs to the attempt. What cannot be read is absent, never 0.

For people to look at: nothing is computed from it, and a file that cannot be written stops no trial.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from suite.energy import UNREADABLE, Card, find_card

FILE = "system.jsonl"
INTERVAL = 10.0  # seconds, as MLflow's own
MEMORY = Path("/proc/self/statm")

Sample = dict[str, float]


@contextmanager
def sampled(folder: Path, device: torch.device) -> Iterator[None]:
    """Record samples into an attempt's folder while the body runs on `device`, and one at its end."""
    over = threading.Event()
    thread = threading.Thread(target=_record, args=(folder / FILE, device, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _record(file: Path, device: torch.device, over: threading.Event) -> None:
    """One unbuffered write a line: a kill cuts at most the last line."""
    with suppress(OSError), file.open("ab", buffering=0) as lines:
        readings = _readings(find_card(device))
        is_last = False
        while not is_last:
            is_last = over.wait(INTERVAL)
            lines.write(json.dumps(_take(readings)).encode() + b"\n")


def _take(readings: dict[str, Callable[[], float]]) -> Sample:
    sample = {"t": round(time.time(), 3)}
    for name, read in readings.items():
        with suppress(*UNREADABLE):
            sample[name] = read()
    return sample


def _readings(card: Card | None) -> dict[str, Callable[[], float]]:
    """What to read for each sample; each raises `UNREADABLE`."""
    readings: dict[str, Callable[[], float]] = {"cpu_percent": _busy(), "memory_bytes": _resident}
    if card:
        readings["gpu_percent"] = lambda: card.read("UtilizationRates").gpu
        readings["gpu_memory_bytes"] = lambda: card.read("MemoryInfo").used
        readings["gpu_watts"] = lambda: card.read("PowerUsage") / 1e3
    return readings


def _busy() -> Callable[[], float]:
    """How busy the process was since the last call, in percent of one processor."""
    wall, cpu = time.monotonic(), time.process_time()

    def read() -> float:
        nonlocal wall, cpu
        wall_before, cpu_before = wall, cpu
        wall, cpu = time.monotonic(), time.process_time()
        return round(100 * (cpu - cpu_before) / (wall - wall_before), 1)

    return read


def _resident() -> int:
    """Resident size of this process in bytes, where Linux tells it."""
    return int(MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def samples(attempt: Path) -> list[Sample]:
    """The samples in an attempt's folder, oldest first; attempts of earlier versions have none. Damaged lines are left out."""
    try:
        lines = (attempt / FILE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [sample for line in lines if (sample := _parse(line)) is not None]


def _parse(line: bytes) -> Sample | None:
    try:
        sample = {str(name): float(value) for name, value in json.loads(line).items()}
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
    return sample if "t" in sample and all(map(math.isfinite, sample.values())) else None
