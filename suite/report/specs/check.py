"""What is wrong with the rows and columns of a spec: each mistake with its line, what was given and what there is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from suite.data import DATASETS
from suite.errors import UserError, choices
from suite.nets import NETWORKS
from suite.report.condition import WORDS
from suite.report.reference import References
from suite.report.specs.lines import Content, Line, Wanted
from suite.report.specs.metrics import METRICS
from suite.report.specs.settings import AVERAGED, METHODS, alternatives, can_be, is_setting, names, values
from suite.yaml_lines import Block, line_of

Kind = Literal["rows", "columns", "cells"]
At = tuple[Kind, int]

NEEDED = ("network", "data", "method")  # without them no figure can be looked up


class Check:
    """`mistakes` are texts, `wrong` the rows and columns that have one."""

    def __init__(self, path: Path, content: Content, lines: Block, references: References) -> None:
        """Raises `UserError` if a condition of all cells is mistaken: then nothing is right."""
        self.path, self.content, self.lines = path, content, lines
        entries = [published.entry for published in references.of(content.sources).published]
        self.variants = dict.fromkeys(entry.variant for entry in entries if entry.variant)
        self.known: Mapping[str, Mapping[str, Any]] = {
            "network": dict.fromkeys([*NETWORKS, *(entry.network for entry in entries)]),
            "data": dict.fromkeys([*DATASETS, *(entry.data for entry in entries)]),
            "method": dict.fromkeys([*METHODS, *(entry.method for entry in entries)]),
        }
        self.mistakes: dict[str, None] = {}
        self.wrong: set[At] = set()
        for name, complaint in self._conditions(content.where):
            raise UserError(f"{path}:{line_of(lines, ('where', name))}: where: {complaint}")
        rows: list[tuple[At, Line]] = [(("rows", i), line) for i, line in enumerate(content.rows)]
        columns: list[tuple[At, Line]] = [(("columns", i), line) for i, line in enumerate(content.columns)]
        for at, line in [*rows, *columns]:
            self._wanted(at, at, line)
        numbers = {row.label: at for at, row in rows}
        for i, cell in enumerate(content.cells):
            self._wanted(("cells", i), numbers[cell.row], cell)
        for (at, row), (_, column) in itertools.product(rows, columns):
            self._pair(at, row, column)

    def _wanted(self, at: At, wrong: At, line: Wanted) -> None:
        """`wrong` is what is left out for a mistake there."""
        if line.metric and line.metric not in METRICS:
            self._say(at, ("metric",), wrong, f"unknown metric {line.metric!r}{choices(line.metric, METRICS)}")
        if line.variant and line.variant not in self.variants:
            known = choices(line.variant, self.variants)
            self._say(at, ("variant",), wrong, f"no published figure has the variant {line.variant!r}{known}")
        for name, complaint in self._conditions(line.where):
            self._say(at, ("where", name), wrong, complaint)

    def _pair(self, at: At, row: Line, column: Line) -> None:
        labels = f"{row.label!r} and {column.label!r}"
        own = self.content.layers(row, column)[:-2]
        if bool(row.metric) == bool(column.metric) and not any(cell.metric for cell in own):
            which = "both give a metric" if row.metric else "none gives a metric"
            self._say(at, ("metric",), at, f"{labels}: {which}; give it either in the rows or in the columns")
        for name in [name for name in row.where if name in column.where]:
            self._say(at, ("where", name), at, f"{labels} both have a condition on {name!r}; give it in one of them")
        where = {
            **self.content.where,
            **row.where,
            **column.where,
            **{k: v for cell in own for k, v in cell.where.items()},
        }
        for name in NEEDED:
            if name not in where:
                self._say(at, ("where",), at, f"{labels}: nothing says which {name}; give {name!r} in 'where'")

    def _conditions(self, where: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Names of mistaken conditions, and what is wrong with each."""
        method = where.get("method")
        complaints = [(name, self._complaint(name, wanted, str(method or ""))) for name, wanted in where.items()]
        return [(name, complaint) for name, complaint in complaints if complaint]

    def _complaint(self, name: str, wanted: Any, method: str) -> str:
        of = method if method in METHODS else ""
        if name in ("method.name", "method.bits"):
            return f"write {'method' if name == 'method.name' else 'bits'!r} for {name!r}"
        if name.rpartition(".")[2] == AVERAGED:
            return f"no condition can be on {name!r}: a cell is the mean over all seeds"
        if not is_setting(name, of):
            return f"{name!r} is no setting of {of or 'any method'}{choices(name, names(of))}"
        if name in self.known and not (isinstance(wanted, str) and wanted in self.known[name]):
            return f"unknown {name} {wanted!r}{choices(wanted, self.known[name])}"
        for value in alternatives(name, wanted, of):
            if value not in WORDS and not can_be(name, value, of):
                return f"{name!r} is never {value!r}{choices(value, values(name, of))}"
        return ""

    def _say(self, at: At, below: tuple[str, ...], wrong: At, complaint: str) -> None:
        self.wrong.add(wrong)
        kind, number = at
        self.mistakes[f"{self.path}:{line_of(self.lines, (*at, *below))}: {kind}.{number}: {complaint}"] = None
