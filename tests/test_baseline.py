"""What a baseline records about where it comes from, and what is found out before anything runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file

from suite import checkpoint
from suite.config import Trial
from suite.data import DATASETS
from suite.errors import UserError
from suite.ledger import Ledger
from suite.nets import build_network
from suite.preflight import check_inputs
from suite.trial import run_trial


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_resumed_baseline_still_names_its_published_weights(
    make_trial: Callable[..., Trial], ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights" / "cifar10-resnet20.safetensors"
    file.parent.mkdir()
    save_file(build_network("resnet20", 1, 28, 10, seed=5).state_dict(), file)
    published = {"weights": "published", "epochs": 0.3, "batch_size": 128}
    trial = make_trial(
        {"name": "full"}, network="resnet20", baseline=published, runtime={"checkpoint_seconds": 1e-9, "log_steps": 2}
    )

    def save_and_die(path: Path, state: checkpoint.Checkpoint) -> None:
        save(path, state)
        raise Killed

    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", save_and_die)
    with pytest.raises(Killed):
        run_trial(trial, ledger, tmp_path)
    monkeypatch.setattr(checkpoint, "save", save)
    run_trial(trial, ledger, tmp_path)
    baseline = ledger.baseline(trial.baseline_id)
    assert "resuming" in baseline.attempts()[-1].log()
    result = baseline.result()
    assert result is not None
    assert result["weights_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_holdout_that_leaves_nothing_is_found_before_anything_runs(
    make_trial: Callable[..., Trial], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a folder has fewer images than were published, or nobody knows how many these are."""
    monkeypatch.setitem(DATASETS, "digits", replace(DATASETS["digits"], training=None))
    trials = [make_trial({"name": "full"}), make_trial({"name": "full"}, holdout=5000)]
    with pytest.raises(UserError, match="digits: holdout 5000 leaves nothing of the 1257"):
        check_inputs(trials, ledger, Path("data"))


def test_missing_published_weights_are_found_before_anything_runs(
    make_trial: Callable[..., Trial], ledger: Ledger
) -> None:
    trial = make_trial({"name": "full"}, network="resnet20", baseline={"weights": "published"})
    with pytest.raises(UserError, match="published weights of resnet20 not found; put them at"):
        check_inputs([trial], ledger, Path("nowhere"))
