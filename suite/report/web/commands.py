"""The commands that make a sweep and its report again, without the paths of this machine."""

from __future__ import annotations

import shlex
from pathlib import Path

LEDGER = "LEDGER"  # stands for a root outside of the working folder


def commands(sweep_file: Path, root: Path, usual: Path, commit: str | None) -> list[str]:
    """Lines for a shell in the root of the checkout; `usual` is the ledger's default root."""
    sweep = shlex.quote(_here(sweep_file) or sweep_file.name)
    here = _here(root)
    where = "" if root.resolve() == usual.resolve() else f" --root {shlex.quote(here) if here else LEDGER}"
    return [
        *([f"git checkout {commit}"] if commit else []),
        f"slq run {sweep}{where}",
        f"slq tables {sweep}{where}",
        f"slq report {sweep}{where}",
    ]


def _here(path: Path) -> str:
    """Relative to the working folder, "" if it is elsewhere."""
    whole, folder = path.resolve(), Path.cwd()
    return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else ""
