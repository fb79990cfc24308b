"""MLflow's own pages over a ledger's database."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from suite.track.store import ARTIFACTS, ENVIRONMENT, TrackingError, connect, default_uri


def ui_command(root: Path, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves `http://host:port/`; `sync` first, since two processes must not make a database at once."""
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", default_uri(root)),
        *("--artifacts-destination", str(root.resolve() / ARTIFACTS)),
        *("--host", host, "--port", str(port)),
        *("--workers", "1"),
    ]


def runs_page(root: Path, sweep: str, port: int) -> str:
    """Address of a sweep's runs in a UI served on `port`; sync first. MLflow opens its pages for language models otherwise."""
    experiment = connect(default_uri(root)).get_experiment_by_name(sweep)
    if experiment is None:
        raise TrackingError(
            f"MLflow below {root} does not know sweep {sweep!r} yet; another sync is under way, try again"
        )
    return f"http://127.0.0.1:{port}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"


def ui_environment() -> dict[str, str]:
    """Variables to add to the environment of `ui_command`; without job execution a server takes a third of the memory."""
    return {**ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def free_port() -> int:
    """A port of this machine that nobody listens on, at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
