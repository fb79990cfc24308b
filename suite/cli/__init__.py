"""The command line: every command is a few lines that call the package.

Exit codes: 0 all went well; 1 `slq run` left trials undone; 2 a mistake in what was asked; 130 stopped by Ctrl-C.
"""

from suite.cli.app import app, main
from suite.cli.cluster import submit
from suite.cli.results import schema, sync, tables, ui
from suite.cli.run import plan, run
from suite.cli.watch import logs, status

__all__ = ["app", "main"]

for command in (plan, run, submit, status, logs, sync, ui, tables, schema):
    app.command()(command)
