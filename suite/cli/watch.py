"""`slq status`, `logs` and `usage`: how far a sweep is, and what it cost. Nothing here changes anything."""

from __future__ import annotations

from typing import Annotated

import typer

from suite.cli.app import RUNS, Root, SweepFile, find_trial, open_sweep, out
from suite.errors import UserError

TrialPart = Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's id, or any part of it that no other has.")]


def status(
    sweep_file: SweepFile,
    root: Root = RUNS,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and refresh until nothing is left to wait for.")] = False,
) -> None:
    """Show how far the sweep is: from the ledger, and from Slurm if it was submitted. Changes nothing."""
    from suite.launch.polling import Lookout
    from suite.progress import Watch, show

    sweep, ledger = open_sweep(sweep_file, root)
    show(Watch(sweep, ledger, Lookout(ledger)), out, follow=watch)


def logs(
    sweep_file: SweepFile,
    trial: TrialPart,
    root: Root = RUNS,
    stay: Annotated[
        bool, typer.Option("--follow", help="Stay, and show what is added, until the trial is over.")
    ] = False,
) -> None:
    """Show the log of a trial's newest attempt, its traceback included, and where its job's output is."""
    from suite.follow import follow
    from suite.launch.whereabouts import output_of

    sweep, ledger = open_sweep(sweep_file, root)
    work = find_trial(sweep, ledger, trial)
    attempt = work.newest_attempt()
    if attempt is None and not stay:
        raise UserError(f"{work.id} has not been tried yet; slq run {sweep_file}, or slq submit")
    if attempt is not None:
        out.print(f"{work.id}, attempt {attempt.number}, {work.state()}\n{attempt.path}", soft_wrap=True)
        for path in output_of(ledger, attempt.job()):
            out.print(path, soft_wrap=True)
    for text in follow(work) if stay else [attempt.log() or "(nothing logged)" if attempt else ""]:
        out.print(text, end="", markup=False, soft_wrap=True)


def usage(sweep_file: SweepFile, root: Root = RUNS) -> None:
    """Show what the sweep's jobs cost: GPU-hours, CPU-hours, what was wasted, how well processors were used."""
    from suite.launch.usage import bill, table
    from suite.plain import print_table

    sweep, ledger = open_sweep(sweep_file, root)
    made = bill(ledger)
    if not made.rows:
        raise UserError(f"{sweep.name} was never submitted to Slurm; slq submit {sweep_file} --site SITE")
    print_table(out, table(made))
    for problem in made.unreadable:
        out.print(f"left out: {problem}", style="red", markup=False, soft_wrap=True)
    if made.problem:
        out.print(f"from the ledger alone, as there is no accounting: {made.problem}", soft_wrap=True)
