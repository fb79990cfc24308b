"""Samples of an attempt's process: taken while it computes, harmless, and read again whatever became of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from suite import system
from suite.config import Trial
from suite.ledger import Ledger, Work
from suite.system import FILE, sampled, samples
from suite.trial import run_trial

CPU = torch.device("cpu")


def test_samples_are_taken_until_the_body_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "INTERVAL", 0.01)
    before, threads = time.time(), threading.active_count()
    with suppress(FloatingPointError), sampled(tmp_path, CPU):
        while len(samples(tmp_path)) < 3:
            time.sleep(0.001)
        raise FloatingPointError("training diverged")
    assert threading.active_count() == threads
    found = samples(tmp_path)
    assert len(found) >= 4, "one at the end"
    assert [sample["t"] for sample in found] == sorted(sample["t"] for sample in found)
    assert all(before - 0.001 <= sample["t"] <= time.time() + 0.001 for sample in found)
    assert all(1e6 < sample["memory_bytes"] < 1e12 for sample in found)


def test_the_share_is_that_of_one_processor(tmp_path: Path) -> None:
    with sampled(tmp_path, CPU):
        began, busy = time.monotonic(), time.process_time()
        while time.process_time() < busy + 0.2:
            pass
        expected = 100 * (time.process_time() - busy) / (time.monotonic() - began)
    (sample,) = samples(tmp_path)
    assert sample["cpu_percent"] == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"t": 2, "cpu_per',
        b'{"cpu_percent": 3}',
        b'{"t": null}',
        b'{"t": NaN}',
        b'{"t": 1' + b"0" * 400 + b"}",
        b"[1]",
        b"\0\0",
    ],
)
def test_damaged_lines_are_left_out(tmp_path: Path, damaged: bytes) -> None:
    first, last = {"t": 1.0, "cpu_percent": 50.0}, {"t": 3.0, "cpu_percent": 60.0}
    (tmp_path / FILE).write_bytes(b"\n".join([json.dumps(first).encode(), damaged, json.dumps(last).encode(), damaged]))
    assert samples(tmp_path) == [first, last]


def test_attempts_of_earlier_versions_have_none(tmp_path: Path) -> None:
    assert samples(tmp_path) == []


def test_what_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with sampled(tmp_path / "not there", CPU):
        pass


def test_what_cannot_be_read_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "MEMORY", tmp_path / "none")
    with sampled(tmp_path, CPU):
        pass
    (sample,) = samples(tmp_path)
    assert sample.keys() == {"t", "cpu_percent"}


def test_a_trial_is_the_same_with_and_without(
    ledger: Ledger, make_trial: Callable[..., Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = make_trial({"name": "kmeans", "bits": 3})
    monkeypatch.setattr(system, "INTERVAL", 0.001)
    run_trial(trial, ledger, tmp_path / "data")
    attempt = ledger.trial(trial.id).attempts()[0]
    assert samples(attempt.path)
    monkeypatch.setattr(system, "_record", lambda *_: None)
    other = Ledger(ledger.root, "other")  # with the same baseline
    run_trial(trial, other, tmp_path / "data")
    assert recorded(ledger.trial(trial.id)) == recorded(other.trial(trial.id))


def recorded(work: Work) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Result and events, without times."""
    result = work.result()
    assert result is not None
    events = [{**event, "t": 0} for event in work.attempts()[0].events()]
    return {**result, "cost": 0}, events
