"""Published tables from their specs: mistakes are told and the rest is shown, verdicts follow from figures, every form is whole."""

from __future__ import annotations

import io
import itertools
import random
import re
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from suite.cli.results import print_tables
from suite.errors import UserError
from suite.files import write_json
from suite.ledger import Ledger
from suite.report import References, build_tables, load_references
from suite.report.reference import Entry, Published, Source
from suite.report.render import markdown as sweep_markdown
from suite.report.specs import Filled, Spec, fill, is_spec, load_spec, print_filled, write_filled
from suite.report.specs.fill import Cell
from suite.report.specs.metrics import METRICS
from suite.report.specs.render import csv, html, latex, markdown
from suite.report.specs.settings import alternatives, can_be, is_setting
from suite.report.spread import Spread
from suite.report.tolerance import DEFAULT, Tolerance, allowed
from suite.report.verdict import judge_gain, judge_ratio
from suite.sweep import load_sweep
from tests.conftest import Slq
from tests.test_report import NOTHING_QUANTIZED, SIZE

ROOT = Path(__file__).parents[1]
SPECS = sorted((ROOT / "results" / "specs").glob("*.yaml"))

SWEEP = """
defaults: {network: lenet5, data: digits}
grid:
  - seed: [0, 1, 2]
    method: [{name: full}, {name: slq, bits: 5}, {name: slq, bits: 5, partition: random}, {name: kmeans, bits: 3}]
"""
SPEC = """
title: A table
sources: [own]
sweeps: [sweep.yaml]
where: {network: lenet5, data: digits}
rows:
  - {label: SLQ, where: {method: slq, bits: 5, method.partition: loss}}
  - {label: SLQ at random, where: {method: slq, bits: 5, method.partition: random}}
  - {label: k-means, where: {method: kmeans, bits: 3}}
columns:
  - {label: Error %, metric: error}
  - {label: Ratio, metric: ratio}
"""
FIGURES = """
source: {title: Figures, authors: A. Nobody, venue: V}
entries:
  - {network: lenet5, data: digits, method: slq, top1_error: 3, full_top1_error: 2, ratio: 7, flag: SEEN, read: table 1}
  - {network: lenet5, data: digits, method: slq, variant: long, top1_error: 1, flag: SEEN, read: table 2}
  - {network: lenet5, data: digits, method: kmeans, bits: 3, available: false, reason: nobody could read it}
"""


@pytest.fixture(scope="module")
def references() -> References:
    return load_references(ROOT / "results" / "reference")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sweep, a spec and published figures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "own.yaml").write_text(FIGURES)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def own_figures() -> References:
    return load_references(Path("figures"))


def filled(spec: Spec | None = None, references: References | None = None, root: str = "runs") -> Filled:
    references = references or own_figures()
    spec = spec or load_spec(Path("spec.yaml"), references)
    return fill(spec, [Ledger(Path(root), sweep.name) for sweep in spec.sweeps], references)


def cell(table: Filled, row: str, column: str) -> Cell:
    (found,) = [c for c in table.cells if (c.place.row.label, c.place.column.label) == (row, column)]
    return found


def trials(partition: str = "", method: str = "slq") -> list[Any]:
    found = [t for t in load_sweep(Path("sweep.yaml")).trials if t.method.name == method]
    return [t for t in found if not partition or t.config()["method"]["partition"] == partition]


def finish(trial: Any, top1: float, full: float, sweep: str = "sweep", root: str = "runs", **size: float) -> Path:
    """A made-up result in the ledger; returns its file."""
    file = Ledger(Path(root), sweep).trial(trial.id).path / "result.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = NOTHING_QUANTIZED if trial.method.name == "full" else {}
    start = {"id": "some", "top1": full, "top5": 0.99, "loss": 0.1, "kept": 0.08}
    content = {
        "schema": 1,
        "trial": trial.id,
        "baseline": {"id": "some", "top1": full, "top5": 0.99, "loss": 0.1},
        "start": start,
        "quantized": {"top1": top1, "top5": 0.98, "loss": 0.2},
        "layers": [{"name": "fc", "values": 17}],
        "size": {**SIZE, **plain, **size},
        "cost": {"wall_seconds": 1.0, "cpu_seconds": 1.0, "gpu_seconds": 0.0, "attempts": 1},
        "sources": {"attempts": [1]},
    }
    write_json(file, content)
    return file


# Cells


def test_cell_has_mean_deviation_change_figure_and_difference_of_differences(here: Path) -> None:
    tops, fulls = [0.95, 0.97, 0.96], [0.97, 0.975, 0.98]
    for trial, top1, full in zip(trials("loss"), tops, fulls, strict=True):
        finish(trial, top1, full)
    found = cell(filled(), "SLQ", "Error %")
    errors, changes = [5.0, 3.0, 4.0], [-2.0, -0.5, -2.0]
    assert found.measured is not None
    assert found.change is not None
    assert (found.measured.mean, found.measured.std) == pytest.approx(
        (statistics.mean(errors), statistics.stdev(errors))
    )
    assert (found.change.mean, found.change.std) == pytest.approx((statistics.mean(changes), statistics.stdev(changes)))
    assert (found.published, found.published_change) == (3, -1)
    assert found.difference == pytest.approx(statistics.mean(changes) + 1)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((3, 5))
    assert list(found.trials) == [f"sweep/{trial.id}" for trial in trials("loss")]
    assert found.verdict == "outside tolerance"  # 0.5 below; that they vary by more is no excuse
    text = markdown(filled())
    assert re.search(
        r"\| SLQ +\| +3 \| +4\.00 ± 1\.00 \| +−1\.50 ± 0\.87 \| +3\.00 \(−1\.00\) \[1\] \| +−0\.50 \| outside", text
    )
    assert re.search(r"\| SLQ +\| +3 \| +7\.00 ± 0\.00× \| +7× \[1\] \| reproduced +\|", text)
    assert re.search(r"\| SLQ +\| +4\.00 \(3\.00\) \| +7\.00× \(7×\) \|", text)
    assert "[1] A. Nobody: Figures, V. Read in: table 1.\n" in text


def test_verdicts_of_a_table_on_its_way(here: Path) -> None:
    assert {c.verdict for c in filled().cells} == {"missing"}
    first, *others = trials("loss")
    finish(first, 0.5, 0.97)
    found = cell(filled(), "SLQ", "Error %")
    assert (found.verdict, found.interval) == ("running 1 of 3", None)
    assert "| 1 of 3 |" in markdown(filled())
    for trial in others:
        finish(trial, 0.5, 0.97)
    assert cell(filled(), "SLQ", "Error %").verdict == "outside tolerance"
    for trial in trials(method="kmeans"):
        finish(trial, 0.9, 0.9)
    found = cell(filled(), "k-means", "Error %")
    assert found.verdict == "no published figure"
    assert re.search(r"\| k-means +\|.*\| not available \[2\] +\|.*\| no published figure \|", markdown(filled()))
    assert "Not available: nobody could read it" in markdown(filled())


def test_a_cell_without_planned_trials_still_shows_what_was_published(here: Path) -> None:
    text = SPEC.replace("sweep.yaml", "other.yaml")
    (here / "other.yaml").write_text(SWEEP.replace("digits", "mnist"))
    (here / "spec.yaml").write_text(text)
    found = cell(filled(), "SLQ", "Ratio")
    assert (found.planned, found.verdict, found.published) == (0, "missing", 7)
    assert re.search(r"\| SLQ +\| +– \| +missing \| +7× \[1\] \| missing +\|", markdown(filled()))


def test_variant_shows_another_figure_and_a_special_cell_overrides(here: Path) -> None:
    (here / "spec.yaml").write_text(
        SPEC + "cells: [{row: SLQ, column: Error %, variant: long}, {row: k-means, column: Ratio, metric: kept}]\n"
    )
    table = filled()
    assert cell(table, "SLQ", "Error %").published == 1
    assert cell(table, "SLQ", "Ratio").published == 7
    assert cell(table, "k-means", "Ratio").place.metric == "kept"


@pytest.mark.parametrize(("wanted", "planned"), [("[0.5, 0.75]", 3), ("[[0.5], [0.5, 0.75]]", 3), ("[0.5]", 0)])
def test_a_condition_on_a_setting_that_is_a_list(here: Path, wanted: str, planned: int) -> None:
    row = f"method.partition: loss, retrain.milestones: {wanted}"
    (here / "spec.yaml").write_text(SPEC.replace("method.partition: loss", row, 1))
    table = filled()
    assert table.mistakes == ()
    assert cell(table, "SLQ", "Error %").planned == planned


def test_several_configurations_in_a_cell_are_told_and_not_mixed(here: Path) -> None:
    (here / "spec.yaml").write_text(SPEC.replace(", method.partition: loss", ""))
    for trial in trials():
        finish(trial, 0.9, 0.9)
    table = filled()
    assert (cell(table, "SLQ", "Error %").verdict, cell(table, "SLQ", "Error %").measured) == ("ambiguous", None)
    assert cell(table, "SLQ at random", "Error %").measured is not None
    assert (
        "'SLQ', 'Error %' fits 2 configurations, which differ in method.partition; add a condition" in table.mistakes[0]
    )


def test_trials_that_two_sweeps_plan_count_once(here: Path) -> None:
    (here / "twin.yaml").write_text(SWEEP)
    (here / "spec.yaml").write_text(SPEC.replace("[sweep.yaml]", "[sweep.yaml, twin.yaml]"))
    here_done, there_done, _ = trials("loss")
    finish(here_done, 0.9, 0.9)
    finish(there_done, 0.9, 0.9, sweep="twin")
    found = cell(filled(), "SLQ", "Error %")
    assert (found.done, found.planned) == (2, 3)
    assert {name.partition("/")[0] for name, state in found.trials.items() if state == "done"} == {"sweep", "twin"}


# Tolerances


def test_tolerance_of_the_closest_counts_and_shows_its_reason(here: Path) -> None:
    spec = SPEC + "tolerance: {points: 9, reason: the whole table is coarse}\n"
    for trial in trials("loss"):
        finish(trial, 0.95, 0.98)  # 2 below
    (here / "spec.yaml").write_text(SPEC)
    assert cell(filled(), "SLQ", "Error %").verdict == "outside tolerance"
    (here / "spec.yaml").write_text(spec)
    table = filled()
    assert cell(table, "SLQ", "Error %").verdict == "reproduced"
    assert "reproduced [2]" in markdown(table)
    assert "[2] Tolerance 9 points: the whole table is coarse." in markdown(table)
    own = FIGURES.replace("ratio: 7,", "ratio: 7, tolerance: {points: 1, reason: of the figure},", 1)
    (here / "figures" / "own.yaml").write_text(own)
    assert cell(filled(), "SLQ", "Error %").verdict == "outside tolerance"
    (here / "spec.yaml").write_text(
        spec.replace("partition: loss}", "partition: loss}, tolerance: {points: 3, reason: of the row}")
    )
    found = cell(filled(), "SLQ", "Error %")
    assert found.tolerance is not None
    assert (found.verdict, found.tolerance.value, found.tolerance.reason) == ("reproduced", 3, "of the row")


def test_tolerance_is_looked_up_unit_by_unit() -> None:
    points = Tolerance(points=1, reason="a")
    ratio = Tolerance(ratio=0.5, reason="b")
    assert allowed("ratio", [points, None, ratio]).reason == "b"
    assert allowed("points", [None, ratio]).value == DEFAULT.points
    with pytest.raises(ValueError, match="needs 'points' or 'ratio'"):
        Tolerance(reason="c")


@given(st.floats(-5, 5), st.floats(0, 2), st.none() | st.floats(0, 2))
def test_a_gain_has_the_verdict_of_its_place(gain: float, points: float, std: float | None) -> None:
    points = round(points, 2)  # as people write them
    verdict = judge_gain(gain, Spread(90, std), points)
    assert (verdict == "outside tolerance") == (round(gain, 6) < -points)
    assert (verdict == "better") == (round(gain, 6) > max(points, round(2 * (std or 0), 6)))


@given(st.floats(1, 100), st.floats(1, 100), st.floats(0.5, 1))
def test_a_ratio_has_the_verdict_of_its_place(ratio: float, wanted: float, share: float) -> None:
    verdict = judge_ratio(ratio, wanted, share)
    assert (verdict == "outside tolerance") == (ratio / wanted < share) or ratio == pytest.approx(share * wanted)
    assert (verdict == "better") == (ratio > wanted) or ratio == pytest.approx(share * wanted)


def test_known_deviation_says_why(here: Path) -> None:
    known = FIGURES.replace("ratio: 7,", "ratio: 7, known: [{reason: half the training}],", 1)
    (here / "figures" / "own.yaml").write_text(known)
    for trial in trials("loss"):
        finish(trial, 0.5, 0.97)
    table = filled()
    assert cell(table, "SLQ", "Error %").verdict == "known deviation"
    assert "[2] Known deviation: half the training." in markdown(table)
    (here / "spec.yaml").write_text(
        SPEC.replace("metric: ratio", "metric: kept_ratio").replace("ratio: 7", "ratio: 99")
    )
    (here / "figures" / "own.yaml").write_text(known.replace("ratio: 7", "ratio: 99"))
    assert cell(filled(), "SLQ", "Ratio").verdict == "outside tolerance", (
        "the reason is about files, not numbers of weights"
    )


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_of_finished_trials_and_name_the_right_figure(here: Path, name: str) -> None:
    (here / "spec.yaml").write_text(SPEC.replace("metric: error", f"metric: {name}"))
    for trial in trials("loss"):
        finish(trial, 0.95, 0.97)
    found = cell(filled(), "SLQ", "Error %")
    measured = {
        "error": 5, "baseline_error": 3, "top1": 95, "top5_error": 2, "baseline_top5_error": 1, "top5": 98, "delta": -2,
        "kept_ratio": 12.5, "ratio": 7, "fixed_ratio": 6.6, "ratio_deep_compression": 8.1, "ratio_choi": 8.2,
        "bits_per_weight": 3.18, "fixed_bits_per_weight": 3.48, "kept": 8, "file_bits": 4800,
    }  # fmt: skip
    published = {"error": 3, "baseline_error": 2, "top1": 97, "delta": -1}
    assert found.measured is not None
    assert found.measured.mean == pytest.approx(measured[name])
    assert found.published == (7 if "ratio" in name else published.get(name))


def test_other_data_compare_by_nothing_but_their_difference(references: References) -> None:
    figure = references.find("resnet20", "cifar10-jpeg", "ttq", 2, {"method.bits": 2}).published
    assert figure is not None
    assert METRICS["error"].published(figure) is None
    assert METRICS["error"].published_change(figure) == pytest.approx(-0.64)


def test_what_a_setting_can_be() -> None:
    assert can_be("method.rounds", 10.0, "slq"), "equal to 10"
    assert not can_be("method.rounds", 10.5, "slq")
    assert not can_be("method.rounds", True, "slq")
    assert can_be("prune.kept", None)
    assert can_be("method.partition", "loss", "slq")
    assert can_be("prune.kept.conv1", "anything")
    assert alternatives("method.partition", ["loss", "random"]) == ["loss", "random"]
    assert alternatives("method.schedule", [2, 4]) == [[2, 4]], "a word for one method, a list for others"
    assert alternatives("method.schedule", ["linear", "exponential"]) == ["linear", "exponential"]


# Mistakes


@pytest.mark.parametrize(
    "wrong", ["options: {method.partitoin: loss}", "known: [{where: {method.partitoin: loss}, reason: a}]"]
)
def test_a_figure_with_a_mistake_is_left_out_and_told_with_its_line(here: Path, wrong: str) -> None:
    (here / "figures" / "own.yaml").write_text(FIGURES.replace("ratio: 7,", f"ratio: 7, {wrong},", 1))
    for trial in [*trials("loss"), *trials(method="kmeans")]:
        finish(trial, 0.95, 0.97)
    table = filled()
    (mistake,) = table.mistakes
    assert mistake.startswith(
        "results/reference/own.yaml:4: published figure: 'method.partitoin' is no setting of slq; "
    )
    assert (cell(table, "SLQ", "Error %").figure, cell(table, "SLQ", "Error %").done) == (None, 3)
    assert cell(table, "k-means", "Error %").figure is not None


GOOD_ROW = "  - {label: k-means, where: {method: kmeans, bits: 3}}"


@pytest.mark.parametrize(
    ("old", "new", "complaint", "left"),
    [
        ("metric: error", "metric: eror", r"spec.yaml:11: columns.0: unknown metric 'eror'; allowed: error, .*mean 'error'", 3),
        ("method.partition: loss", "method.partitoin: loss", r"spec.yaml:7: rows.0: 'method.partitoin' is no setting of slq", 4),
        ("method.partition: loss", "method.som_rate: 1", r"spec.yaml:7: rows.0: 'method.som_rate' is no setting of slq; allow", 4),
        ("method.partition: loss", "method.partition: losss", r"yaml:7: rows.0: 'method.partition' is never 'losss'; allowed", 4),
        ("method.partition: loss", "method.pin_zero: 1", r"spec.yaml:7: rows.0: 'method.pin_zero' is never 1; allowed: boolean", 4),
        ("method.partition: loss", "method.rounds: [10, ten]", r"yaml:7: rows.0: 'method.rounds' is never 'ten'", 4),
        ("method.partition: loss", "retrain.milestones: [0.5, z]", r"'retrain.milestones' is never \[0.5, 'z'\]; allowed: arr", 4),
        ("method.partition: loss", "retrain.milestones: [[0.5], [z]]", r"'retrain.milestones' is never \['z'\]; allowed: array", 4),
        ("method.partition: loss", "retrain.milestones: 0.5", r"'retrain.milestones' is never 0.5; allowed: array of number", 4),
        ("method: kmeans, bits: 3", "method: kmeans, bits: three", r"yaml:9: rows.2: 'bits' is never 'three'", 4),
        ("method.partition: loss", "seed: 1", r"spec.yaml:7: rows.0: no condition can be on 'seed': a cell is the mean", 4),
        ("method: kmeans", "method: kmaens", r"spec.yaml:9: rows.2: unknown method 'kmaens'; allowed: .*mean 'kmeans'", 4),
        ("method: kmeans, bits", "method: kmeans, method.bits", r"spec.yaml:9: rows.2: write 'bits' for 'method.bits'", 4),
        ("method: kmeans, ", "", r"spec.yaml:9: rows.2: 'k-means' and 'Error %': nothing says which method; give 'method' in", 4),
        ("label: k-means,", "label: k-means, variant: lnog,", r"spec.yaml:9: rows.2: no published .* variant 'lnog'; .*'long'", 4),
        ("label: k-means,", "label: k-means, metric: kept,", r"spec.yaml:9: rows.2: 'k-means' and 'Error %': both give", 4),
        (", metric: ratio", "", r"spec.yaml:7: rows.0: 'SLQ' and 'Ratio': none gives a metric; give it", 0),
        ("label: Ratio,", "label: Ratio, where: {bits: 4},", r"spec.yaml:7: rows.0: 'SLQ' and 'Ratio' both have a cond", 0),
        ("[sweep.yaml]", "[swep.yaml, sweep.yaml]", r"spec.yaml:4: no sweep 'swep.yaml' from here; allowed: jobs/a.yaml", 6),
        ("[sweep.yaml]", "[broken.yaml, sweep.yaml]", r"spec.yaml:4: broken.yaml: the sweep has no trial", 6),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_the_rest_is_shown(
    here: Path, old: str, new: str, complaint: str, left: int
) -> None:
    (here / "jobs").mkdir()
    (here / "jobs" / "a.yaml").write_text(SWEEP)
    (here / "broken.yaml").write_text("description: nothing\n")
    assert old in SPEC
    (here / "spec.yaml").write_text(SPEC.replace(old, new, 1))
    for trial in load_sweep(Path("sweep.yaml")).trials:
        finish(trial, 0.9, 0.9)
    table = filled()
    assert any(re.search(complaint, mistake) for mistake in table.mistakes), table.mistakes
    assert len(table.cells) == left
    assert {c.done for c in table.cells} <= {3}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("title: A table", "titel: A table", r"spec.yaml:2: titel is not a known key; allowed: title, .*mean 'title'"),
        ("[own]", "[onw]", r"spec.yaml:3: no published figures 'onw'; allowed: own - did you mean 'own'"),
        ("where: {network: lenet5,", "where: {netwrok: lenet5,", r"spec.yaml:5: where: 'netwrok' is no .*'network'"),
        ("metric: ratio}", "metric: ratio, tolerance: {points: 1}}", r"spec.yaml:12: columns.1.tolerance.reason: Field required"),
        ("metric: ratio}", "metric: ratio, tolerance: {pionts: 1, reason: a}}", r"tolerance.pionts is not a known key; allo"),
        ("metric: ratio}", "metric: ratio, tolerance: {ratio: 1.5, reason: a}}", r"spec.yaml:12: .*equal to 1 \(given: 1.5\)"),
        ("metric: ratio}", "metrik: ratio}", r"spec.yaml:12: columns.1.metrik is not a known key; allowed: .*mean 'metric'"),
        ("label: Ratio", "label: Error %", r"columns: two have the label 'Error %'"),
        ("rows:", "cells: [{row: SQL, column: Ratio}]\nrows:", r"cells: no row 'SQL'; allowed: SLQ, .*mean 'SLQ'"),
        ("method.partition: loss", "method: {partition: loss}", r"spec.yaml:7: key 'method' is given twice"),
        ("bits: 3", "retrain: {epochs: 3}", r"spec.yaml:9: rows.2.where: write 'retrain' with dots: retrain.epochs"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_in_part_is_refused(here: Path, old: str, new: str, complaint: str) -> None:
    assert old in SPEC
    (here / "spec.yaml").write_text(SPEC.replace(old, new, 1))
    with pytest.raises(UserError, match=complaint):
        load_spec(Path("spec.yaml"), own_figures())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"schema": 99}', "update slq"),
        ('{"schema": 1, "tri', "is damaged"),
        ('{"schema": 1}', "'trial'"),
    ],
)
def test_a_newer_or_damaged_result_is_told_and_the_rest_is_shown(here: Path, text: str, reason: str) -> None:
    files = [finish(trial, 0.95, 0.97) for trial in trials("loss")]
    files[1].write_text(text)
    table = filled()
    assert cell(table, "SLQ", "Error %").verdict == "stopped, 2 of 3 done"
    (warning,) = table.warnings
    assert reason in warning
    assert str(here) not in markdown(table)
    assert f"Warning: {warning}" in markdown(table)


def test_half_written_folders_count_as_missing(here: Path) -> None:
    first, second, third = trials("loss")
    finish(first, 0.95, 0.97)
    finish(second, 0.95, 0.97).unlink()  # an empty folder
    (Ledger(Path("runs"), "sweep").trial(third.id).path).parent.mkdir(exist_ok=True)
    (Ledger(Path("runs"), "sweep").trial(third.id).path).write_text("a file in its place")
    assert cell(filled(), "SLQ", "Error %").verdict == "running 1 of 3"


def test_settings_are_those_of_trials() -> None:
    good = [
        "network",
        "bits",
        "method.partition",
        "prune",
        "prune.kept",
        "prune.kept.conv1",
        "retrain.epochs",
        "holdout",
    ]
    assert [name for name in good if not is_setting(name)] == []
    bad = [
        "method.name",
        "seed",
        "runtime.readers",
        "prune.kep",
        "retrain.epochs.conv1",
        "epochs",
        "method.partition.a",
    ]
    assert [name for name in bad if is_setting(name)] == []
    assert is_setting("method.partition", "slq")
    assert not is_setting("method.partition", "twn")


# The command


def test_command_makes_all_forms_and_goes_on_after_a_mistake(
    slq: Slq, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.report.load_references", own_figures)
    (here / "bad.yaml").write_text(SPEC.replace("metric: error", "metric: eror"))
    ended = slq("tables", "bad.yaml", "missing.yaml", "spec.yaml", "sweep.yaml", "--root", here / "runs")
    assert ended.code == 2
    assert "bad.yaml:11: columns.0: unknown metric 'eror'" in ended.err
    assert "the rest of bad.yaml is shown above, no file was written" in ended.err
    assert "no file missing.yaml" in ended.err
    written = sorted(path.name for path in (here / "runs" / "tables" / "published").iterdir())
    assert written == ["spec.csv", "spec.html", "spec.md", "spec.tex"]
    assert (here / "runs" / "tables" / "sweep.md").exists()
    assert not is_spec(here / "sweep.yaml")


@pytest.mark.parametrize("name", ["spec", "sweep"])
def test_command_shows_a_smaller_table_and_replaces_a_larger_one_only_if_forced(
    slq: Slq, here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("suite.report.load_references", own_figures)
    for trial in trials():
        finish(trial, 0.9, 0.9)
    command = ["tables", f"{name}.yaml", "twin.yaml", "--out", "made", "--root"]
    (here / "twin.yaml").write_text(SWEEP)
    assert slq(*command, here / "runs").code == 0
    before = (here / "made" / f"{name}.md").read_text()
    (here / "made" / "twin.md").unlink()
    ended = slq(*command, here / "elsewhere")
    assert ended.code == 2
    assert "missing" in ended.out
    assert ended.err == (
        f"error: made/{name}.csv rests on 6 trials, more than the 0 that are done in this ledger, of those planned now; "
        "nothing was written; slq tables takes --root for its ledger, --out for another folder, --force to replace it\n"
    )
    assert (here / "made" / f"{name}.md").read_text() == before
    assert (here / "made" / "twin.md").exists()
    assert slq(*command, here / "elsewhere", "--force").code == 0
    assert "missing" in (here / "made" / f"{name}.md").read_text()
    assert slq(*command, here / "runs").code == 0
    assert (here / "made" / f"{name}.md").read_text() == before


def test_a_run_of_fewer_trials_leaves_the_larger_table_and_goes_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("suite.report.load_references", own_figures)
    sweep = load_sweep(here / "sweep.yaml")
    for trial in trials():
        finish(trial, 0.9, 0.9)
    print_tables(sweep, Ledger(here / "runs", "sweep"), here / "made")
    before = (here / "made" / "sweep.md").read_text()
    capsys.readouterr()
    print_tables(sweep, Ledger(here / "elsewhere", "sweep"), here / "made")
    said = capsys.readouterr()
    assert "missing" in said.out
    assert "sweep.csv rests on 6 trials, more than the 0 that are done in this ledger" in said.err
    assert (here / "made" / "sweep.md").read_text() == before


def test_a_spec_of_mistakes_only_ends_in_a_message(slq: Slq, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.report.load_references", own_figures)
    (here / "spec.yaml").write_text(SPEC.replace("sweep.yaml", "none.yaml"))
    ended = slq("tables", "spec.yaml", "--root", here / "runs")
    assert ended.code == 2
    assert "no sweep 'none.yaml'" in ended.err
    (here / "spec.yaml").write_text(re.sub("metric: .*}", "metric: none}", SPEC))
    ended = slq("tables", "spec.yaml", "--root", here / "runs")
    assert ended.code == 2
    assert ended.err.count("unknown metric 'none'") == 2


# The forms


def test_csv_has_numbers_reasons_and_the_trials_of_each_cell(here: Path) -> None:
    for trial in trials("loss"):
        finish(trial, 0.95, 0.97)
    table = pd.read_csv(io.StringIO(csv(filled())))
    assert len(table) == 6
    row = table.iloc[0]
    assert [
        row["mean"],
        row["std"],
        row["delta_mean"],
        row["published"],
        row["delta_minus_published_delta"],
    ] == pytest.approx([5, 0, -2, 3, -1])
    assert (row["tolerance"], row["tolerance_unit"], row["tolerance_reason"]) == (0.2, "points", DEFAULT.reason)
    assert row["trials"].split() == [f"sweep/{trial.id}" for trial in trials("loss")]
    assert [row["low"], row["high"]] == pytest.approx([5, 5])
    assert table["verdict"].tolist() == ["outside tolerance", "reproduced", *["missing"] * 4]


def test_forms_do_not_depend_on_the_order_of_folders(here: Path) -> None:
    texts = []
    for number in range(2):
        order = list(load_sweep(Path("sweep.yaml")).trials)
        values = {trial.id: 0.9 + 0.001 * i for i, trial in enumerate(order)}
        random.Random(number).shuffle(order)
        for trial in order:
            finish(trial, values[trial.id], 0.95, root=f"runs{number}")
        texts.append([write(filled(root=f"runs{number}")) for write in (markdown, latex, html, csv)])
        files = write_filled(filled(root=f"runs{number}"), here / f"tables{number}")
        assert [file.read_text() for file in files] == texts[-1]
    assert texts[0] == texts[1]
    assert str(here) not in "".join(texts[0])


def test_html_opens_to_the_trials_and_leads_to_the_notes(here: Path) -> None:
    (here / "spec.yaml").write_text(SPEC.replace("title: A table", "title: A <b>table</b>"))
    page = html(filled())
    for trial in trials():
        assert f"<code>sweep/{trial.id}</code>" in page
    assert '<a href="#note-1">[1]</a>' in page
    assert 'id="note-1"' in page
    assert "<b>" not in page


@pytest.mark.parametrize("width", [80, 160])
def test_terminal_shows_every_figure(here: Path, width: int) -> None:
    for trial, top1 in zip(trials("loss"), [0.95, 0.97, 0.96], strict=True):
        finish(trial, top1, 0.97)
    out = io.StringIO()
    print_filled(filled(), Console(file=out, width=width))
    for text in ("4.00 ± 1.00", "−1.00 ± 1.00", "3.00 (−1.00) [1]", "7.00 ± 0.00×", "reproduced", "missing"):
        assert text in out.getvalue(), text
    assert max(map(len, out.getvalue().splitlines())) <= width


# The specs that come with the suite


def of_the_suite(spec: Spec, references: References, root: Path) -> Filled:
    return fill(spec, [Ledger(root, sweep.name) for sweep in spec.sweeps], references)


def a_ledger_of(specs: list[Spec], root: Path) -> None:
    """Made-up results of all trials that these specs draw from."""
    chance = random.Random(0)
    for sweep in {sweep.name: sweep for spec in specs for sweep in spec.sweeps}.values():
        for trial in sweep.trials:
            full = {"imagenet": 0.69, "cifar10": 0.92, "mnist": 0.992}[trial.data]
            size = {"ratio": chance.uniform(20, 130)}
            finish(trial, full + chance.gauss(-0.002, 0.003), full, sweep.name, str(root), **size)


@pytest.fixture(scope="module")
def tables_of_the_suite(
    tmp_path_factory: pytest.TempPathFactory, references: References
) -> dict[str, tuple[Filled, Filled]]:
    """Of each spec: before any trial has run, and after all have."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        specs = [load_spec(path, references) for path in SPECS]
    a_ledger_of(specs, root / "full")
    empty, full = ([of_the_suite(spec, references, root / name) for spec in specs] for name in ("empty", "full"))
    return {path.stem: pair for path, *pair in zip(SPECS, empty, full, strict=True)}  # type: ignore[misc]


def test_specs_of_the_suite_are_right(tables_of_the_suite: dict[str, tuple[Filled, Filled]]) -> None:
    assert len(SPECS) >= 10
    for name, (empty, full) in tables_of_the_suite.items():
        assert empty.mistakes == full.mistakes == (), name
        assert full.warnings == (), name
        assert {c.verdict for c in empty.cells} == {"missing"}, name
        assert all(c.measured or not c.planned for c in full.cells if c.place.where["method"] != "full"), name


def test_specs_of_the_suite_say_where_they_come_from() -> None:
    for path in SPECS:
        first = path.read_text().partition("title:")[0]
        assert first.startswith("# "), path
        assert "results/reference/" in first, path


def test_most_cells_of_the_suite_have_a_figure(tables_of_the_suite: dict[str, tuple[Filled, Filled]]) -> None:
    """So that no row silently fails to find the one that it stands for."""
    without = {
        name: [(c.place.row.label, c.place.column.label) for c in full.cells if not c.figure_note]
        for name, (_, full) in tables_of_the_suite.items()
    }
    assert without["inq-networks"] == without["inq-pruned"] == []
    assert without["slq-imagenet"] == []
    assert [cells for cells in without["choi2017-limit"] if cells[0] != "iterative ECSQ"] == []
    assert {row for row, column in without["deep-compression"] if "LeNet" not in column} == set()
    unread = [
        c for _, full in tables_of_the_suite.values() for c in full.cells if c.figure and not c.figure.entry.available
    ]
    assert unread
    assert {c.verdict for c in unread} <= {"no published figure", "missing"}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_of_all_specs_compiles_and_fits(
    tables_of_the_suite: dict[str, tuple[Filled, Filled]], tmp_path: Path
) -> None:
    bodies = [latex(table) for pair in tables_of_the_suite.values() for table in pair]
    for body in bodies:
        body.encode("ascii")
    text = (
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        + "\n\\clearpage\n".join(bodies)
        + "\\end{document}\n"
    )
    (tmp_path / "all.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.findall(r"Overfull .*|Float too large.*|.*[Uu]ndefined.*", done.stdout) == []


def test_latex_of_a_long_table_goes_on_in_the_next_float(here: Path) -> None:
    conditions = "where: {method: slq, bits: 5, method.partition: loss}"
    rows = "".join(f"  - {{label: Row {number} of a long table, {conditions}}}\n" for number in range(60))
    before, _, after = SPEC.partition("rows:\n")
    (here / "spec.yaml").write_text(f"{before}rows:\n{rows}columns:{after.partition('columns:')[2]}")
    text = latex(filled())
    floats = [
        [re.findall(r"Row (\d+) of", rows) for rows in part.split(r"\begin{table}")[1:]]
        for part in re.split(r"(?=\\begin{table}\n.*\n\\caption{(?!.*, continued})[^\n]*)", text)[1:]
    ]
    assert [len(parts) > 1 for parts in floats] == [True] * 3, "of the overview and of each column"
    assert all(list(itertools.chain(*parts)) == [str(number) for number in range(60)] for parts in floats)
    assert max(len(rows) for parts in floats for rows in parts) <= 44


# The page that explains them


def test_the_page_shows_specs_that_work_and_all_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "howto" / "new-table.md").read_text()
    figures, spec, tolerance = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "doe2020.yaml").write_text(figures)
    (tmp_path / "doe.txt").write_text(spec + tolerance)
    monkeypatch.chdir(ROOT)
    loaded = load_spec(tmp_path / "doe.txt", load_references(tmp_path))
    assert loaded.mistakes == ()
    table = filled(loaded, load_references(tmp_path), str(tmp_path / "runs"))
    assert [c.published for c in table.cells if c.place.metric == "error"] == [31.1, None]
    assert [c.planned for c in table.cells] == [1, 1, 1, 1]
    listed = re.findall(r"`(\w+)`", page.partition("**Metrics** are")[2].partition("Rows or")[0])
    assert sorted(listed) == sorted(METRICS)


# In the tables of sweeps


def test_a_figure_s_own_tolerance_counts_in_a_sweep_s_table_and_is_told(here: Path) -> None:
    ledger, planned = Ledger(Path("runs"), "sweep"), trials("loss")
    for trial in planned:
        finish(trial, 0.95, 0.968)  # 0.8 below the published difference
    (row,) = build_tables(ledger, planned, own_figures()).rows
    assert (row.verdict, row.tolerance_note) == ("accuracy lower", "")
    own = FIGURES.replace("ratio: 7,", "ratio: 7, tolerance: {points: 1, reason: of the figure},", 1)
    (here / "figures" / "own.yaml").write_text(own)
    tables = build_tables(ledger, planned, own_figures())
    assert tables.rows[0].verdict == "reproduced"
    assert "| reproduced [2] |" in sweep_markdown(tables)
    assert "[2] Tolerance 1 points: of the figure.\n" in sweep_markdown(tables)


def test_a_tolerance_without_figure_or_reason_is_refused(here: Path) -> None:
    for old, new, complaint in [
        ("ratio: 7,", "ratio: 7, tolerance: {points: 1},", "own.yaml:4: entries.0.tolerance.reason: Field required"),
        ("available: false,", "available: false, tolerance: {points: 1, reason: a},", "'tolerance' is of a figure"),
    ]:
        (here / "figures" / "own.yaml").write_text(FIGURES.replace(old, new, 1))
        with pytest.raises(UserError, match=complaint):
            own_figures()


def test_of_a_variant_that_two_entries_have_there_is_none() -> None:
    entries = [
        Entry(network="n", data="d", method=method, variant="v", ratio=2, flag="SEEN", read="x")
        for method in ("a", "b")
    ]
    both = References(tuple(Published(Source(title="T", venue="V"), entry) for entry in entries))
    found = both.variant("n", "d", None, "v")
    assert found.published is None
    (mistake,) = found.mistakes
    assert mistake.startswith("published figures of n, d, v: there are 2 (")
