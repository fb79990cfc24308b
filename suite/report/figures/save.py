"""Figures as files that are the same whenever the figure is: no dates, no versions, fixed identifiers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from suite.files import write_atomic
from suite.report.figures.drawn import Drawn
from suite.report.figures.style import house_style

DOTS = 200  # per inch, of PNG


def save(drawn: Drawn, folder: Path) -> list[Path]:
    """Write `<name>.svg`, `.pdf` and `.png` into `folder`, each at once; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{drawn.name}.{suffix}" for suffix in ("svg", "pdf", "png")]
    with house_style():
        drawn.figure.draw_without_rendering()
        drawn.figure.set_layout_engine("none")  # found once: the same in all files
        for path in paths:
            write_atomic(path, partial(write, drawn, path.suffix[1:]))
    return paths


def write(drawn: Drawn, kind: str, target: Path | BinaryIO) -> None:
    """As svg, pdf or png, in the style of the house if that is set."""
    drawn.figure.savefig(target, format=kind, dpi=DOTS, metadata=_metadata(drawn, kind))


def _metadata(drawn: Drawn, kind: str) -> dict[str, Any]:
    """Title and caption, which thus go where the file goes; None leaves out what matplotlib would say by itself."""
    match kind:
        case "svg":
            return {"Title": drawn.title, "Description": drawn.caption, "Date": None, "Creator": None}
        case "pdf":
            nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
            return {"Title": drawn.title, "Subject": drawn.caption, **nothing}
        case _:
            return {"Title": drawn.title, "Description": drawn.caption, "Software": None}
