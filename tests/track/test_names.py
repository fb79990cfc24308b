"""Names of runs: the label, and what tells trials with the same label apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite.config import Trial
from suite.sweep import load_sweep
from suite.track.names import LONGEST, named
from tests.track.trials import Planned, planned

Make = Callable[..., Trial]


def names(*trials: Trial) -> list[str]:
    return [name.run for name in named(trials).values()]


def test_a_label_that_is_unique_is_the_name(make_trial: Make) -> None:
    trials = [make_trial({"name": "slq", "bits": 5}), make_trial({"name": "kmeans", "bits": 5})]
    assert names(*trials) == ["SLQ 5b loss s0 lenet5 digits", "k-means 5b s0 lenet5 digits"]
    assert trials[0].label == "SLQ 5b loss s0 lenet5 digits"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"method": {"tune": "sum"}}, (", centres not trained,", ", centres trained by sums,")),
        ({"prune": {"kept": 0.2}}, ("", ", 20 % kept,")),
        ({"baseline": {"epochs": 9, "batch_size": 128}}, (", baseline epochs 2,", ", baseline epochs 9,")),
        ({"retrain": {"epochs": 4, "batch_size": 128}}, (", retrain epochs 1,", ", retrain epochs 4,")),
        ({"holdout": 65}, (", holdout 64,", ", holdout 65,")),
    ],
)
def test_what_differs_is_said_right_after_the_method(
    make_trial: Make, settings: dict[str, Any], told: tuple[str, str]
) -> None:
    method = {"name": "kmeans", "bits": 3, "tune": "mean" if "retrain" in settings else "none"}
    trials = [make_trial(method), make_trial(**{**settings, "method": {**method, **settings.get("method", {})}})]
    assert trials[0].label == trials[1].label
    assert names(*trials) == [f"k-means 3b{words} s0 lenet5 digits" for words in told]


def test_seeds_share_a_configuration_also_if_its_twin_has_fewer_of_them(make_trial: Make) -> None:
    method = {"name": "kmeans", "bits": 3}
    trials = [*(make_trial(method, seed=seed) for seed in (0, 1)), make_trial({**method, "tune": "sum"})]
    found = [(name.run, name.configuration) for name in named(trials).values()]
    plain = "k-means 3b, centres not trained"
    assert found == [
        (f"{plain}, s0 lenet5 digits", f"{plain}, lenet5 digits"),
        (f"{plain}, s1 lenet5 digits", f"{plain}, lenet5 digits"),
        ("k-means 3b, centres trained by sums, s0 lenet5 digits", "k-means 3b, centres trained by sums, lenet5 digits"),
    ]


def test_settings_without_influence_are_not_told(make_trial: Make) -> None:
    first = make_trial({"name": "kmeans", "bits": 3})
    second = make_trial({"name": "kmeans", "bits": 3}, seed=1, runtime={"log_steps": 7})
    assert len({name.configuration for name in named([first, second]).values()}) == 1


def test_names_differ_where_words_do_not_tell(make_trial: Make) -> None:
    trials = [make_trial({"name": "kmeans", "bits": 3}, prune={"kept": {layer: 0.5}}) for layer in ("fc1", "fc2")]
    first, second = names(*trials)
    assert first.startswith("k-means 3b")
    assert first != second
    assert names(*trials) == names(*trials)
    assert len({name.configuration for name in named(trials).values()}) == 2


def test_a_long_name_is_cut_to_what_mlflow_takes() -> None:
    trials = [Planned(identity, "x" * 400 + " s0", {"seed": 0, "text": identity}) for identity in ("a", "b")]
    runs = [name.run for name in named(trials).values()]
    assert [len(run) for run in runs] == [LONGEST, LONGEST]
    assert runs[0] != runs[1]


def test_trials_that_differ_in_nothing_but_their_id_have_names_of_their_own() -> None:
    trials = [planned("a"), planned("b"), replace(planned("c"), label="no seed in it")]
    runs = [name.run for name in named(trials).values()]
    assert runs[0] == "lenet5 SLQ 5b loss s0"
    assert len(set(runs)) == 3
    assert runs[2] == "no seed in it"


SWEEPS = sorted((Path(__file__).parents[2] / "jobs").rglob("*.yaml"))


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_all_runs_of_every_sweep_are_told_apart_without_hashes(file: Path) -> None:
    trials = load_sweep(file).trials
    found = named(trials)
    assert len({name.run for name in found.values()}) == len(trials)
    for trial in trials:
        said = found[trial.id].run.replace(",", " ").split()
        assert set(trial.label.split()) <= set(said)
        assert not any(len(word) == 10 and set(word) <= set("0123456789abcdef") for word in said)
