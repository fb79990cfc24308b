"""What trials need is looked for before any starts: a missing file is one message and not a hundred failures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from suite.config import Trial
from suite.data import open_data
from suite.data.staging import find_archive
from suite.errors import UserError
from suite.ledger import Ledger
from suite.nets import find_published
from suite.train import TrainingData


def check_inputs(trials: Iterable[Trial], ledger: Ledger, data_root: Path, *, staged: bool = False) -> None:
    """Open each data set (which also decodes it into the cache, once) and look for published weights.

    Of data that will be `staged` on compute nodes an archive is enough; it is opened there.

    Raises:
        UserError: saying what is missing and where to put it.
    """
    for data, holdout in dict.fromkeys((trial.data, trial.holdout) for trial in trials):
        if staged and find_archive(data, data_root):
            continue
        source = open_data(data, data_root, ledger.root / "cache")
        try:
            TrainingData.split(source, holdout)
        except ValueError as error:
            raise UserError(f"{data}: {error}") from None
    for network in dict.fromkeys(t.network for t in trials if t.baseline.weights == "published"):
        find_published(network, data_root)
