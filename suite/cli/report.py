"""`slq report`: a sweep as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from suite.cli.app import REPORTS, RUNS, Root, SweepFile, check_file, open_sweep, out, tell_left_out, usual


def report(
    sweep_file: SweepFile,
    root: Root = RUNS,
    target: Annotated[
        Path | None,
        typer.Option("--out", help="The page; default: results/reports/NAME.html, or reports/ below another --root."),
    ] = None,
) -> None:
    """Make one HTML page of the sweep that works offline: tables, figures, trials, failures, cost, provenance."""
    from suite.report import load_references
    from suite.report.web import write_report

    sweep, ledger = open_sweep(sweep_file, root)
    page = check_file(target or usual(REPORTS, ledger) / f"{sweep.name}.html")
    write_report(sweep, sweep_file, ledger, RUNS, load_references(), page, is_usual=target is None)
    tell_left_out(sweep, ledger)
    out.print(f"report   {page}", markup=False, soft_wrap=True)
