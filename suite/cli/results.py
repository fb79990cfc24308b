"""`slq sync`, `ui`, `tables` and `schema`: what a sweep gives."""

from __future__ import annotations

import itertools
import json
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.app import (
    FIGURES,
    RUNS,
    TABLES,
    TABLES_HELP,
    Root,
    SweepFile,
    TrackingUri,
    check_folder,
    err,
    open_sweep,
    out,
    usual,
)
from suite.errors import UserError

PUBLISHED = "published"  # folder of the tables that have a spec, in that of the sweeps' tables

if TYPE_CHECKING:
    from suite.ledger import Ledger
    from suite.sweep import Sweep


def sync(
    sweep_file: SweepFile,
    root: Root = RUNS,
    tracking_uri: TrackingUri = None,
    stay: Annotated[bool, typer.Option("--follow", help="Stay, and go on until the sweep is over.")] = False,
) -> None:
    """Bring MLflow up to the ledger; rebuilds it if it is gone. May be repeated and interrupted at will."""
    from suite.launch.plan import is_over
    from suite.track import default_uri, follow, shown
    from suite.track import sync as project
    from suite.track.store import check_uri

    sweep, ledger = open_sweep(sweep_file, root)
    uri = check_uri(tracking_uri or default_uri(ledger.root))
    texts = (
        follow(ledger, sweep.trials, uri, lambda: is_over(sweep, ledger))
        if stay
        else [str(project(ledger, sweep.trials, uri, pages=_pages(sweep, ledger)))]
    )
    for text in texts:
        out.print(f"{shown(uri)}: {text}", soft_wrap=True)


def ui(
    sweep_file: SweepFile,
    root: Root = RUNS,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on the loopback address; default: a free one.")
    ] = None,
) -> None:
    """Bring MLflow up to the ledger and serve its UI until Ctrl-C."""
    from suite.track import IncompleteError, TrackingError, default_uri, free_port, runs_page, serving
    from suite.track import sync as project

    for ending in (signal.SIGTERM, signal.SIGHUP):  # the server has a session of its own, and would stay
        if signal.getsignal(ending) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(ending, signal.default_int_handler)
    port = free_port(port or 0)
    sweep, ledger = open_sweep(sweep_file, root)
    try:
        project(ledger, sweep.trials, default_uri(ledger.root), pages=_pages(sweep, ledger))
    except IncompleteError as error:  # the other trials can be looked at
        err.print(str(error), style="red", markup=False, soft_wrap=True)
    page, log = runs_page(ledger.root, sweep.name, port), ledger.root / "mlflow-ui.log"
    try:
        with ExitStack() as stack:
            with out.status("starting MLflow"):
                server = stack.enter_context(serving(ledger.root, port, log))
            out.print(f"{page}\nCtrl-C ends it; its log: {log}", soft_wrap=True)
            server.wait()
            raise TrackingError(f"MLflow's server ended by itself, see {log}")
    except KeyboardInterrupt:
        out.print("ended")


def _pages(sweep: Sweep, ledger: Ledger) -> list[Path]:
    """The sweep's tables and figures, and the published tables that take trials from it, that were made since it was last planned;
    older ones may be of another ledger."""
    from suite.report.written import takes

    plan = ledger.path / "plan.json"
    networks = dict.fromkeys(trial.network for trial in sweep.trials)
    figures = [f"{sweep.name}-{network}-*.png" for network in networks]  # "name-*" would be those of "name-small" too
    published = (usual(TABLES, ledger) / PUBLISHED).glob("*.csv")
    found = [
        *usual(TABLES, ledger).glob(f"{sweep.name}.*"),
        *itertools.chain(*(file.parent.glob(f"{file.stem}.*") for file in published if takes(file, sweep.name))),
        *itertools.chain(*(usual(FIGURES, ledger).glob(pattern) for pattern in figures)),
    ]
    return [file for file in sorted(set(found)) if plan.exists() and file.stat().st_mtime >= plan.stat().st_mtime]


def tables(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="SWEEP...", help="Sweep files, or specs of published tables, such as results/specs/*.yaml."
        ),
    ],
    root: Root = RUNS,
    folder: Annotated[Path | None, typer.Option("--out", help=TABLES_HELP)] = None,
    force: Annotated[bool, typer.Option("--force", help="Also replace tables that rest on more trials.")] = False,
) -> None:
    """Make a sweep's tables, or a published table from its spec, anew from the ledger: screen, Markdown, LaTeX, HTML, CSV."""
    from suite.report.specs import is_spec

    mistakes = []
    for file in files:
        try:
            if is_spec(file):
                _print_published(file, root, folder, force)
            else:
                _print_sweep(*open_sweep(file, root), folder, force)
        except UserError as error:  # the others are made all the same
            mistakes.append(str(error))
    if mistakes:
        raise UserError("\n".join(mistakes))


def _print_published(spec_file: Path, root: Path, folder: Path | None, force: bool) -> None:
    """Raises `UserError` if the spec has mistakes, after the rest of it has been shown; then nothing is written."""
    from suite.ledger import Ledger
    from suite.report import load_references
    from suite.report.specs import fill, load_spec, print_filled, write_filled

    references = load_references()
    spec = load_spec(spec_file, references)
    filled = fill(spec, [Ledger(root.resolve(), sweep.name) for sweep in spec.sweeps], references)
    print_filled(filled, out)
    if filled.mistakes:
        raise UserError("\n".join([*filled.mistakes, f"the rest of {spec_file} is shown above, no file was written"]))
    usual_folder = usual(TABLES, Ledger(root.resolve(), spec.name)) / PUBLISHED
    for path in write_filled(filled, check_folder(folder or usual_folder), force=force):
        out.print(f"table    {path}", soft_wrap=True)


def print_tables(sweep: Sweep, ledger: Ledger, folder: Path | None) -> None:
    """What `slq run` ends with: larger tables that are there stay, which is told but ends no run."""
    from suite.report.written import LargerTableError

    try:
        _print_sweep(sweep, ledger, folder, force=False)
    except LargerTableError as error:
        err.print(str(error), style="red", markup=False, soft_wrap=True)


def _print_sweep(sweep: Sweep, ledger: Ledger, folder: Path | None, force: bool) -> None:
    from suite.report import build_tables, load_references, print_tables, write_tables

    built = build_tables(ledger, sweep.trials, load_references())
    print_tables(built, out)
    for path in write_tables(built, check_folder(folder or usual(TABLES, ledger)), force=force):
        out.print(f"table    {path}", soft_wrap=True)


def schema() -> None:
    """Print the JSON schema of sweep files, for editors."""
    from suite.sweep import sweep_schema

    sys.stdout.write(json.dumps(sweep_schema(), indent=2) + "\n")
