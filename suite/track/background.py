"""Keep MLflow up to date while a sweep runs, from the process that launched it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from suite.ledger import Ledger
from suite.track.projection import PlannedTrial
from suite.track.writer import sync_quietly

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
