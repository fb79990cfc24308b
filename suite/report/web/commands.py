"""The commands that make a sweep and its report again, without the paths of this machine."""

from __future__ import annotations

import shlex
from pathlib import Path

LEDGER = "LEDGER"  # stands for a root outside of the working folder


def commands(sweep_file: Path, root: Path, usual: Path, commit: str | None, page: Path | None = None) -> dict[str, str]:
    """What each does -> a line for a shell in the root of the checkout; in the order in which they are given.

    Args:
        usual: the ledger's default root.
        page: the report's file, None if it is the one that it usually is.
    """
    sweep = shlex.quote(_here(sweep_file) or sweep_file.name)
    here = _here(root)
    where = "" if root.resolve() == usual.resolve() else f" --root {shlex.quote(here) if here else LEDGER}"
    place = f" --out {shlex.quote(_here(page) or page.name)}" if page else ""
    return {
        **({"checkout": f"git checkout {commit}"} if commit else {}),
        "run": f"slq run {sweep}{where}",
        "tables": f"slq tables {sweep}{where}",
        "figures": f"slq figures {sweep}{where}",
        "report": f"slq report {sweep}{where}{place}",
    }


def _here(path: Path) -> str:
    """Relative to the working folder, "" if it is elsewhere."""
    whole, folder = path.resolve(), Path.cwd()
    return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else ""
