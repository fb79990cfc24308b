"""Full-precision starting points: trained once per description, shared by every trial that describes the same one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from suite import stop
from suite.claim import SupersededError
from suite.config import Trial
from suite.data import DataSource
from suite.errors import UserError
from suite.ledger import Ledger, OpenAttempt, Work
from suite.methods import FullPrecision
from suite.nets import load_published, published_sha256
from suite.pack.store import save_network, verify
from suite.session import Session

POLL, SELDOM = 0.5, 10.0  # seconds between looks at a baseline that somebody else is making: at first, and at most


def obtain_baseline(trial: Trial, ledger: Ledger, source: DataSource, data_root: Path, asker: OpenAttempt) -> Work:
    """The trial's finished baseline: found, made here, or waited for while another process makes it."""
    work = ledger.baseline(trial.baseline_id)
    obtain(work, trial.baseline_config(), lambda attempt: _make(trial, source, data_root, attempt), asker)
    refuse_other_data(work, source)
    return work


def obtain(
    work: Work, config: dict[str, Any], make: Callable[[OpenAttempt], dict[str, Any]], asker: OpenAttempt
) -> None:
    """Finish work that many trials share: found, made here by `make`, or waited for while another process makes it."""
    pause = POLL
    while work.result() is None:
        attempt = work.try_claim(config)
        if attempt is not None:
            asker.say(f"making {work.id}")
            with suppress(SupersededError), attempt.running():  # whoever took it over is finishing it
                attempt.finish(make(attempt))
        else:
            time.sleep(pause)
            pause = min(SELDOM, pause * 1.1)
            stop.check()
            asker.check()


def refuse_other_data(work: Work, source: DataSource) -> None:
    """Raises UserError if a starting point was made with other data than these."""
    made_with = (work.result() or {})["data_sha256"]
    if made_with != source.fingerprint:
        raise UserError(
            f"{work.id} was made with other {source.info.title} data ({made_with[:10]}, not {source.fingerprint[:10]}); "
            f"give the former data, use another --root, or delete {work.path}"
        )


def _make(trial: Trial, source: DataSource, data_root: Path, attempt: OpenAttempt) -> dict[str, Any]:
    published = trial.baseline.weights == "published"

    def begin(model: nn.Module) -> None:
        if published:
            load_published(model, trial.network, data_root)

    session = Session(trial, FullPrecision(), attempt, source, begin)
    steps = session.data.steps(trial.baseline)
    session.train(trial.baseline, steps, steps)
    session.position.step = steps
    metrics = asdict(session.evaluate())
    attempt.emit("final", step=steps, **metrics)
    attempt.check()
    save_network(attempt.work.model, session.model, {})
    verify(attempt.work.model, session.model)
    return {
        "baseline": attempt.work.id,
        "config": trial.baseline_config(),
        "metrics": metrics,
        "cost": session.cost(),
        "data_sha256": source.fingerprint,
        "weights_sha256": published_sha256(trial.network, data_root) if published else None,
    }
