"""The spec of a published table: which rows and columns it has, and which trials and figures belong into each cell."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import UserError, choices
from suite.report.reference import References
from suite.report.specs.check import Check
from suite.report.specs.lines import Content, Line, Special
from suite.report.strict import read_strictly
from suite.report.tolerance import Tolerance
from suite.sweep import Sweep, load_sweep
from suite.yaml_lines import Block, line_of, load_yaml

TELLING = ("rows", "columns", "sweeps", "sources")  # keys that no sweep file has
SWEEPS = Path("jobs")  # where the sweeps are that are named when one is not found


@dataclass(frozen=True)
class Place:
    """A cell as the spec has it."""

    row: Line
    column: Line
    where: Mapping[str, Any]
    metric: str
    variant: str
    tolerances: tuple[Tolerance | None, ...]  # of the cell itself, its row, its column


@dataclass(frozen=True)
class Spec:
    """A spec whose mistaken rows and columns are left out; `mistakes` says which, one text each."""

    name: str
    content: Content
    sweeps: tuple[Sweep, ...]
    rows: tuple[Line, ...]
    columns: tuple[Line, ...]
    places: tuple[Place, ...]  # row by row
    mistakes: tuple[str, ...]


def is_spec(path: Path) -> bool:
    """Whether a file is a spec, not a sweep. Raises `UserError` if it is no YAML mapping."""
    return any(key in TELLING for key in load_yaml(path))


def load_spec(path: Path, references: References) -> Spec:
    """Read a spec. A row or column that names a metric, setting, network, ... that there is not, the row of such a cell, and a
    sweep that cannot be read, are left out and told in `mistakes`.

    Raises:
        UserError: naming file, line, key and allowed keys, if the file is none that could be read in part.
    """
    content, lines = read_strictly(
        path, Content, {"rows": Line, "columns": Line, "cells": Special, "tolerance": Tolerance}
    )
    sweeps, mistakes = _sweeps(path, content, lines)
    files = dict.fromkeys(p.file for p in references.published)
    for number, source in enumerate(content.sources):
        if source not in files:
            raise UserError(
                f"{path}:{line_of(lines, ('sources', number))}: no published figures {source!r}{choices(source, files)}"
            )
    check = Check(path, content, lines, references)
    rows = tuple(row for i, row in enumerate(content.rows) if ("rows", i) not in check.wrong)
    columns = tuple(column for i, column in enumerate(content.columns) if ("columns", i) not in check.wrong)
    places = tuple(_place(content, row, column) for row, column in itertools.product(rows, columns))
    return Spec(path.stem, content, sweeps, rows, columns, places, (*mistakes, *check.mistakes))


def _place(content: Content, row: Line, column: Line) -> Place:
    layers = content.layers(row, column)
    conditions = [content.where, *(layer.where for layer in reversed(layers))]
    return Place(
        row,
        column,
        where={name: wanted for where in conditions for name, wanted in where.items()},
        metric=next((layer.metric for layer in layers if layer.metric), ""),
        variant=next((layer.variant for layer in layers if layer.variant), ""),
        tolerances=tuple(layer.tolerance for layer in layers),
    )


def _sweeps(path: Path, content: Content, lines: Block) -> tuple[tuple[Sweep, ...], list[str]]:
    """The sweeps that can be read, and what is wrong with the others."""
    found: list[Sweep] = []
    mistakes: list[str] = []
    for number, name in enumerate(content.sweeps):
        try:
            if not Path(name).exists():
                there = sorted(str(file) for file in SWEEPS.rglob("*.yaml"))
                raise UserError(f"no sweep {name!r} from here{choices(name, there)}")
            found.append(load_sweep(Path(name)))
        except UserError as error:
            mistakes.append(f"{path}:{line_of(lines, ('sweeps', number))}: {error}")
    return tuple(found), mistakes
