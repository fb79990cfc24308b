"""`suite.load` and `suite.load_steps`: what they say about full, partial, damaged and missing sweeps."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import suite
from suite.config import Trial, dotted
from suite.errors import UserError
from suite.ledger import Ledger, OpenAttempt
from suite.sweep import Sweep, load_sweep
from tests.test_report import SIZE

SWEEP = """
defaults: {network: lenet5, data: digits}
grid:
  - method: [{name: kmeans, bits: 3}, {name: slq, bits: 3}, {name: slq, bits: 3, partition: random}]
    seed: [0, 1]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def sweep(file: Path) -> Sweep:
    return load_sweep(file)


@pytest.fixture
def ledger(sweep: Sweep, root: Path) -> Ledger:
    return Ledger(root, sweep.name)


def result(trial: Trial, top1: float) -> dict[str, Any]:
    return {
        "trial": trial.id,
        "baseline": {"top1": 0.98, "top5": 1.0},
        "start": {"top1": 0.98, "kept": 1.0},
        "quantized": {"top1": top1, "top5": 0.99},
        "layers": [{"values": 5}],
        "size": SIZE,
        "cost": {"wall_seconds": 3.0, "cpu_seconds": 2.0, "gpu_seconds": 0.0},
        "sources": {"attempts": [1]},
    }


Tell = Callable[[OpenAttempt], None]


def stage_one(attempt: OpenAttempt) -> None:
    attempt.emit("baseline", id="b", top1=0.98, top5=1.0, loss=0.1)
    attempt.emit("snap", stage=1, stages=2, step=0, frozen=0.25, top1=0.9, top5=0.99, loss=0.3, chosen={"conv1": [1]})
    attempt.emit("train", stage=1, stages=2, step=10, steps=20, loss=0.5, accuracy=0.75, lr=0.01)


def stage_two(attempt: OpenAttempt) -> None:
    attempt.emit("train", stage=1, stages=2, step=20, steps=20, loss=0.4, accuracy=0.8, lr=0.001)
    attempt.emit("eval", stage=1, stages=2, step=20, top1=0.95, top5=1.0, loss=0.2)
    attempt.emit("snap", stage=2, stages=2, step=20, frozen=1.0, top1=0.94, top5=1.0, loss=0.25)
    attempt.emit("final", step=20, top1=0.94, top5=1.0, loss=0.25)


def attempt(ledger: Ledger, trial: Trial, *parts: Tell, top1: float | None = None) -> None:
    """One that ends well if there is a result to write, and is interrupted otherwise."""
    opened = ledger.trial(trial.id).try_claim(trial.config())
    assert opened is not None
    try:
        with opened.running():
            for tell in parts:
                tell(opened)
            if top1 is None:
                raise KeyboardInterrupt
            opened.finish(result(trial, top1))
    except KeyboardInterrupt:
        pass


@pytest.fixture
def partial(ledger: Ledger, sweep: Sweep) -> Ledger:
    """Three of six done, the second of them after an interruption, one interrupted, two never begun."""
    attempt(ledger, sweep.trials[0], stage_one, stage_two, top1=0.96)
    attempt(ledger, sweep.trials[2], stage_one)
    attempt(ledger, sweep.trials[2], stage_one, stage_two, top1=0.94)
    attempt(ledger, sweep.trials[3], stage_one, stage_two, top1=0.90)
    attempt(ledger, sweep.trials[4], stage_one)
    return ledger


def quietly(load: Callable[..., pd.DataFrame], *arguments: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load(*arguments)


def documented(function: Callable[..., pd.DataFrame]) -> list[str]:
    """The columns that a docstring lists: "* `a`, `b`: meaning"."""
    items = re.findall(r"^ *\* ((?:`\w+`(?:, )?)+): ", inspect.getdoc(function) or "", re.MULTILINE)
    return [name for item in items for name in re.findall(r"`(\w+)`", item)]


# The frames


def test_a_partial_ledger_gives_a_row_per_planned_trial(partial: Ledger, file: Path, root: Path, sweep: Sweep) -> None:
    frame = quietly(suite.load, str(file), str(root))
    assert list(frame["id"]) == [trial.id for trial in sweep.trials]
    assert list(frame["state"]) == ["done", "new", "done", "done", "lost", "new"]
    assert frame["delta"].tolist() == pytest.approx([-2, float("nan"), -4, -8, float("nan"), float("nan")], nan_ok=True)
    means = frame.pivot_table("error", "row", "bits")
    assert means.loc["SLQ, loss partition", 3] == pytest.approx(8)  # of its two trials


def test_a_row_is_called_as_in_the_tables_and_the_same_for_all_seeds(partial: Ledger, file: Path, root: Path) -> None:
    frame = suite.load(file, root)
    assert list(frame["row"]) == ["k-means", "k-means", *["SLQ, loss partition"] * 2, *["SLQ, random partition"] * 2]
    assert (frame.groupby(["row", "bits"])["configuration"].nunique() == 1).all()


def test_a_sweep_may_be_given_in_place_of_its_file(partial: Ledger, file: Path, root: Path, sweep: Sweep) -> None:
    pd.testing.assert_frame_equal(suite.load(sweep, root), suite.load(file, root))
    pd.testing.assert_frame_equal(suite.load_steps(sweep, root), suite.load_steps(file, root))


def test_every_column_is_documented_and_every_documented_column_is_there(
    partial: Ledger, file: Path, root: Path, sweep: Sweep
) -> None:
    settings = {name for trial in sweep.trials for name in dotted(trial.config())}
    columns = [name for name in suite.load(file, root) if name not in settings - {"network", "data", "seed"}]
    assert sorted(documented(suite.load)) == sorted(columns)
    assert sorted(documented(suite.load_steps)) == sorted(suite.load_steps(file, root))


def test_steps_have_a_row_per_point_in_percent(partial: Ledger, file: Path, root: Path, sweep: Sweep) -> None:
    steps = quietly(suite.load_steps, file, root)
    mine = steps[steps["id"] == sweep.trials[0].id].set_index(["event", "stage", "step"])
    assert list(mine.index[:-1]) == [
        ("snap", 1, 0),
        ("train", 1, 10),
        ("train", 1, 20),
        ("eval", 1, 20),
        ("snap", 2, 20),
    ]
    assert mine.index[-1][0] == "final"
    assert pd.isna(mine.index[-1][1])
    assert mine["frozen"].dropna().tolist() == [25, 100]
    assert mine["top1"].dropna().tolist() == pytest.approx([90, 95, 94, 94])
    assert mine["accuracy"].dropna().tolist() == pytest.approx([75, 80])
    assert mine["lr"].dropna().tolist() == [0.01, 0.001]
    assert mine["loss"].tolist() == [0.3, 0.5, 0.4, 0.2, 0.25, 0.25]
    assert (pd.Timestamp.now(tz="UTC") - mine["time"]).max() < pd.Timedelta(minutes=10)


def test_what_a_resumed_attempt_repeats_is_there_once(partial: Ledger, file: Path, root: Path, sweep: Sweep) -> None:
    steps = suite.load_steps(file, root)
    mine = steps[steps["id"] == sweep.trials[2].id]
    assert mine["attempt"].tolist() == [1, 1, 2, 2, 2, 2]
    assert not steps.duplicated(["id", "event", "stage", "step"]).any()
    assert steps["id"].nunique() == 4  # of those that have begun


def test_stages_without_training_between_them_are_all_there(
    ledger: Ledger, file: Path, root: Path, sweep: Sweep
) -> None:
    def snaps(attempt: OpenAttempt) -> None:
        for stage in (1, 2, 3):
            attempt.emit("snap", stage=stage, stages=3, step=0, frozen=stage / 3, top1=0.9, top5=1.0, loss=0.1)

    attempt(ledger, sweep.trials[0], snaps)
    assert suite.load_steps(file, root)["stage"].tolist() == [1, 2, 3]


# What can be wrong


def damaged(ledger: Ledger, trials: Iterable[Trial], text: str) -> None:
    for trial in trials:
        (ledger.trial(trial.id).path / "result.json").write_text(text)


def test_folders_that_cannot_be_read_are_warned_of_once_and_the_rest_is_there(
    partial: Ledger, file: Path, root: Path, sweep: Sweep
) -> None:
    damaged(partial, sweep.trials[2:4], "{")
    with pytest.warns(UserWarning, match="counts as missing") as caught:
        frame = suite.load(file, root)
    (warning,) = caught
    assert re.match(rf"{sweep.trials[2].id} counts as missing: .* is damaged .*\(and 1 more\)$", str(warning.message))
    assert warning.filename == __file__, "the user's own line is named"
    assert list(frame["state"]) == ["done", "new", "unreadable", "unreadable", "lost", "new"]
    assert [bool(text) for text in frame["warning"]] == [False, False, True, True, False, False]
    assert frame["top1"].notna().sum() == 1


def test_a_ledger_of_a_newer_version_says_what_to_do(partial: Ledger, file: Path, root: Path, sweep: Sweep) -> None:
    damaged(partial, sweep.trials[:1], json.dumps({"schema": 99}))
    with pytest.warns(UserWarning, match="has schema 99, this version reads up to 1; update slq"):
        frame = suite.load(file, root)
    assert list(frame["state"][:3]) == ["unreadable", "new", "done"]


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "train", "step": 1}',
        '{"event": "train", "t": 0, "step": 1, "loss": "x"}',
        '{"event": "train", "t": 0, "step": "x"}',
        '{"event": "train", "t": 0, "step": []}',
        '{"event": "train", "t": 0, "step": Infinity}',
        '{"event": "train", "t": 1e300, "step": 1}',
        '{"event": "train", "t": Infinity, "step": 1}',
    ],
)
def test_events_that_make_no_sense_leave_their_trial_out(
    partial: Ledger, file: Path, root: Path, sweep: Sweep, line: str
) -> None:
    (partial.trial(sweep.trials[0].id).path / "attempts" / "1" / "events.jsonl").write_text(line + "\n")
    with pytest.warns(UserWarning, match=f"{sweep.trials[0].id} counts as missing"):
        steps = suite.load_steps(file, root)
    assert steps["id"].nunique() == 3


@pytest.mark.parametrize("load", [suite.load, suite.load_steps])
def test_a_folder_without_the_sweep_is_warned_of(
    load: Callable[..., pd.DataFrame], partial: Ledger, file: Path, tmp_path: Path
) -> None:
    with pytest.warns(
        UserWarning, match=r"nothing of sweep small in .*elsewhere: it never ran, or `root` is"
    ) as caught:
        frame = load(file, tmp_path / "elsewhere")
    assert [warning.filename for warning in caught] == [__file__]
    assert frame.empty if load is suite.load_steps else (frame["state"] == "new").all()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("load", [suite.load, suite.load_steps])
def test_a_sweep_file_that_is_not_there_or_wrong_is_refused(
    load: Callable[..., pd.DataFrame], file: Path, root: Path
) -> None:
    with pytest.raises(UserError, match=r"no file jobs/quikstart\.yaml; the sweeps that come with"):
        load("jobs/quikstart.yaml", root)
    file.write_text(SWEEP.replace("lenet5", "lenet6"))
    with pytest.raises(UserError, match="unknown network 'lenet6'"):
        load(file, root)


def test_importing_suite_imports_nothing_heavy() -> None:
    code = "import sys, suite; print([m for m in ('pandas', 'numpy', 'torch', 'pydantic') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
