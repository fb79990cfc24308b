"""MLflow's own pages over a ledger's database."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from suite.errors import UserError
from suite.track.store import ARTIFACTS, ENVIRONMENT, TrackingError, connect, default_uri

_SERVER = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # with it a server takes three times the memory

PATIENCE = 10.0  # seconds that the server has to end itself


@contextmanager
def serving(root: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server over a root, on the loopback address; `sync` first: two processes must not make a database at once.

    The body begins when the server listens, and all its processes are ended after the body.

    Raises:
        TrackingError: if it ends before it answers.
    """
    command, environment = _command(root, port), {**os.environ, **ENVIRONMENT, **_SERVER}
    with log.open("wb") as output:
        # A session of its own: Ctrl-C is for us, and we end the server quietly.
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        while not _answers(port):
            if server.poll() is not None:
                raise TrackingError(f"MLflow's server did not start, see {log}")
            time.sleep(0.2)
        yield server
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """All its processes: gracefully, and if that takes too long, at once."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, ending)
        with suppress(subprocess.TimeoutExpired):
            server.wait(PATIENCE)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _command(root: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", default_uri(root)),
        *("--artifacts-destination", str(root.resolve() / ARTIFACTS)),
        *("--host", "127.0.0.1", "--port", str(port)),
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


def free_port(wanted: int = 0) -> int:
    """The wanted port of the loopback address; 0: any that nobody listens on, at this moment.

    Raises:
        UserError: if the wanted one is in use, or for others than this user.
    """
    with socket.socket() as probe:
        if wanted:  # the connections that an earlier server had do not keep it in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise UserError(f"port {wanted} cannot be used: {error.strerror}; without --port a free one is") from None
        return int(probe.getsockname()[1])
