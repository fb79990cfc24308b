"""The application: its consoles, its options, and how user mistakes end."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from suite.errors import UserError
from suite.printable import printable

if TYPE_CHECKING:
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
RUNS, DATA = Path("results/runs"), Path("data")
TABLES, FIGURES, REPORTS = Path("results/tables"), Path("results/figures"), Path("results/reports")
TABLES_HELP = "Where the tables go; default: results/tables, or tables below another --root."
INTERRUPTED = 130  # exit code
NEAREST = 3  # trials that may have been meant


def main() -> None:
    """Entry point: user mistakes are one message and exit code 2, never a traceback."""
    try:
        app()
    except UserError as error:
        lines = map(printable, str(error).split("\n"))
        err.print("error: " + "\n".join(lines), style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        err.print(f"error: {error.filename}: {error.strerror}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except SystemExit as end:  # typer turns Ctrl-C into this
        if end.code == INTERRUPTED:
            err.print("stopped; nothing finished is lost, the same command goes on where this one stopped")
        raise


def open_sweep(sweep_file: Path, root: Path) -> tuple[Sweep, Ledger]:
    """The sweep and its ledger. Raises `UserError` if the sweep has mistakes, or `root` is a file."""
    from suite.ledger import Ledger
    from suite.sweep import load_sweep

    sweep = load_sweep(sweep_file)
    return sweep, Ledger(check_folder(root.resolve()), sweep.name)


def usual(folder: Path, ledger: Ledger) -> Path:
    """The folder itself for the usual ledger, one of the same name in the root of another one."""
    return folder if ledger.root == RUNS.resolve() else ledger.root / folder.name


def check_file(target: Path) -> Path:
    """The target; writing it makes its folder. Raises `UserError` if it is a folder, or cannot be in one."""
    if target.is_dir():
        raise UserError(f"{target} is a folder; name a file in it")
    check_folder(target.parent)
    there = next(folder for folder in target.absolute().parents if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{target} cannot be written: {there} is not yours to write to; name another folder")
    return target


def check_folder(folder: Path) -> Path:
    """The folder. Raises `UserError` if it, or what should hold it, is a file."""
    files = [path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()]
    if files:
        raise UserError(f"{files[0]} is a file; name a folder")
    return folder


def me() -> str:
    """How to call this command from here."""
    return "slq" if shutil.which("slq") else os.path.relpath(sys.argv[0])


def call(verb: str, sweep_file: Path, root: Path) -> str:
    """A command line to tell the user, for this sweep and ledger."""
    return f"{me()} {verb} {sweep_file}" + ("" if root.resolve() == RUNS.resolve() else f" --root {root}")


def tell_left_out(sweep: Sweep, ledger: Ledger) -> None:
    """Warn of the trials whose courses lack what is damaged in their events."""
    from suite.report.steps import left_out

    for trial in sweep.trials:
        try:
            warnings = left_out(ledger.trial(trial.id))
        except UserError:  # told with what it keeps from being shown
            continue
        for warning in warnings:
            out.print(f"warning    {warning}", markup=False, soft_wrap=True)


def find_trial(sweep: Sweep, ledger: Ledger, part: str) -> Work:
    """The one trial whose id has this part; raises `UserError` if there is none, or several."""
    planned, kept = [trial.id for trial in sweep.trials], [work.id for work in ledger.trials()]
    identities = [*planned, *kept]
    found = sorted(identity for identity in planned if part in identity) or sorted(i for i in kept if part in i)
    if len(found) == 1:
        return ledger.trial(found[0])
    if found:
        raise UserError(
            f"{part!r} is a part of {len(found)} trials: {', '.join(found[:5])}{' ...' if len(found) > 5 else ''}"
        )
    nearest = difflib.get_close_matches(part, dict.fromkeys(identities), n=NEAREST, cutoff=0.3)
    hint = f" - did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
    raise UserError(f"no trial {part!r} in {sweep.name}{hint}; {me()} plan --verbose lists all")
