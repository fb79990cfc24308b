"""What an attempt ran with: code, versions, hardware."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from suite.config import Trial
from suite.files import write_atomic, write_json

PACKAGES = ("slq-suite", "torch", "torchvision", "numpy", "ray", "mlflow", "submitit")


def record(folder: Path, trial: Trial, data_sha256: str, device: torch.device) -> None:
    """Write `provenance.json` into an attempt's folder and, if the code differs from its commit, the difference beside it."""
    commit, changed, difference = code_version()
    write_json(
        folder / "provenance.json",
        {
            "commit": commit,
            "dirty": changed,
            "diff_sha256": hashlib.sha256(difference).hexdigest() if difference else None,
            "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
            "host": platform.node(),
            "cpu": _processor(),
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
            "device": device.type,
            "threads": trial.threads,
            "seed": trial.seed,
            "data_sha256": data_sha256,
            "slurm": {key: value for key, value in os.environ.items() if key.startswith("SLURM_") and "JOB" in key},
            "argv": sys.argv,
        },
    )
    if difference:
        write_atomic(folder / "code.diff", lambda temporary: temporary.write_bytes(difference))


@cache
def code_version() -> tuple[str | None, bool, bytes]:
    """Commit of the suite's own checkout, whether files differ from it, and how; (None, False, b"") for an installed package."""
    source = Path(__file__).resolve().parent

    def git(*arguments: str | Path) -> bytes:
        return subprocess.run(["git", "-C", source, *arguments], capture_output=True, check=True).stdout

    try:
        commit = git("rev-parse", "HEAD").decode().strip()
        return commit, bool(git("status", "--porcelain", "--", source)), git("diff", "HEAD", "--", source)
    except (OSError, subprocess.CalledProcessError):
        return None, False, b""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name where Linux tells it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
