"""`slq status` and `slq logs`: how far a sweep is. Nothing here changes anything."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.live import Live

from suite.cli.app import RUNS, Root, SweepFile, find_trial, open_sweep, out
from suite.errors import UserError


def status(
    sweep_file: SweepFile,
    root: Root = RUNS,
    watch: Annotated[bool, typer.Option(help="Stay and refresh until all is done.")] = False,
) -> None:
    """Show how far the sweep is, from the ledger. Changes nothing."""
    from suite.ledger import State
    from suite.progress import REFRESH, Watch, render

    watched = Watch(*open_sweep(sweep_file, root))
    snapshot = watched.look()
    if not watch:
        out.print(render(snapshot))
        return
    with Live(render(snapshot), console=out, auto_refresh=False) as view:
        while snapshot.finished + snapshot.counts.get(State.FAILED, 0) < snapshot.total:
            time.sleep(REFRESH)
            snapshot = watched.look()
            view.update(render(snapshot), refresh=True)


def logs(
    sweep_file: SweepFile,
    trial: Annotated[str, typer.Argument(help="A trial's id, or any part of it that no other trial has.")],
    root: Root = RUNS,
) -> None:
    """Show the log of a trial's newest attempt, its traceback included."""
    sweep, ledger = open_sweep(sweep_file, root)
    work = find_trial(sweep, ledger, trial)
    attempt = work.newest_attempt()
    if attempt is None:
        raise UserError(f"{work.id} has not been tried yet; slq run {sweep_file}")
    out.print(f"{work.id}, attempt {attempt.number}, {work.state()}\n{attempt.path}\n", soft_wrap=True)
    out.print(attempt.log() or "(nothing logged)", markup=False, soft_wrap=True)
