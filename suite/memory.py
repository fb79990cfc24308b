"""Peak memory of one trial in a process that carries out several."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def restart_peak() -> None:
    """Forget what earlier trials took. Where the system cannot, the peak stays that of the process."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if _CLEAR.exists():
        _CLEAR.write_text("5")  # Linux: resets the peak resident size


def peak() -> int:
    """Largest resident size of this process since `restart_peak`, in bytes."""
    if _STATUS.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())):
        return int(found[1]) * 1024
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def peak_gpu() -> int:
    """Most memory that tensors took on the GPU since `restart_peak`, in bytes; 0 without GPU."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
