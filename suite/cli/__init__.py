"""The command line: every command is a few lines that call the package.

Exit codes: 0 all went well; 1 `slq run` left trials undone, or `slq site check` found errors; 2 a mistake in what was asked;
130 stopped by Ctrl-C.
"""

import typer

from suite.cli.app import app, main
from suite.cli.cluster import cancel, retry, site_check, submit
from suite.cli.colors import colors
from suite.cli.figures import figures
from suite.cli.packing import export, inspect, pack, unpack, verify
from suite.cli.report import report
from suite.cli.results import schema, sync, tables, ui
from suite.cli.run import plan, run
from suite.cli.watch import logs, status, usage

__all__ = ["app", "main"]

for command in (
    plan,
    run,
    submit,
    status,
    logs,
    usage,
    cancel,
    retry,
    sync,
    ui,
    tables,
    figures,
    report,
    pack,
    unpack,
    verify,
    inspect,
    export,
    schema,
    colors,
):
    app.command()(command)
site = typer.Typer(help="Profiles of Slurm clusters, slurm/*.toml.", no_args_is_help=True)
site.command("check")(site_check)
app.add_typer(site, name="site")
