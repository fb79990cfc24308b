"""The ledger, projected to MLflow for looking, comparing and filtering. All of MLflow can be deleted and made again by `sync`."""

from suite.track.background import follow, syncing
from suite.track.names import PlannedTrial
from suite.track.store import IncompleteError, TrackingError, default_uri, shown
from suite.track.ui import free_port, runs_page, serving
from suite.track.writer import SyncReport, sync, sync_quietly

__all__ = [
    "IncompleteError",
    "PlannedTrial",
    "SyncReport",
    "TrackingError",
    "default_uri",
    "follow",
    "free_port",
    "runs_page",
    "serving",
    "shown",
    "sync",
    "sync_quietly",
    "syncing",
]
