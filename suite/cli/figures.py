"""`slq figures`: what a sweep gives, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from suite.cli.app import FIGURES, RUNS, Root, SweepFile, call, check_folder, open_sweep, out, tell_left_out, usual

FIGURES_HELP = "Where the figures go; default: results/figures, or figures below another --root."


def figures(
    sweep_file: SweepFile,
    root: Root = RUNS,
    folder: Annotated[Path | None, typer.Option("--out", help=FIGURES_HELP)] = None,
) -> None:
    """Draw the sweep's figures from the ledger as it stands, as PDF, PNG and SVG, and print their captions."""
    from suite.report.figures import Absent, outcomes, save

    sweep, ledger = open_sweep(sweep_file, root)
    folder = check_folder(folder or usual(FIGURES, ledger))
    drawn, gallery = 0, outcomes(ledger, sweep.trials)
    for warning in gallery.warnings:
        out.print(f"warning    {warning}", markup=False, soft_wrap=True)
    for outcome in gallery:
        for warning in outcome.warnings:
            out.print(f"warning    {warning}", markup=False, soft_wrap=True)
        if isinstance(outcome, Absent):
            out.print(f"not drawn  {outcome.title}: {outcome.reason}", markup=False, soft_wrap=True)
            continue
        drawn += 1
        first, *others = save(outcome, folder)
        beside = "".join(f", {path.suffix}" for path in others)
        out.print(f"figure     {first}{beside}\n           {outcome.caption}", markup=False, soft_wrap=True)
    tell_left_out(sweep, ledger)
    if not drawn:
        out.print(f"no figure yet; first: {call('run', sweep_file, root)}", markup=False, soft_wrap=True)
