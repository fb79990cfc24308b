"""The way to MLflow: addresses, environment, and a client that fails soon and clearly.

`mlflow` is imported only when a client is wanted: it takes seconds, and most commands do without.
"""

from __future__ import annotations

import difflib
import os
import re
import sqlite3
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from suite.errors import UserError
from suite.files import write_atomic

SQLITE = "sqlite:///"
ARTIFACTS = "mlartifacts"  # folder below the ledger's root
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "file", "databricks")  # MLflow's own
PLUGINS = "mlflow.tracking_store"  # entry points: packages that know further ones
NEAR = 0.7  # likeness from which a scheme is taken for another one, mistyped
MOST_SHOWN = 5  # damaged trials that are named

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # MLflow's own 7 retries take minutes, and whoever syncs comes back anyway.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # seconds
}

_files: dict[Path, list[int]] = {}  # inodes of the SQLite files that this process opened at a path


class TrackingError(UserError):
    """MLflow is away or broken. Nothing is lost: the ledger has everything, and the next sync catches up."""


class IncompleteError(UserError):
    """MLflow is up to date but for some trials, whose files cannot be read."""

    def __init__(self, problems: Sequence[UserError], done: str) -> None:
        """`problems`: one for each of these trials; `done`: what was done about the others."""
        shown = [str(problem) for problem in problems[:MOST_SHOWN]]
        more = [f"and {len(problems) - MOST_SHOWN} more"] if len(problems) > MOST_SHOWN else []
        head = f"MLflow lacks {len(problems)} of the trials, the others are up to date ({done}):"
        super().__init__("\n  ".join([head, *shown, *more]))


def default_uri(root: Path) -> str:
    """The SQLite database in the ledger's root."""
    return f"{SQLITE}{root.resolve()}/mlflow.db"


def artifact_location(root: Path, uri: str) -> str | None:
    """Where a new experiment keeps its files: below the root, or None where a server decides."""
    return None if uri.lower().startswith("http") else (root.resolve() / ARTIFACTS).as_uri()


def check_uri(uri: str) -> str:
    """The address with its scheme in lower case, without asking MLflow, which judges schemes that are like none of its own.

    Raises:
        UserError: for a SQLite address without a file, and for a scheme that is mistyped, or cannot be one.
    """
    scheme, slashes, rest = uri.partition("://")
    if not slashes:
        return uri
    scheme, name = scheme.lower(), scheme.lower().partition("+")[0]
    if f"{scheme}://{rest}" == SQLITE:
        raise UserError(f"MLflow at {uri}: no file is named; write {SQLITE}results/mlflow.db, for instance")
    if name not in SCHEMES and name not in entry_points(group=PLUGINS).names:
        near = difflib.get_close_matches(name, SCHEMES, n=1, cutoff=NEAR)
        if near or not re.fullmatch(r"[a-z][a-z0-9.-]*", name):
            hint = f" - did you mean {near[0]!r}?" if near else ""
            raise UserError(f"MLflow at {shown(uri)}: unknown scheme {name!r}; allowed: {', '.join(SCHEMES)}{hint}")
    return f"{scheme}://{rest}"


def connect(uri: str) -> Any:
    """An `MlflowClient`. A SQLite database is made if there is none, which is not safe in two processes at once."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return _client(_sqlite_address(Path(uri.removeprefix(SQLITE))) if uri.startswith(SQLITE) else uri)


def _client(address: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=address, registry_uri=address)


def _sqlite_address(file: Path) -> str:
    """The URI for a SQLite file, after a look whether it can be opened: MLflow would try for 100 s.

    MLflow keeps one connection for each spelling of a URI as long as the process lives, and would go on writing into a
    deleted file. So a file made anew gets a new spelling: one "/." more for each file there was at this path before.
    """
    if not file.exists():
        # Elsewhere first: MLflow cannot use a database whose making, which takes seconds, was broken off.
        write_atomic(file, lambda temporary: _client(f"{SQLITE}{temporary}"))
    sqlite3.connect(file).close()
    inodes = _files.setdefault(file, [])
    if (inode := file.stat().st_ino) not in inodes:
        inodes.append(inode)
    return f"{SQLITE}{file.parent}{'/.' * inodes.index(inode)}/{file.name}"


def shown(uri: str) -> str:
    """The URI without the user, the password and the options that it may hold."""
    scheme, slashes, rest = uri.partition("://")
    return f"{scheme}{slashes}{re.split('[?&]', rest.rpartition('@')[2])[0]}"


def explain(uri: str, error: Exception) -> str:
    """What to tell a user about an error of MLflow: its first line, without the password that a URI may hold, and what to do."""
    reason = (str(error).replace(uri, shown(uri)).splitlines() or [""])[0][:300]
    return (
        f"MLflow at {shown(uri)}: {type(error).__name__}: {reason}. "
        f"The ledger is complete: sync again later{_remedy(uri, error)}"
    )


def _remedy(uri: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and uri.startswith("postgresql"):
        return "; for PostgreSQL: pip install psycopg2-binary, and a URI that begins with postgresql+psycopg2://"
    if getattr(error, "get_http_status_code", int)() in (401, 403):
        return "; this server wants MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
    return f"; if it stays so, delete {uri.removeprefix(SQLITE)}" if uri.startswith(SQLITE) else ""
