"""A sync to a real PostgreSQL, which a test starts and stops, on a Unix socket of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite.ledger import Ledger
from suite.track import SyncReport, store, sync
from tests.track.trials import Planned, dump, everything, run, runs_of

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # where Debian puts them
USER = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root; Debian's package makes this user

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BINARIES, reason="needs Debian's package postgresql"),
]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URI of an empty database."""
    pytest.importorskip("psycopg2")
    # Not below pytest's own folder, which is closed to other users; and the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="slq-postgres-", ignore_cleanup_errors=True) as temporary:
        folder, data = Path(temporary), Path(temporary) / "data"
        if USER:
            shutil.chown(folder, USER, USER)
        initdb = [BINARIES[-1] / "initdb", "-D", data, "-U", "slq", "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(initdb, user=USER, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        command = [BINARIES[-1] / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, user=USER, cwd=folder, stdout=log, stderr=log)
        try:
            wait_for(f"host={folder} user=slq dbname=postgres", server)
            yield f"postgresql+psycopg2://slq@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown: open connections are ended
            server.wait(timeout=60)


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    import psycopg2

    for _ in range(300):
        assert server.poll() is None, "PostgreSQL ended"
        try:
            psycopg2.connect(address).close()
        except psycopg2.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("PostgreSQL does not answer")


def test_postgresql_holds_what_sqlite_holds(ledger: Ledger, postgres: str) -> None:
    plan = everything(ledger)
    report = sync(ledger, plan, postgres)
    assert (report.created, report.updated, report.unchanged) == (6, 0, 0)
    client = store.connect(postgres)
    there = dump(ledger, client)
    assert sync(ledger, plan, postgres) == SyncReport(unchanged=6)
    sync(ledger, plan, store.default_uri(ledger.root))
    assert dump(ledger) == there


def test_the_longest_texts_fit(ledger: Ledger, postgres: str) -> None:
    """SQLite does not look at the lengths of its columns; PostgreSQL does."""
    ledger = Ledger(ledger.root, "longest")
    trial = Planned("t" * 200, "x" * 400 + " s0", {"seed": 0, "data": "digits", "text": "y" * 10_000})
    run(ledger, trial)
    assert sync(ledger, [trial], postgres).created == 1
    assert sync(ledger, [trial], postgres).unchanged == 1
    (found,) = runs_of(ledger, store.connect(postgres))
    assert len(found.info.run_name) == 250
