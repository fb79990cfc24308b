"""`slq plan` and `slq run`: what a sweep needs, and doing it on this machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.app import (
    DATA,
    RUNS,
    TABLES_HELP,
    DataRoot,
    Root,
    SweepFile,
    TrackingUri,
    call,
    err,
    open_sweep,
    out,
)
from suite.cli.results import print_tables

if TYPE_CHECKING:
    from suite.launch.plan import Plan
    from suite.sweep import Sweep


def plan(
    sweep_file: SweepFile,
    root: Root = RUNS,
    verbose: Annotated[bool, typer.Option(help="List every trial.")] = False,
) -> None:
    """Show what the sweep still needs: new, changed, retry, running, done, failed, unreadable, orphan. Changes nothing."""
    from suite.launch.plan import make_plan

    sweep, ledger = open_sweep(sweep_file, root)
    made = make_plan(sweep, ledger)
    if sweep.description:
        out.print(sweep.description, markup=False, style="dim")
    print_plan(sweep, made)
    if verbose:
        for entry in made.entries:
            out.print(f"{entry.standing:8} {entry.trial.label:32} {entry.trial.id}", soft_wrap=True)
        for work in made.orphans:
            out.print(f"{'orphan':8} {'':32} {work.id}", soft_wrap=True)


def print_plan(sweep: Sweep, made: Plan) -> None:
    from suite.launch.plan import Standing
    from suite.progress import duration

    counts = ", ".join(f"{n} {standing}" for standing, n in made.counts().items())
    missing, seconds = len(made.missing), made.seconds()
    estimate = (
        f", about {duration(seconds)} of one worker"
        if seconds
        else ", time unknown until one of each kind has finished"
    )
    out.print(
        f"{sweep.name}: {len(sweep.trials)} trials ({counts}); {missing} to run{estimate if missing else ''}",
        soft_wrap=True,
    )
    for entry in made.entries:
        if entry.problem:
            out.print(f"  unreadable: {entry.trial.label}: {entry.problem}", markup=False, soft_wrap=True)
    if given_up := made.counts().get(Standing.FAILED):
        out.print(
            f"  {given_up} left alone after failures: slq logs shows why, slq retry lets them be tried again",
            soft_wrap=True,
        )
    changes = Counter(entry.changes() for entry in made.entries if entry.standing == "changed")
    for change, count in changes.items():
        out.print(f"  {count} changed: {change}", soft_wrap=True)


def run(
    sweep_file: SweepFile,
    root: Root = RUNS,
    data_root: DataRoot = DATA,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials at once; default: one a GPU, else one a processor.")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs of a trial, such as 0.5; default: one, if any.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option(help="Also run trials that have failed three times.")] = False,
    tracking_uri: TrackingUri = None,
    tables_folder: Annotated[Path | None, typer.Option("--tables", help=TABLES_HELP)] = None,
) -> None:
    """Run what is missing on this machine, follow it, and make the tables. Again: finished trials are skipped."""
    from suite.launch.local import Workers, run_local
    from suite.launch.plan import forgive, make_plan, write_plan
    from suite.preflight import check_inputs
    from suite.progress import Watch, live
    from suite.track import default_uri, shown, syncing
    from suite.track.store import check_uri

    sweep, ledger = open_sweep(sweep_file, root)
    uri = check_uri(tracking_uri or default_uri(ledger.root))
    if retry_failed:
        forgive(sweep, ledger)
    first = make_plan(sweep, ledger)
    print_plan(sweep, first)
    data_root = data_root.expanduser().resolve()
    check_inputs(first.missing, ledger, data_root)
    write_plan(sweep, ledger)
    with syncing(ledger, sweep.trials, uri, enabled=bool(first.missing)) as tracking, live(Watch(sweep, ledger), out):
        last, errors = run_local(sweep, ledger, data_root, Workers.of_machine(workers, gpus))
    if tracking.problem:
        err.print(
            f"{tracking.problem}\nall results are in the ledger; when that is mended: slq sync {sweep_file}",
            markup=False,
            soft_wrap=True,
        )
    print_tables(sweep, ledger, tables_folder)
    out.print(f"ledger   {ledger.path}\nMLflow   {shown(uri)}", soft_wrap=True)
    if uri == default_uri(ledger.root):
        out.print(f"open it  {call('ui', sweep_file, root)}", soft_wrap=True)
    _report_failures(last, errors, call("logs", sweep_file, root))


def _report_failures(last: Plan, errors: dict[str, str], logs: str) -> None:
    """Each trial that is not done, why, and how to see more; exits 1 if there are any."""
    from suite.launch.plan import Standing

    missing = [entry for entry in last.entries if entry.standing is not Standing.DONE]
    for entry in missing:
        reason = errors.get(entry.trial.id) or entry.problem or entry.work.why_failed()
        out.print(f"not done: {entry.trial.label}: {reason}", style="red", markup=False, soft_wrap=True)
        out.print(f"          {logs} {entry.trial.id}", soft_wrap=True)
    if missing:
        raise typer.Exit(1)
