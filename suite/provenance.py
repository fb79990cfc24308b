"""What an attempt ran with: code, versions, hardware."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.files import read_json, write_atomic, write_json

if TYPE_CHECKING:  # the command line imports this module, and torch takes seconds
    import torch

    from suite.config import Trial

PACKAGES = ("slq-suite", "torch", "torchvision", "numpy", "ray", "mlflow", "submitit")
SLURM = (  # beside everything that names a job: its id, its array's id, partition, nodes, ...
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURMD_NODENAME",
    "SLURM_NODEID",
    "SLURM_PROCID",
    "SLURM_CPUS_ON_NODE",
    "SLURM_GPUS_ON_NODE",
)
CODE, DIFF = "code.json", "code.diff"  # beside a frozen copy of the package: where it is from


def record(folder: Path, trial: Trial, data_sha256: str, device: torch.device) -> None:
    """Write `provenance.json` into an attempt's folder and, if the code differs from its commit, the difference beside it."""
    import torch

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
            "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "threads": trial.threads,
            "seed": trial.seed,
            "data_sha256": data_sha256,
            "slurm": _slurm(),
            "argv": sys.argv,
        },
    )
    if difference:
        write_atomic(folder / "code.diff", lambda temporary: temporary.write_bytes(difference))


@cache
def code_version() -> tuple[str | None, bool, bytes]:
    """Commit of the suite's own checkout, whether files differ from it, and how; (None, False, b"") for an installed package.

    A frozen copy says where it is from itself: git would speak of the checkout in whose results it lies.
    """
    source = Path(__file__).resolve().parent
    return frozen_version(source.parent) or _git_version(source)


def frozen_version(root: Path) -> tuple[str | None, bool, bytes] | None:
    """What the frozen copy `root` says of itself, None if it is none. One that was edited afterwards counts as dirty."""
    facts = frozen_facts(root)
    if facts is None:
        return None
    difference = (root / DIFF).read_bytes() if facts["dirty"] and (root / DIFF).exists() else b""
    if (content := content_hash(root)) == facts["content"]:
        return facts["commit"], facts["dirty"], difference
    edited = f"\nThe frozen copy was edited: its content is {content}, no longer {facts['content']}.\n"
    return facts["commit"], True, difference + edited.encode()


def frozen_facts(root: Path) -> dict[str, Any] | None:
    """The `code.json` of the frozen copy `root`, None if it is none."""
    try:
        facts: dict[str, Any] | None = read_json(root / CODE)
        return facts if facts is not None and facts.keys() >= {"commit", "dirty", "tree", "content"} else None
    except (ValueError, AttributeError):  # somebody else's file of that name
        return None


def content_hash(root: Path) -> str:
    """SHA-256 (hex) over names and contents of a copy of the code."""
    digest = hashlib.sha256()
    for path in sorted(_code_files(root)):
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _code_files(root: Path) -> Iterator[Path]:
    """Without what running it leaves behind: bytecode, NFS's names for files that are removed while open."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        own = (CODE, DIFF) if Path(folder) == root else ()
        yield from (Path(folder, name) for name in names if name not in own and not name.startswith(".nfs"))


def _git_version(source: Path) -> tuple[str | None, bool, bytes]:
    def git(*arguments: str | Path) -> bytes:
        return subprocess.run(["git", "-C", source, *arguments], capture_output=True, check=True).stdout

    try:
        commit = git("rev-parse", "HEAD").decode().strip()
        return commit, bool(git("status", "--porcelain", "--", source)), git("diff", "HEAD", "--", source)
    except (OSError, subprocess.CalledProcessError):
        return None, False, b""


def _slurm() -> dict[str, str]:
    """What Slurm says of this process, {} outside of it."""
    return {k: v for k, v in os.environ.items() if k in SLURM or (k.startswith("SLURM_") and "JOB" in k)}


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _processor() -> str:
    """The processor's name where Linux tells it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
