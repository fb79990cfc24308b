"""Keep MLflow up to date while a sweep runs: from the process that launched it, or from one that only watches the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from suite.errors import UserError
from suite.ledger import Ledger
from suite.track.names import PlannedTrial
from suite.track.store import IncompleteError
from suite.track.writer import sync, sync_quietly

INTERVAL = 30.0  # seconds between syncs


@dataclass
class Tracking:
    """How the last sync went: None, or what was wrong."""

    problem: str | None = None


@contextmanager
def syncing(ledger: Ledger, planned: Sequence[PlannedTrial], uri: str, *, enabled: bool) -> Iterator[Tracking]:
    """Sync now and then while the body runs, and once more at its end, even if it ends by an exception."""
    tracking, stop = Tracking(), threading.Event()

    def loop() -> None:
        while not stop.wait(INTERVAL):
            tracking.problem = sync_quietly(ledger, planned, uri)

    thread = threading.Thread(target=loop, daemon=True)
    if enabled:
        thread.start()
    try:
        yield tracking
    finally:
        stop.set()
        if enabled:
            thread.join()
        tracking.problem = sync_quietly(ledger, planned, uri)


def follow(ledger: Ledger, planned: Sequence[PlannedTrial], uri: str, over: Callable[[], bool]) -> Iterator[str]:
    """Sync now and then until `over`, and once more; yields what a sync did when that is something new.

    What goes wrong, such as an MLflow that is away, is said once, and tried again.
    """
    said = ""
    while True:
        last = over()
        try:
            report = sync(ledger, planned, uri)
            text = str(report) if report.created or report.updated or last else ""
        except IncompleteError as error:
            text = str(error)
        except UserError as error:
            text = f"{error}; trying again every {INTERVAL:.0f} s"
        if text and text != said:
            yield text
        said = text or said
        if last:
            return
        time.sleep(INTERVAL)
