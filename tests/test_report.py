"""The tables: what they say about full, partial, missing and damaged sweeps, and that they are the same every time."""

from __future__ import annotations

import io
import itertools
import json
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from rich.console import Console

from suite.config import Trial
from suite.errors import UserError
from suite.ledger import Ledger
from suite.methods import AnyMethod
from suite.pack.size import Size
from suite.report import References, Tables, build_tables, load_references, print_tables, tidy, write_tables
from suite.report.condition import meets
from suite.report.label import in_words, row_labels
from suite.report.reference import Entry, Published, Source
from suite.report.render import csv, html, latex, markdown
from suite.report.spread import Interval, Spread
from suite.report.table import Row
from suite.report.tex import on_pages, points
from suite.report.verdict import incomplete, judge
from suite.report.written import LargerTableError

REFERENCES = Path(__file__).parents[1] / "results" / "reference"
CHROMIUM = Path("/usr/bin/chromium")

TITLES = {
    "full": "full precision",
    "kmeans": "k-means",
    "slq": "SLQ",
    "mlq": "MLQ",
    "ttq": "TTQ",
    "inq": "INQ",
    "universal": "UQ",
    "deep-compression": "DC",
    "hessian": "Hessian",
    "ecsq": "ECSQ",
    "twn": "TWN",
}


@dataclass(frozen=True)
class Planned:
    """A planned trial as the report sees one."""

    method: str = "slq"
    bits: int | None = 5
    network: str = "lenet5"
    data: str = "digits"
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    kept: float | dict[str, float] | None = None  # of pruning

    @property
    def id(self) -> str:
        options = "".join(f"-{key}-{value}" for key, value in self.options.items())
        pruned = "" if self.kept is None else f"-{self.kept}"
        return f"{self.method}-{self.bits}b-{self.network}-{self.data}{options}{pruned}-s{self.seed}"

    @property
    def label(self) -> str:
        return self.id

    @property
    def title(self) -> str:
        return TITLES[self.method]

    @property
    def as_published(self) -> bool:
        return self.options.get("compensation", True)

    def config(self) -> dict[str, Any]:
        bits = {} if self.bits is None else {"bits": self.bits}
        method = {"name": self.method, **bits, **self.options}
        baseline = {"epochs": 10, "seed": self.seed}
        prune = None if self.kept is None else {"epochs": 20, "kept": self.kept}
        shared = {"network": self.network, "data": self.data, "baseline": baseline, "prune": prune}
        return {**shared, "seed": self.seed, "method": method, "runtime": {"log_steps": 10 + self.seed}}

    def canonical(self) -> dict[str, Any]:
        return {name: value for name, value in self.config().items() if name != "runtime"}


def seeds(count: int, **settings: Any) -> list[Planned]:
    return [Planned(seed=seed, **settings) for seed in range(count)]


# A network of 1000 quantized weights, 400 of them left, and 50 other numbers.
SIZE: dict[str, Any] = {
    "weights": 1000,
    "live": 400,
    "nonzero": 390,
    "full_bits": 33_600,
    "file_bits": 4_800,
    "ratio": 7.0,
    "index_bits": 2_000,
    "codebook_bits": 544,
    "position_bits": 900,
    "code_bits": 1_700,
    "side_bits": 32,
    "other_bits": 1_600,
    "bits_per_weight": 3.18,
    "fixed_bits_per_weight": 3.48,
    "fixed_ratio": 6.6,
    "ratio_deep_compression": 8.1,
    "ratio_choi": 8.2,
    "entropy_bits": 1_650.5,
    "coders": {"fixed": 2_000, "huffman": 1_720, "adaptive": 1_700},
}
NOTHING_QUANTIZED: dict[str, Any] = {name: 0 for name in SIZE if name.endswith("_bits")} | {
    "weights": 0, "live": 0, "nonzero": 0, "full_bits": 33_600, "file_bits": 33_600, "ratio": 1.0, "bits_per_weight": 32.0,
    "fixed_bits_per_weight": 32.0, "fixed_ratio": 1.0, "ratio_deep_compression": None, "ratio_choi": None, "coders": {},
}  # fmt: skip


def result(trial: Planned, top1: float, baseline: float) -> dict[str, Any]:
    return {
        "trial": trial.id,
        "config": trial.config(),
        "baseline": {"id": "some", "top1": baseline, "top5": 0.99, "loss": 0.1},
        "start": {"id": "some", "top1": 0.94, "top5": 0.99, "loss": 0.1, "kept": 1.0 if trial.kept is None else 0.08},
        "quantized": {"top1": top1, "top5": 0.98, "loss": 0.2},
        "stages": [],
        "layers": [{"name": "conv1", "values": 17}, {"name": "fc", "values": 12}],
        "size": {**SIZE, **(NOTHING_QUANTIZED if trial.method == "full" else {})},
        "cost": {"wall_seconds": 12.1, "cpu_seconds": 12.0, "gpu_seconds": 0.0, "attempts": 1},
        "sources": {"attempts": [1]},
    }


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "runs", "quick_start")


@pytest.fixture(scope="module")
def references() -> References:
    return load_references(REFERENCES)


def run(ledger: Ledger, trial: Planned, top1: float = 0.9, baseline: float = 0.95, dirty: bool = False) -> None:
    attempt = ledger.trial(trial.id).try_claim(trial.config())
    assert attempt is not None
    with attempt.running():
        (attempt.path / "provenance.json").write_text(json.dumps({"commit": "abc123", "dirty": dirty}))
        attempt.finish(result(trial, top1, baseline))


def run_all(ledger: Ledger, trials: Iterable[Planned]) -> None:
    for trial in trials:
        run(ledger, trial)


def only_row(tables: Tables) -> Row:
    (row,) = tables.rows
    return row


# The tidy frame


def test_frame_has_a_row_per_planned_trial_with_percentages_and_flat_options(ledger: Ledger) -> None:
    plan = [Planned(options={"partition": "loss"}), Planned("full", bits=None)]
    run(ledger, plan[0], top1=0.9, baseline=0.95, dirty=True)
    frame = tidy(ledger, plan)
    done, missing = frame.iloc[0], frame.iloc[1]
    assert list(frame["state"]) == ["done", "new"]
    assert [done["top1"], done["error"], done["delta"]] == pytest.approx([90, 10, -5])
    assert [done["values"], done["ratio"], done["wall_seconds"]] == [17, 7.0, 12.1]
    assert [done["start_top1"], done["kept"]] == pytest.approx([94, 100])
    assert {name: done[name] for name in SIZE if name != "coders"} == {n: v for n, v in SIZE.items() if n != "coders"}
    assert json.loads(done["coders"]) == SIZE["coders"]
    assert (done["bits"], done["attempts"], done["dirty"], done["commit"]) == (5, 1, True, "abc123")
    assert (done["method.partition"], done["baseline.epochs"]) == ("loss", 10)
    assert pd.isna([missing["top1"], missing["bits"], missing["method.partition"]]).all()


def test_sizes_are_those_that_a_trial_records() -> None:
    assert {f.name for f in fields(Size)} == SIZE.keys()


@pytest.mark.parametrize("lost", [("size", "file_bits"), ("size", "coders"), ("start", "kept")])
def test_result_of_another_version_counts_as_missing_and_says_how_to_make_it_again(
    ledger: Ledger, references: References, lost: tuple[str, str]
) -> None:
    trial = Planned()
    run(ledger, trial)
    file = ledger.trial(trial.id).path / "result.json"
    old = json.loads(file.read_text())
    del old[lost[0]][lost[1]]
    file.write_text(json.dumps(old))
    tables = build_tables(ledger, [trial], references)
    assert only_row(tables).done == 0
    (warning,) = tables.warnings
    assert f"another version lacks {lost[0]}.{lost[1]}; remove the folder trials/{trial.id}" in warning
    assert warning.endswith("slq run jobs/quick_start.yaml")


def test_unknown_size_is_not_a_number(ledger: Ledger) -> None:
    trial = Planned("full", bits=None)
    run(ledger, trial)
    row = tidy(ledger, [trial]).iloc[0]
    assert (row["weights"], row["file_bits"]) == (0, 33_600)
    assert pd.isna(row["ratio_choi"])


def test_failed_trial_counts_its_attempts_and_has_no_figures(ledger: Ledger) -> None:
    trial = Planned()
    for _ in range(2):
        attempt = ledger.trial(trial.id).try_claim(trial.config())
        assert attempt is not None
        with pytest.raises(RuntimeError), attempt.running():
            raise RuntimeError("diverged")
    row = tidy(ledger, [trial]).iloc[0]
    assert (row["state"], row["attempts"]) == ("failed", 2)
    assert pd.isna(row["top1"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"schema": 1, "tri', "is damaged"),
        ('{"schema": 1, "trial": "another"}', "that of another"),
        ('{"schema": 99}', "update slq"),
        ("[]", "is damaged"),
        (
            None,
            "lacks start.top1, start.kept, size.weights and 18 more; remove the folder trials/slq-5b-lenet5-digits-s1 and make",
        ),
    ],
)
def test_damaged_result_counts_as_missing_and_warns_without_paths(
    ledger: Ledger, references: References, tmp_path: Path, text: str | None, reason: str
) -> None:
    good, bad = seeds(2)
    run_all(ledger, [good, bad])
    incomplete = json.dumps({"schema": 1, "trial": bad.id, "baseline": {}})
    (ledger.trial(bad.id).path / "result.json").write_text(text or incomplete)
    tables = build_tables(ledger, [good, bad], references)
    assert (only_row(tables).done, only_row(tables).planned) == (1, 2)
    (warning,) = tables.warnings
    assert bad.id in warning
    assert reason in warning
    assert str(tmp_path) not in warning
    assert warning in markdown(tables)


# The table


def test_mean_and_standard_deviation_over_seeds(ledger: Ledger, references: References) -> None:
    accuracies, baselines = [0.90, 0.93, 0.96], [0.95, 0.95, 0.99]
    plan = seeds(3)
    for trial, top1, baseline in zip(plan, accuracies, baselines, strict=True):
        run(ledger, trial, top1, baseline)
    row = only_row(build_tables(ledger, plan, references))
    assert row.top1 is not None
    assert row.error is not None
    assert row.delta is not None
    assert (row.top1.mean, row.top1.std) == pytest.approx((93, 3))  # deviations -3, 0, 3: sqrt(18 / 2)
    assert row.error.mean == pytest.approx(7)
    differences = [-5.0, -2.0, -3.0]  # each to its own baseline
    assert (row.delta.mean, row.delta.std) == pytest.approx(
        (statistics.mean(differences), statistics.stdev(differences))
    )
    assert "7.00 ± 3.00" in markdown(build_tables(ledger, plan, references))
    assert "−3.33 ± 1.53" in markdown(build_tables(ledger, plan, references))


def test_interval_of_three_values_is_their_range_and_of_fewer_there_is_none() -> None:
    assert Interval.of(pd.Series([-5.0, float("nan"), -2.0, -3.0])) == Interval(-5.0, -2.0)
    assert Interval.of(pd.Series([1.5, 1.5, 1.5])) == Interval(1.5, 1.5)
    assert Interval.of(pd.Series([1.0, 2.0, float("nan")])) is None


def test_interval_is_that_of_all_resamples() -> None:
    values = [0.3, -1.2, 2.5, 0.9, 0.1]
    means = [statistics.mean(resample) for resample in itertools.product(values, repeat=len(values))]
    low, high = np.quantile(means, [0.025, 0.975])
    found = Interval.of(pd.Series(values))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05)
    assert found == Interval.of(pd.Series(values)), "files would change with every run"


def test_csv_alone_has_the_interval_of_the_difference(ledger: Ledger, references: References) -> None:
    plan = [*seeds(3), *seeds(2, bits=3), *seeds(3, method="full", bits=None)]
    for trial, top1 in zip(plan, [0.90, 0.93, 0.97, 0.9, 0.8, 0.95, 0.96, 0.97], strict=True):
        run(ledger, trial, top1)
    tables = build_tables(ledger, plan, references)
    table = pd.read_csv(io.StringIO(csv(tables)))
    assert [table["delta_low"][0], table["delta_high"][0]] == pytest.approx([-5, 2])
    assert table[["delta_low", "delta_high"]][1:].isna().all(axis=None)  # of two trials; of the baselines themselves
    told = "Trials behind each row, and 95 % bootstrap intervals of mean Δ over at least 3 trials (delta_low, delta_high): quick_"
    assert told in markdown(tables)
    assert "95 %" not in markdown(build_tables(ledger, plan[3:], references)), "there are none"
    page = (Path(__file__).parents[1] / "docs" / "howto" / "new-table.md").read_text()
    assert all(f"`{name}`" in page for name in ("delta_low", "delta_high")), "explained where tables are"


def test_single_seed_has_no_standard_deviation(ledger: Ledger, references: References) -> None:
    run(ledger, Planned())
    tables = build_tables(ledger, [Planned()], references)
    row = only_row(tables)
    assert row.error is not None
    assert row.error.std is None
    assert not re.search(r"\d ± \d", markdown(tables))


def test_partial_and_missing_rows_say_how_many_there_are(ledger: Ledger, references: References) -> None:
    plan = [*seeds(3), *seeds(2, bits=3)]
    run_all(ledger, plan[:2])
    tables = build_tables(ledger, plan, references)
    text = markdown(tables)
    assert re.search(r"\| SLQ +\| +5 \| +2 of 3 \| +10\.00 ± 0\.00 \|", text)
    assert re.search(r"\| SLQ +\| +3 \| +0 of 2 \|( +missing \|){5}", text)
    assert "2 of 5 trials done" in text
    assert list(tables.rows[0].trials) == [trial.id for trial in plan[:3]]


def test_blocks_and_rows_follow_the_plan(ledger: Ledger, references: References) -> None:
    plan = [
        Planned(network="resnet20", data="cifar10-jpeg", bits=4),
        Planned(network="resnet20", data="cifar10-jpeg", bits=3),
        Planned(network="lenet5", data="digits"),
        Planned(network="resnet20", data="cifar10-jpeg", bits=4, seed=1),
    ]
    tables = build_tables(ledger, plan, references)
    assert [block.title for block in tables.blocks] == ["ResNet-20 on CIFAR-10 (JPEG)", "LeNet-5 on Digits"]
    assert [(row.bits, row.planned) for row in tables.rows] == [(4, 2), (3, 1), (5, 1)]


def test_titles_can_be_given(ledger: Ledger, references: References) -> None:
    tables = build_tables(ledger, [Planned()], references, networks={"lenet5": "Le Net"}, data={"digits": "8x8"})
    assert tables.blocks[0].title == "Le Net on 8x8"


def test_label_tells_rows_of_a_method_apart_and_says_nothing_else(ledger: Ledger, references: References) -> None:
    same = {"zero": True}
    plan = [
        Planned(options={"partition": "loss", **same}),
        Planned(options={"partition": "magnitude", **same}),
        Planned("kmeans", options={"rounds": 10}),
        Planned("kmeans", bits=3, options={"rounds": 10}),
    ]
    labels = [row.label for row in build_tables(ledger, plan, references).rows]
    assert labels == ["SLQ, loss partition", "SLQ, magnitude partition", "k-means", "k-means"]


def test_label_leaves_out_what_follows_from_the_width(ledger: Ledger, references: References) -> None:
    slq = [{"name": "slq", "bits": 5}, {"name": "slq", "bits": 3}, {"name": "slq", "bits": 5, "partition": "magnitude"}]
    recipes = [{"epochs": 3}, {"epochs": 3}, {"epochs": 1}]
    plan = [
        Trial.model_validate({"network": "lenet5", "data": "digits", "method": method, "retrain": retrain})
        for method, retrain in zip(slq, recipes, strict=True)
    ]
    labels = [row.label for row in build_tables(ledger, plan[:2], references).rows]
    assert labels == ["SLQ", "SLQ"]  # though their schedules differ
    labels = [row.label for row in build_tables(ledger, plan, references).rows]
    assert labels == ["SLQ", "SLQ", "SLQ, magnitude partition, retrain epochs 1"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("method.partition", "loss", "loss partition"),
        ("retrain.epochs", 4.0, "retrain epochs 4"),
        ("method.pin_zero", True, "pin zero"),
        ("method.threshold", None, "default threshold"),
        ("method.portions", [0.5, 1.0], "portions 0.5/1"),
        ("method.layers", ["conv1", "fc"], "layers conv1/fc"),
        ("method.kind", "uniform", "uniform"),
        ("method.tune", "sum", "centres trained by sums"),
        ("method.tune", "none", "centres not trained"),
        ("method.curvature", "none", "unweighted"),
        ("method.dither", "none", "no dither"),
        ("prune.kept", 0.0855, "8.55 % kept"),
        ("prune.kept", [0.08, 0.09, 0.26], "8/9/26 % kept"),
        ("prune.kept", None, "not pruned"),
    ],
)
def test_settings_in_words(name: str, value: Any, words: str) -> None:
    assert in_words(name, value) == words


def test_label_says_only_what_most_rows_do_not_share() -> None:
    base: dict[str, Any] = {
        "method.partition": "loss",
        "method.scope": "layer",
        "method.pin_zero": True,
        "retrain.epochs": 3,
    }
    changes: list[dict[str, Any]] = [
        {},
        {"method.partition": "random"},
        {"method.scope": "network"},
        {"method.pin_zero": False},
        {"retrain.epochs": 5, "retrain.learning_rate": 0.001},
    ]
    rows = [{"retrain.learning_rate": 0.01, **base, **change} for change in changes]
    assert row_labels(["SLQ"] * 5, rows) == [
        "SLQ",
        "SLQ, random partition",
        "SLQ, network scope",
        "SLQ, no pin zero",
        "SLQ, retrain (learning rate 0.001, epochs 5)",
    ]


def test_label_of_pruned_rows_says_how_much_is_kept_and_no_more() -> None:
    by_layer = {"prune.kept.fc1": 0.08, "prune.kept.fc2": 0.26, "prune.epochs": 20, "prune.rounds": 2}
    at_once = {"prune.kept": 0.08, "prune.epochs": 20, "prune.rounds": 2}
    assert row_labels(["K"] * 3, [{"prune": None}, by_layer, at_once]) == [
        "K",
        "K, 8/26 % kept",
        "K, 8 % kept",
    ]
    assert row_labels(["K"] * 3, [{"prune": None}, at_once, {**at_once, "method.bits": 3}]) == [
        "K, not pruned",
        "K",
        "K",
    ]
    assert row_labels(["K"] * 3, [{"prune": None}, {"prune": None, "method.bits": 3}, at_once]) == [
        "K",
        "K",
        "K, 8 % kept",
    ]


def test_label_of_pruned_rows_names_the_layers_where_only_they_differ() -> None:
    rows = [
        {"prune.kept.conv1": 0.5},
        {"prune.kept.conv2": 0.5},
        {"prune.kept.conv1": 0.2, "prune.kept.fc1": 0.1},
        {"prune.kept": 0.5},
    ]
    assert row_labels(["K"] * 4, rows) == [
        "K, 50 % kept of conv1",
        "K, 50 % kept of conv2",
        "K, 20/10 % kept",
        "K, 50 % kept",
    ]


def test_label_does_not_say_which_options_are_not_used() -> None:
    used = [{"rate": 1.5}, {"rate": 2.0}, {"step": 0.1}]
    rows = [{"method.rate": None, "method.step": None} | {f"method.{k}": v for k, v in row.items()} for row in used]
    assert row_labels(["E"] * 3, rows) == ["E, rate 1.5", "E, rate 2", "E, step 0.1"]


SETTINGS = {
    "method.rate": st.sampled_from([None, 1.5, 2.0]),
    "method.bits": st.sampled_from([2, 3]),
    "method.tune": st.sampled_from(["none", "sum", "mean"]),
    "method.portions": st.sampled_from([None, [0.5, 1.0], [1.0]]),
    "retrain.epochs": st.sampled_from([1.0, 2.0]),
    "retrain.learning_rate": st.sampled_from([0.01, 0.001]),
}
PRUNING = st.sampled_from([
    {"prune": None}, {"prune.kept": 0.1}, {"prune.kept.a": 0.1, "prune.kept.b": 0.2}, {"prune.kept.a": 0.1, "prune.kept.c": 0.2},
    {"prune.kept.b": 0.1},
])  # fmt: skip


@given(st.lists(st.tuples(st.fixed_dictionaries(SETTINGS), PRUNING), min_size=1, max_size=8))
def test_different_rows_have_different_labels_or_widths(parts: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    unique = {json.dumps(settings | pruning, sort_keys=True): settings | pruning for settings, pruning in parts}
    rows = list(unique.values())
    labels = row_labels(["K"] * len(rows), rows)
    shown = [(label, row["method.bits"]) for label, row in zip(labels, rows, strict=True)]
    assert len(set(shown)) == len(rows)


def test_top5_only_where_there_are_many_classes(ledger: Ledger, references: References) -> None:
    few, many = Planned(), Planned(network="resnet18", data="imagenet")
    run_all(ledger, [few, many])
    assert "Top-5" not in markdown(build_tables(ledger, [few], references))
    assert re.search(r"Top-5 error %.*\n.*\n.* 2\.00 ", markdown(build_tables(ledger, [many], references)))


def test_full_precision_has_32_bits_and_no_difference_to_itself(ledger: Ledger, references: References) -> None:
    trial = Planned("full", bits=None)
    run(ledger, trial, top1=0.95, baseline=0.95)
    row = only_row(build_tables(ledger, [trial], references))
    assert (row.bits, row.delta) == (32, None)


def test_pruned_full_precision_differs_from_its_baseline(ledger: Ledger, references: References) -> None:
    trial = Planned("full", bits=None, network="lenet5-caffe", data="mnist", kept=0.08)
    run(ledger, trial, top1=0.95, baseline=0.96)
    row = only_row(build_tables(ledger, [trial], references))
    assert row.delta is not None
    assert row.delta.mean == pytest.approx(-1)
    assert (row.pruned, row.kept) == (True, 8)


def test_fraction_kept_is_shown_if_anything_is_pruned(ledger: Ledger, references: References) -> None:
    plain, pruned = Planned(), Planned(kept={"conv1": 0.5, "fc1": 0.05})
    run_all(ledger, [plain, pruned])
    assert "Kept" not in markdown(build_tables(ledger, [plain], references))
    text = markdown(build_tables(ledger, [plain, pruned], references))
    assert re.search(r"Top-1 error % \| +Δ full precision \| +Kept % \|", text)
    assert re.search(r"\| SLQ +\|.*\| +100\.00 \| +3\.48 \| +3\.18 \| +7\.00× \|", text)
    assert re.search(r"\| SLQ, 50/5 % kept +\|.*\| +8\.00 \| +3\.48 \| +3\.18 \| +7\.00× \|", text)


def test_sizes_are_means_per_weight_of_the_rows_that_have_results(ledger: Ledger, references: References) -> None:
    plan = [*seeds(2), Planned("full", bits=None), Planned("mlq", bits=2)]
    run_all(ledger, plan[:3])
    file = ledger.trial(plan[1].id).path / "result.json"
    other = json.loads(file.read_text())
    other["size"] |= {"weights": 2000, "file_bits": 8_000, "code_bits": 5_400, "ratio_choi": 8.4}
    file.write_text(json.dumps(other))
    text = markdown(build_tables(ledger, plan, references)).partition("Sizes: LeNet-5 on Digits")[2]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert cells[2:] == [
        # index (2000/1000 + 2000/2000) / 2, codebook (0.544 + 0.272) / 2, position, code (1.7 + 2.7) / 2, entropy, (600 + 1000) / 2
        ["SLQ", "5", "1.50", "0.408", "0.68", "2.20", "1.24", "800", "6.60×", "8.10×", "8.30×", "7.00×"],
        ["full precision", "32", *["–"] * 5, "4,200", "1.00×", "–", "–", "1.00×"],
    ]


def test_no_sizes_before_there_are_results(ledger: Ledger, references: References) -> None:
    assert "Sizes" not in markdown(build_tables(ledger, [Planned()], references))


def test_a_sweep_without_trials_is_refused(ledger: Ledger, references: References) -> None:
    with pytest.raises(UserError, match="quick_start plans no trials"):
        build_tables(ledger, [], references)


def test_dirty_trees_are_counted(ledger: Ledger, references: References) -> None:
    plan = seeds(2)
    run(ledger, plan[0], dirty=True)
    run(ledger, plan[1])
    assert "1 of them ran from uncommitted code" in markdown(build_tables(ledger, plan, references))
    assert "uncommitted" not in markdown(build_tables(ledger, plan[1:], references))


# Published figures


def dc(network: str, data: str = "mnist", **options: int) -> Planned:
    return Planned("deep-compression", None, network, data, options=options, kept=0.08)


def hessian(curvature: str) -> Planned:
    return Planned("hessian", 5, "resnet32", "cifar10", options={"curvature": curvature}, kept=0.2)


def ecsq(network: str, data: str, kind: str) -> Planned:
    return Planned("ecsq", None, network, data, options={"kind": kind}, kept=0.08)


def published_cell(ledger: Ledger, references: References, trial: Planned) -> str:
    lines = markdown(build_tables(ledger, [trial], references)).splitlines()
    names = next(line for line in lines if line.startswith("| Method"))
    line = next(line for line in lines if " 0 of 1 " in line)
    return line.split("|")[[name.strip() for name in names.split("|")].index("Published")].strip()


@pytest.mark.parametrize(
    ("trial", "cell"),
    [
        (Planned("ttq", bits=2, network="resnet20", data="cifar10"), "8.87 (−0.64) [1]"),
        (Planned("ttq", bits=2, network="resnet20", data="cifar10-jpeg"), "(−0.64) [1]"),
        (Planned("full", bits=None, network="resnet20", data="cifar10"), "8.23 [1]"),
        (Planned("full", bits=None, network="resnet20", data="cifar10-jpeg"), "–"),
        (dc("lenet5-caffe", conv_bits=8, fc_bits=5), "0.74 (+0.06), 39× [1]"),
        (dc("lenet5-caffe", conv_bits=8, fc_bits=4), "–"),
        (dc("lenet-300-100", conv_bits=8, fc_bits=6), "1.58 (+0.06), 40× [1]"),
        (dc("alexnet", "imagenet", conv_bits=8, fc_bits=5), "42.78 (0.00), 35× [1]"),
        (dc("alexnet", "imagenet", conv_bits=4, fc_bits=2), "44.77 (−1.99) [1]"),
        (
            Planned("deep-compression", None, "alexnet", "imagenet", options={"conv_bits": 8, "fc_bits": 5}),
            "–",
        ),  # it is pruning that makes it
        (Planned("universal", bits=None, network="resnet32", data="cifar10-jpeg"), "47.1× [1]"),
        (Planned("universal", bits=None, network="resnet32", data="cifar10-jpeg", kept=0.1), "47.1× [1]"),
        (Planned("full", bits=None, network="lenet5-caffe", data="mnist"), "0.80 [1]"),
        (Planned("full", bits=None, network="lenet5-caffe", data="mnist", kept=0.0855), "0.73 (+0.02), 10.13× [1]"),
        (Planned("kmeans", bits=5, network="lenet5-caffe", data="mnist", kept=0.0855), "0.73 (+0.02), 44.58× [1]"),
        (Planned("kmeans", bits=5, network="lenet5-caffe", data="mnist"), "–"),
        (hessian("adam"), "7.33 (+0.09), 20.51× [1]"),
        (hessian("none"), "7.36 (+0.06), 18.25× [1]"),
        (ecsq("lenet5-caffe", "mnist", "uniform"), "0.72 (+0.03), 51.25× [1]"),
        (ecsq("lenet5-caffe", "mnist", "iterative"), "0.73 (+0.02), 49.01× [1]"),
        (ecsq("alexnet", "imagenet", "iterative"), "–"),
        (Planned("twn", bits=2, network="lenet-twn", data="mnist"), "0.65 [1]"),
        (Planned("inq", bits=4, network="alexnet", data="imagenet", kept=0.05), "(−0.52), 71× [1]"),
        (Planned("inq", bits=4, network="alexnet", data="imagenet"), "–"),
        (
            Planned("inq", bits=5, network="resnet18", data="imagenet", options={"partition": "random"}),
            "32.11 (−0.38) [1]",
        ),
        (
            Planned("inq", bits=5, network="resnet18", data="imagenet", options={"partition": "magnitude"}),
            "31.02 (+0.71) [1]",
        ),
        (Planned("mlq", bits=2, network="resnet20", data="cifar10"), "(−1.68), second hand [1]"),
        (
            Planned("mlq", bits=2, network="resnet20", data="cifar10", options={"compensation": False}),
            "–",
        ),  # an ablation
        (Planned("slq", bits=5, network="alexnet", data="imagenet"), "not available [1]"),
        (Planned("slq", bits=3, network="alexnet", data="imagenet"), "not available [1]"),
        (Planned("kmeans", bits=5, network="resnet32", data="cifar10"), "–"),  # only pruned k-means was published
        (Planned("slq", bits=5, network="lenet5", data="digits"), "–"),
    ],
)
def test_published_figure_beside_a_trial(ledger: Ledger, references: References, trial: Planned, cell: str) -> None:
    assert published_cell(ledger, references, trial) == cell


def test_references_are_listed_with_their_source(ledger: Ledger, references: References) -> None:
    text = markdown(build_tables(ledger, [Planned(network="resnet20", data="cifar10-jpeg")], references))
    assert "Published: ResNet-20 on CIFAR-10\n" in text
    assert re.search(r"\| TTQ +\| +2 \| +8\.87 \| +−0\.64 \|", text)
    assert "[2] Zhu et al.: Trained Ternary Quantization, ICLR 2017, arXiv 1612.01064. Read in: README" in text
    assert "compare differences to full precision only" in text


def test_conditions_of_a_published_figure_are_told_in_words(ledger: Ledger, references: References) -> None:
    text = markdown(build_tables(ledger, [ecsq("lenet5-caffe", "mnist", "uniform")], references))
    for title in (
        "full precision, pruned",
        "ECSQ, uniform, pruned",
        "universal quantization",
        "Deep Compression, pruning only",
    ):
        assert re.search(rf"\n\| {title} +\|", text), title


@pytest.mark.parametrize(
    ("options", "settings", "fits"),
    [
        ({}, {}, True),
        ({}, {"prune": None}, True),
        ({}, {"prune.kept": 0.1, "prune.epochs": 3}, False),
        ({"prune": "any"}, {"prune.kept": 0.1}, True),
        ({"prune": "exists"}, {"prune.kept.fc1": 0.1}, True),
        ({"prune": "exists"}, {"prune": None}, False),
        ({"prune": "exists"}, {}, False),
        ({"prune": "any", "prune.kept": 0.1}, {"prune.kept": 0.1}, True),
        ({"prune": "any", "prune.kept": 0.1}, {"prune": None}, False),
        ({"method.kind": "uniform"}, {"method.kind": "uniform"}, True),
        ({"method.kind": "uniform"}, {"method.kind": "iterative"}, False),
        ({"method.kind": ["uniform", "iterative"]}, {"method.kind": "iterative"}, True),
        ({"retrain.milestones": [0.5, 0.75]}, {"retrain.milestones": [0.5, 0.75]}, True),
        ({"retrain.milestones": [[0.5], [0.5, 0.75]]}, {"retrain.milestones": [0.5, 0.75]}, True),
        ({"retrain.milestones": [0.5]}, {"retrain.milestones": [0.5, 0.75]}, False),
        ({"method.threshold": "absent"}, {"method.threshold": None}, True),
        ({"method.threshold": "absent"}, {"method.threshold": 0.7}, False),
        ({"method.kind": "uniform", "method.scope": "layer"}, {"method.kind": "uniform", "method.scope": "net"}, False),
    ],
)
def test_conditions_on_settings(options: dict[str, Any], settings: dict[str, Any], fits: bool) -> None:
    assert meets(options, settings) is fits


def test_condition_on_a_setting_that_does_not_exist_names_those_there_are() -> None:
    with pytest.raises(UserError, match=r"'method\.kin' is no setting of ecsq; allowed: .*did you mean 'method\.kind'"):
        meets({"method.kin": "uniform"}, {"method.name": "ecsq", "method.kind": "uniform"})


def test_conditions_are_on_options_that_the_methods_have(references: References) -> None:
    """Of the methods that the suite has; figures of others are only listed."""
    models = {get_args(model.model_fields["name"].annotation)[0]: model for model in get_args(get_args(AnyMethod)[0])}
    conditions = [
        (p.entry.method, name, value) for p in references.published for name, value in p.entry.options.items()
    ]
    checked = [c for c in conditions if c[0] in models and c[1].startswith("method.")]
    assert checked
    for method, name, wanted in checked:
        option = models[method].model_fields[name.removeprefix("method.")]
        for value in wanted if isinstance(wanted, list) else [wanted]:
            assert TypeAdapter(option.annotation).validate_python(value) == value


def test_of_two_figures_that_fit_alike_there_is_none() -> None:
    kinds: list[dict[str, Any]] = [{"method.a": 1}, {"method.b": 2}]
    entries = [
        Entry(network="n", data="d", method="m", options=options, ratio=2, flag="SEEN", read="x") for options in kinds
    ]
    both = References(tuple(Published(Source(title="T", venue="V"), entry) for entry in entries))
    found = both.find("n", "d", "m", None, {"method.a": 1, "method.b": 2})
    assert found.published is None
    (mistake,) = found.mistakes
    assert re.search(r"figures of n, d, m fit the same trial: .*method\.a.* and .*method\.b", mistake)
    found = both.find("n", "d", "m", None, {"method.a": 1, "method.b": 3})
    assert found.published is not None
    assert (found.published.entry, found.mistakes) == (entries[0], ())


# Verdicts


def figure(error: float | None = None, full: float | None = None, ratio: float | None = None) -> Published:
    entry = Entry(
        network="n", data="d", method="m", top1_error=error, full_top1_error=full, ratio=ratio, flag="SEEN", read="x"
    )
    return Published(Source(title="T", venue="V"), entry)


@pytest.mark.parametrize(
    ("published", "delta", "std", "ratio", "verdict"),
    [
        # published Δ +0.06, ratio 40; tolerance 0.2
        (figure(1.58, 1.64, 40), 0.06, None, 40.0, "reproduced"),
        (figure(1.58, 1.64, 40), -0.13, None, 41.0, "reproduced"),
        (figure(1.58, 1.64, 40), 0.07, None, 41.0, "better"),
        (figure(1.58, 1.64, 40), 0.27, None, 40.0, "better"),
        (figure(1.58, 1.64, 40), 0.27, None, 39.9, "ratio lower"),
        (figure(1.58, 1.64, 40), -0.15, None, 50.0, "accuracy lower"),
        (figure(1.58, 1.64, 40), -0.15, 0.2, 50.0, "accuracy lower"),  # noise is no excuse
        (figure(1.58, 1.64, 40), 0.27, 0.1, 40.0, "better"),
        (figure(1.58, 1.64, 40), 0.27, 0.2, 40.0, "reproduced"),  # above by less than two deviations: perhaps by chance
        (figure(1.58, 1.64, 40), -0.15, None, 39.0, "accuracy and ratio lower"),
        # differences of accuracies that are just at a limit, which binary fractions are not
        (figure(1.58, 1.64, 40), 100 * (0.9826 - 0.984), None, 40.0, "reproduced"),
        (figure(1.58, 1.64, 40), 100 * (0.9825 - 0.984), None, 40.0, "accuracy lower"),
        (figure(1.58, 1.64, 40), 100 * (0.9842 - 0.9836), None, 41.0, "better"),
        (figure(0.72, 0.75, 51.25), 100 * (0.9928 - 0.9925), None, 52.0, "better"),
        # no ratio: accuracy decides
        (figure(8.87, 8.23), -0.7, None, 2.0, "reproduced"),
        (figure(8.87, 8.23), -0.4, None, 2.0, "better"),
        # no Δ: errors are compared; ours is 5 %
        (figure(5.1), -3.0, None, 2.0, "reproduced"),
        (figure(4.7), 3.0, None, 2.0, "accuracy lower"),
        # the ratio alone: full precision is the yardstick
        (figure(ratio=124.8), -0.1, None, 125.0, "reproduced"),
        (figure(ratio=124.8), 0.0, None, 125.0, "better"),
        (figure(ratio=124.8), -0.3, None, 125.0, "accuracy lower"),
        (None, 0.0, None, 2.0, "no published figure"),
    ],
)
def test_verdict(published: Published | None, delta: float, std: float | None, ratio: float, verdict: str) -> None:
    assert judge(Spread(5.0, None), Spread(delta, std), ratio, published, same_data=True) == verdict


def test_verdict_needs_the_published_data() -> None:
    assert judge(Spread(5.0, None), Spread(0.0, None), 50, figure(1, 1, 40), same_data=False) == "differs in data"
    assert judge(Spread(5.0, None), None, 50, None, same_data=False) == "no published figure"


def test_verdicts_stand_in_the_table_where_there_are_figures(ledger: Ledger, references: References) -> None:
    plan = [
        Planned("ttq", bits=2, network="resnet20", data="cifar10"),
        Planned("slq", bits=2, network="resnet20", data="cifar10"),
        Planned("ttq", bits=2, network="resnet20", data="cifar10-jpeg"),
        Planned("ttq", bits=2, network="resnet32", data="cifar10"),
        Planned(),
    ]
    for trial in plan[:3]:
        run(ledger, trial, top1=0.9, baseline=0.905)
    tables = build_tables(ledger, plan, references)
    wanted = ["reproduced", "no published figure", "differs in data", "missing", "missing"]
    assert [row.verdict for row in tables.rows] == wanted
    text = markdown(tables)
    assert re.search(r"\| 8\.87 \(−0\.64\) \[1\] \| reproduced +\|", text)
    assert "Verdict: reproduced if Δ is at most 0.2 points below the published Δ" in text
    assert "Verdict" not in markdown(build_tables(ledger, [Planned()], references))


def test_a_verdict_waits_for_all_trials(ledger: Ledger, references: References) -> None:
    plan = [*seeds(3, method="ttq", bits=2, network="resnet20", data="cifar10"), Planned(bits=4, network="resnet20")]
    verdicts = []
    for trial in plan[:3]:
        (row, _) = build_tables(ledger, plan, references).rows
        verdicts.append(row.verdict)
        run(ledger, trial, top1=0.5)
    verdicts.append(build_tables(ledger, plan, references).rows[0].verdict)
    assert verdicts == ["missing", "running 1 of 3", "running 2 of 3", "accuracy lower"]


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        (["done", "done"], ""),
        (["new", "failed"], "missing"),
        (["done", "new", "failed"], "running 1 of 3"),  # planned and not begun
        (["done", "lost", "running", "done"], "running 2 of 4"),
        (["done", "failed", "lost", "unreadable", "done"], "stopped, 2 of 5 done"),
    ],
)
def test_a_row_is_running_only_while_more_results_are_to_come(states: list[str], verdict: str) -> None:
    assert incomplete(states) == verdict


def test_a_row_whose_other_trial_failed_has_stopped(ledger: Ledger, references: References) -> None:
    plan = seeds(2, method="ttq", bits=2, network="resnet20", data="cifar10")
    run(ledger, plan[0])
    attempt = ledger.trial(plan[1].id).try_claim(plan[1].config())
    assert attempt is not None
    with pytest.raises(RuntimeError), attempt.running():
        raise RuntimeError("diverged")
    assert only_row(build_tables(ledger, plan, references)).verdict == "stopped, 1 of 2 done"


def test_a_trial_that_cannot_be_read_keeps_its_row_waiting(ledger: Ledger, references: References) -> None:
    plan = seeds(2, method="ttq", bits=2, network="resnet20", data="cifar10")
    run_all(ledger, plan)
    (ledger.trial(plan[1].id).path / "result.json").write_text("{")
    tables = build_tables(ledger, plan, references)
    assert only_row(tables).verdict == "stopped, 1 of 2 done"
    assert re.search(r"\| stopped, 1 of 2 done +\|", markdown(tables))


KNOWN = """
source: {title: Figures, venue: V}
entries:
  - network: resnet20
    data: cifar10
    method: ttq
    top1_error: 8
    full_top1_error: 9
    flag: SEEN
    read: table 1
    known:
      - {where: {method.bits: 3}, reason: another width}
      - {where: {method.kind: odd, baseline.epochs: 10}, reason: trained for half as long}
"""


def of_kind(kind: str, **settings: Any) -> Planned:
    return Planned("ttq", 2, "resnet20", "cifar10", options={"kind": kind}, **settings)


def test_a_known_deviation_says_so_where_its_conditions_hold(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(KNOWN)
    plan = [of_kind("odd"), of_kind("odd", kept=0.1), of_kind("even"), of_kind("odd", seed=1, kept=0.2)]
    for trial, top1 in zip(plan, [0.5, 0.5, 0.5, 0.99], strict=True):
        run(ledger, trial, top1)
    tables = build_tables(ledger, plan, load_references(tmp_path))
    # the figure is of a network that is not pruned, so only two rows have it
    assert [row.verdict for row in tables.rows] == [
        "known deviation",
        "no published figure",
        "accuracy lower",
        "no published figure",
    ]
    text = markdown(tables)
    assert re.search(r"\| known deviation \[2\] +\|", text)
    assert "[2] Known deviation, accuracy lower: trained for half as long.\n" in text
    assert "another width" not in text
    table = pd.read_csv(io.StringIO(csv(tables)))
    assert table["verdict"][0] == "known deviation, accuracy lower: trained for half as long"


@pytest.mark.parametrize(("tops", "verdict"), [([0.96, 0.96], "reproduced"), ([0.5], "running 1 of 2")])
def test_a_known_deviation_is_one_only_of_a_row_that_falls_short(
    ledger: Ledger, tmp_path: Path, tops: list[float], verdict: str
) -> None:
    (tmp_path / "own.yaml").write_text(KNOWN)
    plan = [of_kind("odd"), of_kind("odd", seed=1)]
    for trial, top1 in zip(plan, tops, strict=False):
        run(ledger, trial, top1)
    tables = build_tables(ledger, plan, load_references(tmp_path))
    assert (only_row(tables).verdict, only_row(tables).deviation) == (verdict, "")
    assert "nown deviation" not in markdown(tables)


@pytest.mark.parametrize(
    ("where", "verdicts"),
    [
        ("method.kind: odd", ["known deviation", "known deviation"]),
        ("prune: exists", ["accuracy lower", "known deviation"]),
    ],
)
def test_a_known_deviation_is_of_pruned_trials_too(
    ledger: Ledger, tmp_path: Path, where: str, verdicts: list[str]
) -> None:
    of_both = KNOWN.replace("method: ttq", "method: ttq\n    options: {prune: any}")
    (tmp_path / "own.yaml").write_text(of_both.replace("method.kind: odd", where))
    plan = [of_kind("odd"), of_kind("odd", kept=0.1)]
    for trial in plan:
        run(ledger, trial, 0.5)
    rows = build_tables(ledger, plan, load_references(tmp_path)).rows
    assert [row.verdict for row in rows] == verdicts


@pytest.mark.parametrize(
    ("right", "wrong"), [("method.kind", "method.kin"), ("method: ttq", "method: ttq\n    options: {method.kin: odd}")]
)
def test_a_figure_with_a_condition_that_names_no_setting_is_left_out_at_once_and_told_with_its_line(
    ledger: Ledger, tmp_path: Path, right: str, wrong: str
) -> None:
    """In the reasons of known deviations as in the options; the figures of other rows stay."""
    own = {"network": "resnet20", "data": "cifar10", "method": "slq", "ratio": 3, "flag": "SEEN", "read": "table 1"}
    (tmp_path / "own.yaml").write_text(f"{KNOWN.replace(right, wrong)}  - {json.dumps(own)}\n")
    plan = [of_kind("odd"), of_kind("even"), Planned(network="resnet20", data="cifar10")]
    tables = build_tables(ledger, plan, load_references(tmp_path))
    (warning,) = tables.warnings
    assert warning.startswith("results/reference/own.yaml:4: published figure: 'method.kin' is no setting of ttq; ")
    assert "did you mean 'method.kind'" in warning
    assert f"Warning: {warning}" in markdown(tables)
    assert [row.published is not None for row in tables.rows] == [False, False, True]


def test_a_mistyped_figure_hides_none_that_is_at_least_as_close() -> None:
    """A closer one it may hide: nobody knows whether it is meant for the trial."""
    conditions: list[dict[str, Any]] = [
        {},
        {"method.kind": "odd", "method.scope": "layer"},
        {"method.kind": "odd"},
        {"method.kin": "even"},
    ]
    entries = [
        Entry(network="n", data="d", method="m", options=options, ratio=2, flag="SEEN", read="x")
        for options in conditions
    ]
    references = References(tuple(Published(Source(title="T", venue="V"), e, "own", i) for i, e in enumerate(entries)))

    def found(kind: str, scope: str) -> int | None:
        found = references.find("n", "d", "m", None, {"method.kind": kind, "method.scope": scope})
        (mistake,) = found.mistakes
        assert mistake.startswith("results/reference/own.yaml:3: published figure: 'method.kin' is no setting of m")
        return found.published.line if found.published else None

    assert [found("odd", "layer"), found("odd", "network"), found("even", "layer")] == [1, 2, None]


def test_reason_stands_below_a_row_that_is_not_available(ledger: Ledger, references: References) -> None:
    text = markdown(build_tables(ledger, [Planned(network="vgg16", data="imagenet")], references))
    assert "Not available: the result tables of the paper could not be obtained" in text


def test_every_figure_was_read_by_somebody(references: References) -> None:
    entries = [p.entry for p in references.published]
    assert len(entries) > 90
    for entry in entries:
        assert entry.flag in ("SEEN", "2nd") if entry.available else entry.reason
    assert not [p for p in references.published if p.source.venue.startswith("AAAI") and p.entry.top1_error is not None]


VALID = "source: {title: A, venue: B}\nentries:\n  - {network: n, data: d, method: m,\n     "


@pytest.mark.parametrize(
    ("rest", "complaint"),
    [
        ("top1_error: 3, flag: MEM, read: x}", r"own.yaml:4: entries.0.flag: .*'SEEN' or '2nd' \(given: 'MEM'\)"),
        (
            "top1_erorr: 3, flag: SEEN, read: x}",
            r"own.yaml:4: entries.0.top1_erorr is not .*network.*mean 'top1_error'",
        ),
        ("top1_error: 300, flag: SEEN, read: x}", r"own.yaml:4: entries.0.top1_error: .*less than or equal to 100"),
        ("top1_error: 3}", "own.yaml:3: entries.0: needs a figure, its 'flag'"),
        ("flag: SEEN, read: x}", "own.yaml:3: entries.0: needs a figure"),
        ("available: false}", "own.yaml:3: entries.0: 'available: false' needs a 'reason'"),
        ("delta: 1, full_top1_error: 3, flag: SEEN, read: x}", "own.yaml:3: entries.0: 'delta' follows"),
        ("ratio: [}", "own.yaml:4: not YAML"),
        ("ratio: 2, ratio: 3, flag: SEEN, read: x}", "own.yaml:4: key 'ratio' is given twice"),
        ("ratio: 2, flag: SEEN, read: x}\nurl: a", r"own.yaml:5: url is not a known key; allowed: source, entries"),
        (
            "options: {method: {kind: a}}, ratio: 2, flag: SEEN, read: x}",
            "entries.0.options: write 'method' with dots: method.kind",
        ),
        ("options: {method.bits: 5}, ratio: 2, flag: SEEN, read: x}", "'method.bits' has a key of its own"),
        (
            "ratio: 2, flag: 2nd, read: x}\n  - {network: n, data: d, method: m, ratio: 3, flag: 2nd, read: y}",
            "more than one entry for .*'n', 'd', 'm'.*'variant'",
        ),
        (
            "ratio: 2, flag: 2nd, read: x, known: [{where: {a: 1}}]}",
            "own.yaml:4: entries.0.known.0.reason: Field required",
        ),
        (
            "ratio: 2, flag: 2nd, read: x, known: [{reason: b, whree: {}}]}",
            r"known.0.whree is not a known key; allowed: where, reason .*mean 'where'",
        ),
        (
            "ratio: 2, flag: 2nd, read: x, known: [{where: {method: {kind: a}}, reason: b}]}",
            "known.0.where: write 'method' with dots: method.kind",
        ),
        ("ratio: 2, variant: a, flag: 2nd, read: x, known: [{reason: b}]}", "entries.0: 'known' is of a figure beside"),
        ("available: false, reason: a, known: [{reason: b}]}", "entries.0: 'known' is of a figure beside"),
    ],
)
def test_reference_files_are_read_strictly(tmp_path: Path, rest: str, complaint: str) -> None:
    (tmp_path / "own.yaml").write_text(VALID + rest)
    with pytest.raises(UserError, match=complaint):
        load_references(tmp_path)


def test_missing_key_and_missing_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no published figures \(\*.yaml\) in .*nowhere"):
        load_references(tmp_path / "nowhere")
    (tmp_path / "own.yaml").write_text("source: {title: A}\nentries: []\n")
    with pytest.raises(UserError, match=r"own.yaml:1: source.venue: Field required"):
        load_references(tmp_path)


# The files


def varied() -> list[Planned]:
    return [
        *seeds(3, method="full", bits=None, network="resnet20", data="cifar10-jpeg"),
        *seeds(3, network="resnet20", data="cifar10-jpeg", options={"partition": "loss"}),
        *seeds(3, network="resnet20", data="cifar10-jpeg", options={"partition": "50%_of<x>&$|"}),
        *seeds(2, method="mlq", bits=2, network="resnet20", data="cifar10-jpeg"),
        *seeds(2, network="alexnet", data="imagenet"),
        *seeds(1, method="inq", network="resnet18", data="imagenet", options={"partition": "magnitude"}),
    ]


def test_files_are_the_same_whatever_the_order_of_finishing(tmp_path: Path, references: References) -> None:
    contents = []
    for number, order in enumerate([varied(), varied()[::-1]]):
        ledger = Ledger(tmp_path / f"runs{number}", "quick_start")
        run_all(ledger, order)
        files = write_tables(build_tables(ledger, varied(), references), tmp_path / f"tables{number}")
        contents.append({file.name: file.read_bytes() for file in files})
    assert sorted(contents[0]) == [f"quick_start.{suffix}" for suffix in ("csv", "html", "md", "tex")]
    assert contents[0] == contents[1]
    assert all(str(tmp_path).encode() not in content for content in contents[0].values())


def test_writing_twice_replaces_and_leaves_nothing_behind(
    ledger: Ledger, references: References, tmp_path: Path
) -> None:
    files = write_tables(build_tables(ledger, varied(), references), tmp_path / "tables")
    run_all(ledger, varied())
    write_tables(build_tables(ledger, varied(), references), tmp_path / "tables")
    assert sorted((tmp_path / "tables").iterdir()) == sorted(files)
    assert "14 of 14 trials done" in files[0].read_text()


def test_a_table_of_fewer_trials_replaces_none_of_more_unless_forced(
    ledger: Ledger, references: References, tmp_path: Path
) -> None:
    run_all(ledger, varied()[:2])
    half = build_tables(ledger, varied(), references)
    run_all(ledger, varied()[2:4])
    (kept, *_) = files = write_tables(build_tables(ledger, varied(), references), tmp_path / "tables")
    assert "4 of 14 trials done" in kept.read_text()
    before = [file.read_bytes() for file in files]
    with pytest.raises(
        LargerTableError, match=r"quick_start.csv rests on 4 trials, more than the 2 that are done in this"
    ):
        write_tables(half, tmp_path / "tables")
    assert [file.read_bytes() for file in files] == before
    assert sorted((tmp_path / "tables").iterdir()) == sorted(files)
    write_tables(half, tmp_path / "tables", force=True)
    assert "2 of 14 trials done" in kept.read_text()
    elsewhere = Ledger(tmp_path / "elsewhere", "quick_start")
    run_all(elsewhere, varied()[-2:])
    write_tables(build_tables(elsewhere, varied(), references), tmp_path / "tables")
    assert "2 of 14 trials done" in kept.read_text(), "of another machine, and of as many"


@pytest.mark.parametrize(
    "text", ["", "network,trials\na,b\n", "done,trials\nmany,b\n", "<<<<<<< HEAD\ndone,trials\n1,a\n"]
)
def test_a_table_of_nobody_knows_how_many_trials_is_replaced_only_if_forced(
    ledger: Ledger, references: References, tmp_path: Path, text: str
) -> None:
    (tmp_path / "quick_start.csv").write_text(text)
    tables = build_tables(ledger, varied(), references)
    with pytest.raises(
        LargerTableError, match=r"quick_start.csv does not say on how many trials it rests; nothing was"
    ):
        write_tables(tables, tmp_path)
    write_tables(tables, tmp_path, force=True)
    write_tables(tables, tmp_path)


def test_csv_has_plain_numbers_and_the_trials(ledger: Ledger, references: References, tmp_path: Path) -> None:
    plan = seeds(2, method="ttq", bits=2, network="resnet20", data="cifar10")
    run_all(ledger, plan[:1])
    write_tables(build_tables(ledger, plan, references), tmp_path)
    row = pd.read_csv(tmp_path / "quick_start.csv").iloc[0]
    assert (row["done"], row["planned"], row["bits"]) == (1, 2, 2)
    assert [row["top1_mean"], row["error_mean"], row["delta_mean"]] == pytest.approx([90, 10, -5])
    assert [row["published_error"], row["published_delta"]] == pytest.approx([8.87, -0.64])
    assert [row["kept"], row["fixed_bits_per_weight"], row["bits_per_weight"]] == [100, 3.48, 3.18]
    assert [row["code_bits"], row["file_bytes"], row["ratio_choi"]] == [1.7, 600, 8.2]
    assert [row["coder_fixed"], row["coder_huffman"], row["coder_adaptive"]] == [2.0, 1.72, 1.7]
    assert row["verdict"] == "running 1 of 2"
    assert row["trials"].split() == [trial.id for trial in plan]
    assert pd.isna(row["error_std"])


def test_terminal_shows_the_same_figures(ledger: Ledger, references: References) -> None:
    run_all(ledger, varied()[:4])
    out = io.StringIO()
    print_tables(build_tables(ledger, varied(), references), Console(file=out, width=200))
    assert "ResNet-20 on CIFAR-10 (JPEG)" in out.getvalue()
    assert "10.00 ± 0.00" in out.getvalue()
    assert "(−1.68), second hand [" in out.getvalue()
    assert "4 of 14 trials done" in out.getvalue()


@pytest.mark.parametrize("width", [80, 120, 250])
def test_terminal_of_any_width_shows_every_figure(ledger: Ledger, references: References, width: int) -> None:
    plan = seeds(3, method="ttq", bits=2, network="resnet20", data="cifar10")
    for trial, top1 in zip(plan, [0.90, 0.93, 0.96], strict=True):
        run(ledger, trial, top1)
    out = io.StringIO()
    print_tables(build_tables(ledger, plan, references), Console(file=out, width=width))
    text = out.getvalue()
    for figure in ("7.00 ± 3.00", "8.87 (−0.64) [1]", "7.00×", "8.20×", "reproduced", "600"):
        assert figure in text, figure
    assert max(map(len, text.splitlines())) <= width
    assert ("ResNet-20 on CIFAR-10, continued" in text) == (width == 80)


def test_html_lists_the_trials_of_a_row_and_escapes(ledger: Ledger, references: References) -> None:
    page = html(build_tables(ledger, varied(), references))
    for trial in varied():
        assert f"<code>{trial.id}</code>".replace("&", "&amp;").replace("%_of<x>", "%_of&lt;x&gt;") in page
    assert "<x>" not in page
    assert not re.search(r"(src|href)=\"http|<script", page)


def test_latex_is_escaped_ascii(ledger: Ledger, references: References) -> None:
    run_all(ledger, varied())
    text = latex(build_tables(ledger, varied(), references))
    assert r"50\%\_of$<$x$>$\&\$$|$ partition" in text
    assert r"10.00 $\pm$ 0.00" in text
    assert r"quick\_start" in text
    text.encode("ascii")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}")
    assert len(re.findall(r"\\caption{.*(?<!, continued)}\n", text)) == 9  # three for each block
    assert not re.search(r"(?<!\\)%", text), "an unescaped % comments the rest of a row out"


def test_every_reference_survives_latex(ledger: Ledger, references: References) -> None:
    pairs = sorted({(p.entry.network, p.entry.data) for p in references.published})
    plan = [Planned(network=network, data=data) for network, data in pairs]
    latex(build_tables(ledger, plan, references)).encode("ascii")


def assert_fits(body: str, folder: Path) -> None:
    """pdflatex takes it, and nothing in it is too wide or too tall."""
    head = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    (folder / "paper.tex").write_text(f"{head}{body}\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.findall(r"Overfull .*|Float too large.*", done.stdout) == []


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles_with_booktabs_alone_and_fits(ledger: Ledger, references: References, tmp_path: Path) -> None:
    lenets = [
        dc("lenet-300-100", conv_bits=8, fc_bits=6),
        ecsq("lenet5-caffe", "mnist", "uniform"),
        Planned("mlq", 2, "alexnet", "imagenet", options={"clusters": [2, 4, 9], "compensation": False}),
    ]
    run_all(ledger, [*varied()[:4], *lenets])
    body = latex(build_tables(ledger, [*varied(), *lenets], references))
    assert_fits(body, tmp_path)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=60))
@example([1] * 43 + [50])
def test_parts_of_a_long_table_fit_a_page_unless_a_row_does_not(heights: list[int]) -> None:
    frame = pd.DataFrame({"Method": ["word " * lines for lines in heights]})
    parts = on_pages(frame, {"Method": points("word")})
    assert [text for part in parts for text in part["Method"]] == list(frame["Method"])
    for lines in ([text.count("word") for text in part["Method"]] for part in parts):
        assert sum(lines) <= 50 or len(lines) == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("options", [{}, {"compensation": False, "curvature": "none", "tune": "sum"}])
def test_latex_of_a_long_table_goes_on_in_floats_that_fit_a_page(
    references: References, ledger: Ledger, tmp_path: Path, options: dict[str, Any]
) -> None:
    plan = [Planned(bits=2 + i, options={"rounds": i, **(options if i % 2 else {})}) for i in range(70)]
    run_all(ledger, plan[:50])
    body = latex(build_tables(ledger, plan, references))
    labels = re.findall(r"\\raggedright (SLQ.*?) &", body)
    assert len(labels) == 2 * (70 + 50), "both in two parts beside each other"
    assert labels[:70] != labels[70:140], "the parts of a page come one after the other"
    assert_fits(body, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium")
def test_html_opens_in_a_browser_without_complaint(ledger: Ledger, references: References, tmp_path: Path) -> None:
    run_all(ledger, varied()[:7])
    write_tables(build_tables(ledger, varied(), references), tmp_path)
    picture = tmp_path / "page.png"
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    page = ["--window-size=1280,1600", f"--screenshot={picture}", (tmp_path / "quick_start.html").as_uri()]
    profile = ["--headless", "--no-sandbox", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [str(CHROMIUM), *profile, *quiet.split(), *page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    assert picture.stat().st_size > 10_000
