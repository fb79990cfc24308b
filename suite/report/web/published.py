"""The published tables that take trials from the sweep: their numbers lead to the trials, as the sweep's own do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from suite.errors import UserError
from suite.ledger import Ledger
from suite.report.frame import PlannedTrial, tidy
from suite.report.number import NOTHING
from suite.report.reference import References
from suite.report.specs import Filled, fill, load_spec
from suite.report.specs.fill import Cell, Read
from suite.report.specs.grids import PUBLISHED, READ, TEXTS, VERDICT, footer, sheets
from suite.report.table import Tables
from suite.report.web.plot import anchor
from suite.report.web.sheet import Sheet
from suite.yaml_lines import load_yaml

SPECS = Path("results/specs")  # from the root of the checkout, as the sweeps that they name
EXPLAINED = (READ, VERDICT)  # said once for all tables
UNLINKED = {PUBLISHED, *TEXTS}  # columns that lead to notes, if anywhere


@dataclass(frozen=True)
class PublishedTable:
    """A table as its spec has it, or what is wrong with the spec."""

    title: str
    note: str = ""
    sheets: Sequence[Sheet] = ()
    footnotes: Sequence[str] = ()
    footer: Sequence[str] = ()
    mistakes: Sequence[str] = ()


def published(
    sweep_file: Path, ledger: Ledger, references: References, tables: Tables, frame: pd.DataFrame
) -> list[PublishedTable]:
    """Of all specs that name the sweep, as the ledgers beside its own stand; `tables` and the tidy `frame` are the sweep's own."""
    frames = {(ledger, tuple(frame["id"])): frame}

    def read(ledger: Ledger, trials: Sequence[PlannedTrial]) -> pd.DataFrame:
        """Once, whatever the number of specs: that takes most of the time."""
        key = ledger, tuple(trial.id for trial in trials)
        if key not in frames:
            frames[key] = tidy(ledger, trials)
        return frames[key]

    anchors = {f"{tables.sweep}/{trial}": anchor(row) for row in tables.rows for trial in row.trials}
    return [
        table
        for spec in sorted(SPECS.glob("*.yaml"))
        for table in _table(spec, sweep_file, ledger, references, anchors, read)
    ]


def _table(
    spec_file: Path,
    sweep_file: Path,
    ledger: Ledger,
    references: References,
    anchors: Mapping[str, str],
    read: Read,
) -> Iterator[PublishedTable]:
    """None if the spec is right and no cell is of a trial of the sweep."""
    try:
        if not _names(spec_file, sweep_file):
            return
        spec = load_spec(spec_file, references)
        filled = fill(spec, [Ledger(ledger.root, sweep.name) for sweep in spec.sweeps], references, read)
    except UserError as error:  # it is no reason to have no report
        yield PublishedTable(spec_file.stem, mistakes=[str(error)])
        return
    if filled.mistakes or anchors.keys() & filled.trials.keys():
        yield PublishedTable(
            title=spec.content.title,
            note=spec.content.note,
            sheets=list(_linked(filled, anchors)),
            footnotes=filled.footnotes,
            footer=[line for line in footer(filled) if line not in EXPLAINED],
            mistakes=filled.mistakes,
        )


def _names(spec_file: Path, sweep_file: Path) -> bool:
    """Whether a spec names the sweep: most do not, and reading all their sweeps would take seconds."""
    named = load_yaml(spec_file).get("sweeps")
    return isinstance(named, list) and sweep_file.resolve() in [Path(str(name)).resolve() for name in named]


def _linked(filled: Filled, anchors: Mapping[str, str]) -> Iterator[Sheet]:
    columns = [cells for cells in filled.by_column() if cells]
    for sheet in sheets(filled):
        lines = []
        for number, (first, *texts) in enumerate(sheet.lines):
            cells = [sheet.rows[number]] * len(texts) if sheet.rows else [column[number] for column in columns]
            shown = zip(sheet.names[1:], texts, cells, strict=True)
            lines.append(
                [first, *(text if name in UNLINKED else _link(cell, text, anchors) for name, text, cell in shown)]
            )
        yield Sheet(sheet.title, sheet.names, lines, sheet.words)


def _link(cell: Cell, text: str, anchors: Mapping[str, str]) -> str:
    """A number that leads to the cell's trials, if they are of this sweep."""
    target = next((anchors[trial] for trial in cell.trials if trial in anchors), None)
    if target is None or not cell.done or text == NOTHING:
        return text
    return Markup('<a class="figure" href="{}">{}</a>').format(target, text)
