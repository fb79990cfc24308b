"""The command line: every command is a few lines that call the package.

Exit codes: 0 all went well; 1 `slq run` left trials undone; 2 a mistake in what was asked; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from suite.errors import UserError, choices

if TYPE_CHECKING:
    from suite.launch.plan import Plan
    from suite.ledger import Ledger, Work
    from suite.sweep import Sweep

app = typer.Typer(
    help="Sweeps of network quantization trials: plan them, run them, compare them, make the tables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

SweepFile = Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep file, such as jobs/quickstart.yaml.")]
Root = Annotated[Path, typer.Option("--root", help="Where the ledger lives.")]
DataRoot = Annotated[
    Path, typer.Option("--data-root", envvar="SLQ_DATA_ROOT", help="Where data sets and published weights lie.")
]
TrackingUri = Annotated[
    str | None,
    typer.Option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow; default: SQLite below the root."),
]
RUNS, DATA, TABLES = Path("results/runs"), Path("data"), Path("results/tables")
TABLES_HELP = "Where the tables go; default: results/tables, or tables below another --root."
INTERRUPTED = 130  # exit code


def main() -> None:
    """Entry point: user mistakes are one message and exit code 2, never a traceback."""
    try:
        app()
    except UserError as error:
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except SystemExit as end:  # typer turns Ctrl-C into this
        if end.code == INTERRUPTED:
            err.print("stopped; nothing finished is lost, the same command goes on where this one stopped")
        raise


def _open(sweep_file: Path, root: Path) -> tuple[Sweep, Ledger]:
    from suite.ledger import Ledger
    from suite.sweep import load_sweep

    sweep = load_sweep(sweep_file)
    return sweep, Ledger(root.resolve(), sweep.name)


@app.command()
def plan(
    sweep_file: SweepFile,
    root: Root = RUNS,
    verbose: Annotated[bool, typer.Option(help="List every trial.")] = False,
) -> None:
    """Show what the sweep still needs: new, changed, retry, running, done, failed, orphan. Changes nothing."""
    from suite.launch.plan import make_plan

    sweep, ledger = _open(sweep_file, root)
    made = make_plan(sweep, ledger)
    if sweep.description:
        out.print(sweep.description, markup=False, style="dim")
    _print_plan(sweep, made)
    if verbose:
        for entry in made.entries:
            out.print(f"{entry.standing:8} {entry.trial.label:32} {entry.trial.id}", soft_wrap=True)
        for work in made.orphans:
            out.print(f"{'orphan':8} {'':32} {work.id}", soft_wrap=True)


def _print_plan(sweep: Sweep, made: Plan) -> None:
    from suite.progress import duration

    counts = ", ".join(f"{n} {standing}" for standing, n in made.counts().items())
    missing, seconds = len(made.missing), made.seconds()
    estimate = f", about {duration(seconds)} of one worker" if seconds else ", time unknown until one has finished"
    out.print(f"{sweep.name}: {len(sweep.trials)} trials ({counts}); {missing} to run{estimate if missing else ''}")
    changes = Counter(entry.changes() for entry in made.entries if entry.standing == "changed")
    for change, count in changes.items():
        out.print(f"  {count} changed: {change}", soft_wrap=True)


@app.command()
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
    from suite.launch.plan import make_plan, write_plan
    from suite.preflight import check_inputs
    from suite.progress import Watch, live
    from suite.track import default_uri
    from suite.track.background import syncing

    sweep, ledger = _open(sweep_file, root)
    first = make_plan(sweep, ledger, retry_failed=retry_failed)
    _print_plan(sweep, first)
    data_root = data_root.expanduser().resolve()
    check_inputs(first.missing, ledger, data_root)
    write_plan(sweep, ledger)
    uri = tracking_uri or default_uri(ledger.root)
    with syncing(ledger, sweep.trials, uri, enabled=bool(first.missing)) as tracking, live(Watch(sweep, ledger), out):
        last, errors = run_local(sweep, ledger, data_root, Workers.of_machine(workers, gpus), retry_failed=retry_failed)
    if tracking.problem:
        err.print(
            f"MLflow was not updated: {tracking.problem}\nall results are in the ledger; later: slq sync {sweep_file}",
            soft_wrap=True,
        )
    options = "" if ledger.root == RUNS.resolve() else f" --root {ledger.root}"
    _print_tables(sweep, ledger, tables_folder)
    out.print(f"ledger   {ledger.path}\nMLflow   {uri}", soft_wrap=True)
    if uri == default_uri(ledger.root):
        out.print(f"open it  {_me()} ui {sweep_file}{options}", soft_wrap=True)
    _report_failures(last, errors, f"{_me()} logs {sweep_file}{options}")


def _me() -> str:
    """How to call this command from here."""
    return "slq" if shutil.which("slq") else os.path.relpath(sys.argv[0])


def _report_failures(last: Plan, errors: dict[str, str], logs: str) -> None:
    """Each trial that is not done, why, and how to see more; exits 1 if there are any."""
    from suite.launch.plan import Standing

    missing = [entry for entry in last.entries if entry.standing is not Standing.DONE]
    for entry in missing:
        reason = errors.get(entry.trial.id) or entry.work.why_failed()
        out.print(f"not done: {entry.trial.label}: {reason}", style="red", markup=False, soft_wrap=True)
        out.print(f"          {logs} {entry.trial.id}", soft_wrap=True)
    if missing:
        raise typer.Exit(1)


@app.command()
def status(
    sweep_file: SweepFile,
    root: Root = RUNS,
    watch: Annotated[bool, typer.Option(help="Stay and refresh until all is done.")] = False,
) -> None:
    """Show how far the sweep is, from the ledger. Changes nothing."""
    from suite.ledger import State
    from suite.progress import REFRESH, Watch, render

    watched = Watch(*_open(sweep_file, root))
    snapshot = watched.look()
    if not watch:
        out.print(render(snapshot))
        return
    with Live(render(snapshot), console=out, auto_refresh=False) as view:
        while snapshot.finished + snapshot.counts.get(State.FAILED, 0) < snapshot.total:
            time.sleep(REFRESH)
            snapshot = watched.look()
            view.update(render(snapshot), refresh=True)


@app.command()
def logs(
    sweep_file: SweepFile,
    trial: Annotated[str, typer.Argument(help="A trial's id, or any part of it that no other trial has.")],
    root: Root = RUNS,
) -> None:
    """Show the log of a trial's newest attempt, its traceback included."""
    sweep, ledger = _open(sweep_file, root)
    work = _find(sweep, ledger, trial)
    attempt = work.newest_attempt()
    if attempt is None:
        raise UserError(f"{work.id} has not been tried yet; slq run {sweep_file}")
    out.print(f"{work.id}, attempt {attempt.number}, {work.state()}\n{attempt.path}\n", soft_wrap=True)
    out.print(attempt.log() or "(nothing logged)", markup=False, soft_wrap=True)


def _find(sweep: Sweep, ledger: Ledger, part: str) -> Work:
    identities = [trial.id for trial in sweep.trials] + [work.id for work in ledger.trials()]
    found = sorted({identity for identity in identities if part in identity})
    if len(found) == 1:
        return ledger.trial(found[0])
    if found:
        raise UserError(
            f"{part!r} is a part of {len(found)} trials: {', '.join(found[:5])}{' ...' if len(found) > 5 else ''}"
        )
    raise UserError(f"no trial {part!r}{choices(part, dict.fromkeys(identities))}")


@app.command()
def sync(sweep_file: SweepFile, root: Root = RUNS, tracking_uri: TrackingUri = None) -> None:
    """Bring MLflow up to the ledger; rebuilds it if it is gone. May be repeated and interrupted at will."""
    from suite.track import default_uri
    from suite.track import sync as project

    sweep, ledger = _open(sweep_file, root)
    uri = tracking_uri or default_uri(ledger.root)
    out.print(f"{uri}: {project(ledger, sweep.trials, uri)}", soft_wrap=True)


@app.command()
def ui(
    sweep_file: SweepFile,
    root: Root = RUNS,
    port: Annotated[int | None, typer.Option(help="Port on the loopback address; default: a free one.")] = None,
) -> None:
    """Bring MLflow up to the ledger and serve its UI until Ctrl-C."""
    from suite.track import default_uri, free_port, runs_page, serving
    from suite.track import sync as project

    sweep, ledger = _open(sweep_file, root)
    project(ledger, sweep.trials, default_uri(ledger.root))
    port = port or free_port()
    page, log = runs_page(ledger.root, sweep.name, port), ledger.root / "mlflow-ui.log"
    try:
        with out.status("starting MLflow"), serving(ledger.root, port, log) as server:
            out.print(f"{page}\nCtrl-C ends it; its log: {log}", soft_wrap=True)
            raise typer.Exit(server.wait())
    except KeyboardInterrupt:
        out.print("ended")


@app.command()
def tables(
    sweep_file: SweepFile,
    root: Root = RUNS,
    folder: Annotated[Path | None, typer.Option("--out", help=TABLES_HELP)] = None,
) -> None:
    """Make the sweep's tables anew from the ledger, on the screen and as Markdown, LaTeX, HTML and CSV."""
    sweep, ledger = _open(sweep_file, root)
    _print_tables(sweep, ledger, folder)


def _print_tables(sweep: Sweep, ledger: Ledger, folder: Path | None) -> None:
    from suite.report import build_tables, load_references, print_tables, write_tables

    built = build_tables(ledger, sweep.trials, load_references())
    print_tables(built, out)
    usual = TABLES if ledger.root == RUNS.resolve() else ledger.root / "tables"
    for path in write_tables(built, folder or usual):
        out.print(f"table    {path}", soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the JSON schema of sweep files, for editors."""
    from suite.sweep import sweep_schema

    sys.stdout.write(json.dumps(sweep_schema(), indent=2) + "\n")
