"""`slq report`: what the page says of whole, partial and damaged ledgers, and that it works in a real browser, from a file."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from safetensors.numpy import save_file

from suite.config import Trial
from suite.ledger import Ledger
from suite.report import load_references
from suite.report.figures.breakdown import PARTS
from suite.report.figures.scene import Content, full_name
from suite.report.figures.style import LOOKS, UNKNOWN
from suite.report.frame import tidy
from suite.report.page import TEMPLATES
from suite.report.paths import Shorten
from suite.report.spread import Spread
from suite.report.table import build_tables
from suite.report.titles import METHODS
from suite.report.web.breakdown import breakdown
from suite.report.web.curves import Course, _below, _range
from suite.report.web.failures import failures
from suite.report.web.plot import SIGNS
from suite.report.web.report import report
from suite.report.web.told import tell
from suite.report.web.tradeoff import tradeoffs
from suite.sweep import Sweep, load_sweep
from tests.conftest import Slq
from tests.test_report import SIZE

CHROMIUM = Path("/usr/bin/chromium")
RUNS = Path("results/runs")
SWEEP = """\
description: What <b>bold</b> readers see.
defaults: {network: lenet5, data: digits, retrain: {epochs: 1}}
grid:
  - method: [{name: full}, {name: slq, bits: 5}, {name: slq, bits: 3}, {name: kmeans, bits: 3}, {name: twn}, {name: ttq}]
    seed: [0, 1]
"""
CHOSEN = {1: {"conv1": [0, 2]}, 2: {"conv1": [1]}}  # stage -> clusters
WEIGHTS = np.linspace(-1, 1, 1000, dtype=np.float32)
BOOK = [0.5, -0.5, 0.0]
SCORES = [0.2, -0.002, 0.0]  # of the clusters
TOP1 = {"full": 0.98, "slq": 0.97, "kmeans": 0.92, "twn": 0.95, "ttq": 0.94}


def write_sweep(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "page.yaml"
    file.write_text(SWEEP)
    return file


def result(trial: Trial, top1: float) -> dict[str, Any]:
    metrics = {"top5": 1.0, "loss": 0.1}
    baseline = {"id": trial.baseline_id, "top1": 0.98, **metrics}
    bits = trial.config()["method"].get("bits") or 2
    snapped, retrained = {"top1": 0.9, **metrics}, {"top1": top1, **metrics}
    return {
        "trial": trial.id,
        "baseline": baseline,
        "start": {**baseline, "kept": 1.0},
        "quantized": {"top1": top1, **metrics},
        "stages": [{"stage": 1, "frozen": 0.5, "clusters": 4, "snapped": snapped, "retrained": retrained}],
        "layers": [{"name": "conv1", "weights": 1000, "values": 5, "index_bits": bits, "codebook": BOOK}],
        "size": {**SIZE, "bits_per_weight": float(bits), "file_bits": 1000 * bits, "ratio": 33.6 / bits},
        "cost": {"wall_seconds": 36.0, "cpu_seconds": 72.0, "gpu_seconds": 0.0},
        "sources": {"attempts": [1], "data_sha256": "abc"},
    }


def run(ledger: Ledger, trial: Trial, top1: float) -> None:
    """Leave behind what a trial of two stages does."""
    attempt = ledger.trial(trial.id).try_claim(trial.config())
    assert attempt is not None
    facts = {
        "commit": "c0ffee0000",
        "dirty": False,
        "host": "node1",
        "data_sha256": "abc",
        "versions": {"torch": "2.0"},
    }
    (attempt.path / "provenance.json").write_text(json.dumps(facts))
    with attempt.running():
        attempt.emit("baseline", id=trial.baseline_id, top1=0.98, top5=1.0, loss=0.1)
        for stage, frozen in ((1, 0.5), (2, 1.0)):
            step = 10 * (stage - 1)
            attempt.emit(
                "snap",
                stage=stage,
                stages=2,
                step=step,
                frozen=frozen,
                clusters=4,
                top1=0.9,
                top5=1.0,
                loss=0.3,
                frozen_by_layer={"conv1": frozen},
                **({"scores": {"conv1": SCORES}, "chosen": CHOSEN[stage]} if trial.method.name == "slq" else {}),
            )
            for more in (5, 10) if stage == 1 else ():
                attempt.emit(
                    "train", stage=1, stages=2, step=step + more, steps=10, loss=1 / more, accuracy=0.9, lr=0.1
                )
        weights = WEIGHTS.round(2 if trial.method.name == "kmeans" else 0)
        save_file({"conv1.weight": weights}, ledger.trial(trial.id).model)
        attempt.emit("final", step=10, top1=top1, top5=1.0, loss=0.1)
        attempt.finish(result(trial, top1))


def fail(ledger: Ledger, trial: Trial) -> None:
    attempt = ledger.trial(trial.id).try_claim(trial.config())
    assert attempt is not None
    with suppress(ValueError), attempt.running():
        raise ValueError(f"no data below {ledger.root.parent}/data & nowhere else")


def lose(ledger: Ledger, trial: Trial) -> None:
    """As a kill would: claimed, and nobody is there any more."""
    attempt = ledger.trial(trial.id).try_claim(trial.config())
    assert attempt is not None
    attempt.emit("train", stage=2, stages=3, step=7, steps=10, loss=1.0, accuracy=0.5, lr=0.1)
    claim = json.loads((attempt.path / "claim.json").read_text())
    (attempt.path / "claim.json").write_text(json.dumps({**claim, "expires": 0}))
    attempt._events.close()
    attempt._log.close()


def run_baseline(ledger: Ledger, identity: str) -> None:
    attempt = ledger.baseline(identity).try_claim({})
    assert attempt is not None
    with attempt.running():
        save_file({"conv1.weight": WEIGHTS}, ledger.baseline(identity).model)
        attempt.finish({"cost": {"wall_seconds": 360.0, "cpu_seconds": 720.0, "gpu_seconds": 0.0}})


def of(sweep: Sweep, method: str) -> list[Trial]:
    return [trial for trial in sweep.trials if trial.method.name == method]


def fill(sweep: Sweep, ledger: Ledger) -> None:
    """All kinds of trials: done, failed, lost, unreadable, new."""
    for identity in {trial.baseline_id for trial in sweep.trials}:
        run_baseline(ledger, identity)
    for trial in sweep.trials:
        if trial.method.name not in ("twn", "ttq"):
            run(ledger, trial, TOP1[trial.method.name] - 0.01 * trial.seed)
    fail(ledger, of(sweep, "twn")[0])
    lose(ledger, of(sweep, "twn")[1])
    damaged = ledger.trial(of(sweep, "ttq")[0].id)
    damaged.path.mkdir(parents=True)
    (damaged.path / "result.json").write_text("{half")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def sweep_file(folder: Path) -> Path:
    return write_sweep(folder)


@pytest.fixture(scope="module")
def sweep(sweep_file: Path) -> Sweep:
    return load_sweep(sweep_file)


@pytest.fixture(scope="module")
def full_ledger(folder: Path, sweep: Sweep) -> Ledger:
    ledger = Ledger(folder / "runs", sweep.name)
    fill(sweep, ledger)
    return ledger


def make(sweep: Sweep, sweep_file: Path, ledger: Ledger) -> str:
    return report(sweep, sweep_file, ledger, RUNS, load_references())


@pytest.fixture(scope="module")
def page(sweep: Sweep, sweep_file: Path, full_ledger: Ledger) -> str:
    return make(sweep, sweep_file, full_ledger)


def section(page: str, name: str) -> str:
    """The text of a section, without tags, with single spaces."""
    found = re.search(rf'<section id="{name}">(.*?)\n</section>\n\n', page, re.DOTALL)
    assert found is not None
    return plain(re.sub(r"<[^>]+>", " ", found[1]))


def plain(text: str) -> str:
    return " ".join(html.unescape(text).split())


# What it says


def test_same_ledger_gives_the_same_bytes(sweep: Sweep, sweep_file: Path, full_ledger: Ledger, page: str) -> None:
    assert make(sweep, sweep_file, full_ledger) == page


def test_no_path_of_the_machine_is_in_it(page: str, folder: Path) -> None:
    assert str(folder) not in page
    assert str(Path.home()) + "/" not in page
    assert str(Path(__file__).parents[1]) not in page


def test_summary_counts_and_says_what_is_not_whole(page: str) -> None:
    text = section(page, "summary")
    assert "8 done" in text
    assert "8 of 12 trials are done" in text
    assert "3 trials need attention" in text
    assert "SLQ, 5 bits: 96.50 % (Δ −1.50)" in text


def test_failures_have_their_causes_and_logs(sweep: Sweep, page: str) -> None:
    text = section(page, "failures")
    assert "failed ValueError: no data below …/data & nowhere else" in text
    assert "Traceback (most recent call last)" in text
    assert "lost stopped without a word" in text
    assert "stage 2, step 7" in text
    assert f"unreadable {of(sweep, 'ttq')[0].id} counts as missing" in text


def test_every_trial_has_an_anchor_with_what_is_known_of_it(sweep: Sweep, page: str) -> None:
    for trial in sweep.trials:
        start = page.index(f'id="trial-{trial.id}"')
        told = page[start : page.index("</details>", start)]
        assert f"page/trials/{trial.id}" in told
        assert f"<dt>seed</dt><dd>{trial.seed}</dd>" in told
    told = page[page.index(f'id="trial-{of(sweep, "slq")[0].id}"') :]
    assert "<dt>Top-1 error %</dt><dd>3.00</dd>" in told
    assert "c0ffee0000" in told


def test_costs_add_up(page: str) -> None:
    text = section(page, "cost")
    assert "SLQ 4 0.040 0.080 0.000" in text
    assert "baselines and pruned starting points 2 0.200 0.400 0.000" in text
    assert "total of what has a result 10 0.280 0.560 0.000" in text
    assert "Energy: no counter could be read." in text


def test_provenance_and_configuration_are_those_of_the_run(page: str) -> None:
    assert "c0ffee0000 8" in section(page, "provenance")
    assert "node1" in section(page, "provenance")
    assert "{name: slq, bits: 5}" in section(page, "configuration")


def test_commands_make_it_again(page: str) -> None:
    text = section(page, "commands")
    assert "git checkout c0ffee0000 slq run page.yaml --root LEDGER" in text
    for verb in ("tables", "figures", "report"):
        assert f"slq {verb} page.yaml --root LEDGER" in text


def test_commands_name_the_page_where_it_is_not_the_usual_one(slq: Slq, tmp_path: Path) -> None:
    file = write_sweep(tmp_path)
    assert slq("report", file, "--root", tmp_path / "runs", "--out", tmp_path / "my page.html").code == 0
    text = section((tmp_path / "my page.html").read_text(), "commands")
    assert text.endswith("slq report page.yaml --root LEDGER --out 'my page.html'")


def test_texts_are_escaped(page: str) -> None:
    assert "What &lt;b&gt;bold&lt;/b&gt; readers see." in page


def test_marks_lead_to_the_notes(tmp_path: Path) -> None:
    file = tmp_path / "dc.yaml"
    file.write_text("trials:\n  - {network: lenet-300-100, data: mnist, method: {name: deep-compression}}\n")
    sweep = load_sweep(file)
    page = make(sweep, file, Ledger(tmp_path / "runs", sweep.name))
    assert '<a href="#note-1">[1]</a>' in page
    assert '<li id="note-1">[1] Han et al.' in page


def shown(page: str) -> dict[str, list[dict[str, Any]]]:
    """Kind of a figure -> its views, as plotly gets them."""
    specs = re.search(r'<script type="application/json" id="plots">(.*?)</script>', page, re.DOTALL)
    assert specs is not None
    return {name.removeprefix("plot-1-"): views for name, views in json.loads(specs[1]).items()}


def test_figures_are_what_plotly_knows_and_have_texts(page: str) -> None:
    made = shown(page)
    assert list(made) == ["bits", "bytes", "curves", "breakdown", "histograms", "frozen", "sensitivity"]
    for views in made.values():
        for view in views:
            go.Figure(view)  # raises ValueError for what it does not know
    assert "On the Pareto front by rising size: SLQ, 3 bits." in plain(page)
    assert "Pareto front of all methods, hidden ones too" in plain(page)
    for words in (
        "Size of the real file",
        "Histograms of each layer",
        "Share of each layer",
        "Rise of the held-out loss",
    ):
        first, second = re.findall(rf"</b> ({words}.*?)</figcaption>", page)  # interactive, and drawn
        assert first == second
    for words in ("Stacked bars", "Histograms of weights", "Heat maps of the weights", "Heat maps of the rise"):
        (interactive,) = re.findall(rf'aria-label="({words}.*?)"', page)
        (drawn,) = re.findall(rf'alt="({words}.*?)"', page)
        assert interactive == drawn


def test_a_reader_chooses_among_the_trials_that_are_drawn(page: str, sweep: Sweep) -> None:
    names = re.findall(r'<option data-method="(\w+)">(.*?)</option>', page)
    slq, kmeans = (
        [("slq", f"SLQ, {bits}\u00a0bits (n = 2, seed 1)") for bits in (5, 3)],
        ("kmeans", "k-means, 3\u00a0bits (n = 2, seed 1)"),
    )
    assert names == [*slq, kmeans, *slq, kmeans, *slq]  # histograms, frozen weights, sensitivities
    (trial, *_) = of(sweep, "slq")
    assert shown(page)["frozen"][0]["data"][0]["meta"] == {"method": "slq", "target": f"#row-{trial.id}"}


def test_both_forms_of_a_figure_say_what_is_left_out(
    sweep: Sweep, sweep_file: Path, full_ledger: Ledger, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "runs", sweep.name)
    shutil.copytree(full_ledger.root, ledger.root)
    ledger.trial(of(sweep, "kmeans")[1].id).model.write_bytes(b"half")
    page = make(sweep, sweep_file, ledger)
    assert len(re.findall(r"k-means, 3\u00a0bits is left out: \S*/model\.slq cannot be read: ", page)) == 2
    assert len(shown(page)["histograms"]) == 2


def test_curves_stand_for_no_drawing_of_another_figure(
    sweep: Sweep, sweep_file: Path, full_ledger: Ledger, tmp_path: Path
) -> None:
    """Why the courses are not drawn is seen on a screen, where there are curves without quantizations."""
    ledger = Ledger(tmp_path / "runs", sweep.name)
    shutil.copytree(full_ledger.root, ledger.root)
    for file in ledger.path.glob("trials/*/attempts/*/events.jsonl"):
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if '"event": "snap"' not in line))
    page = make(sweep, sweep_file, ledger)
    assert "curves" in shown(page)
    told = re.search(
        r'<figure class="([\w ]*)">\s*<figcaption><b>[^<]*accuracy and loss while[^<]*</b> Not drawn: ', page
    )
    assert told is not None
    assert told[1] == "drawn whole"


def test_rows_of_one_name_have_bars_of_their_own(sweep: Sweep, full_ledger: Ledger) -> None:
    row = build_tables(full_ledger, sweep.trials, load_references()).rows[1]
    sizes = [1.0] * len(PARTS)
    (view,) = breakdown("plot", Content("name", "title", [(row, sizes), (row, sizes)])).views
    assert {tuple(trace["y"]) for trace in view.traces if "meta" in trace} == {(0,), (1,)}
    assert view.layout["yaxis"]["ticktext"] == 2 * [full_name(row)]


def test_interactive_figures_show_the_ledgers_numbers(page: str) -> None:
    made = shown(page)
    (frozen,) = made["frozen"][0]["data"]
    assert (frozen["x"], frozen["y"], frozen["z"], frozen["text"]) == (["1", "2"], ["conv1"], [[50, 100]], [["50", ""]])
    (rises,) = made["sensitivity"][0]["data"]
    assert rises["customdata"] == [[-0.002, 0, 0.2]]  # by rising centre
    assert rises["text"] == [["2", "1", "1"]]
    low, middle, high = rises["z"][0]
    assert 0 < low < middle == 0.5 < high == 1
    before, after = made["histograms"][0]["data"]
    assert sum(before["y"]) == pytest.approx(100, abs=0.01)
    assert (len(before["y"]), before["dx"]) == (60, pytest.approx(2 / 60, abs=1e-5))
    assert (after["x"], after["y"]) == ([-1, 0, 1], [25, 50, 25])
    _, many = made["histograms"][2]["data"]
    assert (many["type"], len(many["y"])) == ("bar", 60)  # more values than can be told apart
    assert sum(many["y"]) == pytest.approx(100, abs=0.01)
    bars = [trace for trace in made["breakdown"][0]["data"] if "meta" in trace]
    names = made["breakdown"][0]["layout"]["yaxis"]["ticktext"]
    sizes = [trace["x"][0] for trace in bars if names[trace["y"][0]] == "SLQ, 5\u00a0bits"]
    assert sum(sizes) == pytest.approx(sum(SIZE[part.column] for part in PARTS) / 8000, rel=1e-3)


def test_a_method_that_was_added_needs_neither_title_nor_look(
    sweep: Sweep, sweep_file: Path, full_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/howto/new-method.md leaves it before its last, optional step."""
    monkeypatch.delitem(LOOKS, "kmeans")
    monkeypatch.delitem(METHODS, "kmeans")
    page = make(sweep, sweep_file, full_ledger)
    swatch = re.search(r'<input type="checkbox" checked value="kmeans">(.*?)</label>', page)
    assert swatch is not None
    assert plain(re.sub("<[^>]+>", " ", swatch[1])) == f"{SIGNS[UNKNOWN.marker]} kmeans"


def test_a_curve_is_that_of_the_trial_of_median_accuracy_as_in_the_drawn_figure(page: str, sweep: Sweep) -> None:
    """Of two the lower one: of SLQ at 5 bits the second seed."""
    ((curves,),) = [views for kind, views in shown(page).items() if kind == "curves"]
    led = {trace["customdata"][0][0] for trace in curves["data"] if trace["name"].startswith("SLQ, 5")}
    wanted = [each for each in of(sweep, "slq") if each.config()["method"]["bits"] == 5 and each.seed == 1]
    assert led == {f"#trial-{each.id}" for each in wanted}


def test_an_axis_of_accuracies_begins_with_what_did_not_collapse(sweep: Sweep, full_ledger: Ledger) -> None:
    (block,) = build_tables(full_ledger, sweep.trials, load_references()).blocks
    full, *rows = [row for row in block.rows if row.top1]
    spreads = [Spread(98.0, 0.5), Spread(97.0, 5.0), Spread(80.6, 28.1)]
    rows = [replace(row, top1=spread) for row, spread in zip(rows, spreads, strict=True)]

    plot, _ = tradeoffs(1, replace(block, rows=(full, *rows)))
    (view,) = plot.views
    assert view.layout["yaxis"]["range"] == [92, 100.3]
    reaches = [[t["error_y"]["arrayminus"], t["error_y"]["array"]] for t in view.traces if "error_y" in t]
    assert reaches == [[[0.5, 5], [0.5, 3]], [[28.1], [19.4]]]
    assert "Bars end where the accuracy is 100 %." in plot.caption
    assert plot.caption.endswith("until a double click: k-means, 3\u00a0bits (80.60 ± 28.10 %).")

    rows[1] = replace(rows[1], top1=Spread(97.0, 0.5))
    plot, _ = tradeoffs(1, replace(block, rows=(full, *rows)))
    assert plot.views[0].layout["yaxis"]["range"] == [92, 98.8], "a bar without its point does not count"

    plot, _ = tradeoffs(1, replace(block, rows=(full, *rows[:2])))
    assert "range" not in plot.views[0].layout["yaxis"]
    assert "Bars end" not in plot.caption
    assert "double click" not in plot.caption


def test_curves_begin_where_the_last_accuracies_are_told_apart(sweep: Sweep, full_ledger: Ledger) -> None:
    rows = build_tables(full_ledger, sweep.trials, load_references()).rows[1:4]
    accuracies = [[0.97, 0.99, 0.985], [0.267, 0.99, 0.965], [0.5, 0.6]]
    courses = [
        (row, Course("id", [], [{"top1": top1} for top1 in each])) for row, each in zip(rows, accuracies, strict=True)
    ]
    assert _range(courses) == {"range": [94.5, 99.3]}
    assert _below(courses).endswith(
        "a double click: SLQ, 3\u00a0bits (down to 26.70 %); k-means, 3\u00a0bits (down to 50.00 %)."
    )
    steady = [(rows[0], Course("id", [], [{"top1": 0.98}, {"top1": 0.985}]))]
    assert (_range(steady), _below(steady)) == ({}, "")
    assert (_range([(rows[0], Course("id", [], []))]), _below([(rows[0], Course("id", [], []))])) == ({}, "")


def test_a_damaged_record_of_where_a_result_is_from_is_named(
    sweep: Sweep, sweep_file: Path, full_ledger: Ledger, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "runs", sweep.name)
    shutil.copytree(full_ledger.path, ledger.path)
    (ledger.trial(of(sweep, "kmeans")[0].id).path / "attempts" / "1" / "provenance.json").write_text("[")
    text = section(make(sweep, sweep_file, ledger), "failures")
    assert "counts as missing: attempts/1/provenance.json is damaged (Expecting value" in text
    assert "delete it, and only what it ran with is unknown" in text


def test_nothing_done_yet_is_said_and_the_rest_is_shown(sweep: Sweep, sweep_file: Path, tmp_path: Path) -> None:
    page = make(sweep, sweep_file, Ledger(tmp_path / "runs", sweep.name))
    assert "No trial of this sweep is done yet" in section(page, "summary")
    assert "slq run page.yaml" in section(page, "summary")
    assert "Nobody has tried it yet" in section(page, "trials")
    assert "Nothing has run yet" in section(page, "provenance")
    assert "missing" in section(page, "results")
    assert len(page) < 200_000  # without the library for figures


BROKEN = {
    "a loss is lost": ("trials/*/attempts/1/events.jsonl", '"loss"', '"lost"'),
    "a loss is no number": ("trials/*/attempts/1/events.jsonl", '"loss": 0.2', '"loss": NaN'),
    "a score is no number": ("trials/*/attempts/1/events.jsonl", '"conv1": [0.2', '"conv1": [NaN'),
    "a part is no number": ("trials/*/attempts/1/events.jsonl", '{"conv1": 0.5', '{"conv1": NaN'),
    "a time is lost": ("trials/*/attempts/1/events.jsonl", '"t": ', '"time": '),
    "a stage is lost": ("trials/*/attempts/1/events.jsonl", '"stage"', '"stag"'),
    "provenance is a list": ("trials/*/attempts/1/provenance.json", '{"commit"', '[{}], {"commit"'),
    "versions are none": ("trials/*/attempts/1/provenance.json", '{"torch": "2.0"}', "null"),
    "a commit is a list": ("trials/*/attempts/1/provenance.json", '"c0ffee0000"', '["a"]'),
    "a size is a word": ("trials/*/result.json", '"file_bits": ', '"file_bits": "x", "ignored": '),
    "a submission is half": ("submissions/x/submission.json", "", ""),
}


@pytest.mark.parametrize("what", BROKEN)
def test_whatever_is_damaged_there_is_a_page(
    what: str, sweep: Sweep, sweep_file: Path, full_ledger: Ledger, tmp_path: Path
) -> None:
    pattern, text, damage = BROKEN[what]
    ledger = Ledger(tmp_path / "runs", sweep.name)
    shutil.copytree(full_ledger.path, ledger.path)
    (ledger.path / "submissions" / "x").mkdir(parents=True)
    (ledger.path / "submissions" / "x" / "submission.json").write_text("{" if what == "a submission is half" else "{}")
    files = list(ledger.path.glob(pattern))
    for file in files:
        file.write_text(file.read_text().replace(text, damage) if text else file.read_text())
    assert files
    page = make(sweep, sweep_file, ledger)
    assert '<section id="trials">' in page
    assert "node1" in page or "provenance" in pattern
    assert not re.search(r"(left out|cannot be read): \w+Error", page), "told in words"


def test_a_failure_whose_log_cannot_be_read_is_told_in_words(sweep: Sweep, full_ledger: Ledger, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "runs", sweep.name)
    shutil.copytree(full_ledger.path, ledger.path)
    failed, shorten = of(sweep, "twn")[0], Shorten(ledger.root)
    log = ledger.trial(failed.id).path / "attempts" / "1" / "log.txt"
    log.unlink()
    log.mkdir()
    told = tell(sweep.trials, ledger, tidy(ledger, sweep.trials).set_index("id", drop=False), shorten)
    (why,) = [failure.why for failure in failures(sweep.trials, ledger, told, shorten) if failure.trial.id == failed.id]
    assert why.endswith(
        f"{log.relative_to(ledger.root)} cannot be read (Is a directory); mend that, and repeat the command"
    )


def test_command_writes_below_another_root_and_refuses_an_empty_sweep(slq: Slq, tmp_path: Path) -> None:
    file = write_sweep(tmp_path)
    ended = slq("report", file, "--root", tmp_path / "runs")
    assert (ended.code, ended.out.split()) == (0, ["report", str(tmp_path / "runs" / "reports" / "page.html")])
    file.write_text("grid: []\n")
    ended = slq("report", file, "--root", tmp_path / "runs")
    assert ended.code == 2
    assert "the sweep has no trial" in ended.err


def luminance(colour: str) -> float:
    """Relative luminance of "#rgb" or "#rrggbb" (WCAG 2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_texts_stand_out_in_light_dark_and_print() -> None:
    themes = re.findall(r":root \{(.*?)\}", (TEMPLATES / "page.css").read_text(), re.DOTALL)
    assert len(themes) == 3
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", theme))
        for text in ("ink", "soft", "warn", "link"):
            for ground in ("page", "tint"):
                light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


# In a browser

DRIVER = """
<script>
addEventListener("load", () => setTimeout(() => {
  const table = document.querySelector("#results table"), region = table.closest("div.wide");
  const column = (n) => [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[n].innerText.trim());
  const heads = [...table.tHead.rows[0].cells], error = heads.findIndex((head) => head.innerText.startsWith("Top-1 error"));
  const button = heads[error].querySelector("button");
  const told = { labels: column(0), unsorted: column(error) };
  button.focus();
  told.focused = document.activeElement === button;
  const reached = ["details.trial summary", "#commands pre"].map((each) => document.querySelector(each));
  told.outlined = [button, ...reached, region].map((each) => {
    each.focus();
    return getComputedStyle(each).outlineStyle;
  });
  for (const name of ["ascending", "descending", "none"]) {
    button.click();
    told[name] = [heads[error].getAttribute("aria-sort"), column(error)];
  }
  const delta = heads.findIndex((head) => head.innerText.startsWith("Δ"));
  heads[delta].querySelector("button").click();
  told.deltas = column(delta);
  told.directions = heads.map((head) => head.getAttribute("aria-sort")).filter((direction) => direction !== "none");
  const filter = region.previousElementSibling, input = filter.querySelector("input");
  const type = (text) => { input.value = text; input.dispatchEvent(new Event("input")); };
  type("slq 6.72");
  told.filtered = [column(0), filter.querySelector("output").textContent];
  type("nonsense");
  told.nothing = [column(0), filter.querySelector("output").textContent];
  type("");
  heads[delta].querySelector("button").click();
  heads[delta].querySelector("button").click();
  told.unfiltered = column(0);
  told.unlabelled = [...document.querySelectorAll("input")].filter((each) => !each.labels.length).length;
  told.broken = [...document.querySelectorAll('a[href^="#"]')].map((a) => a.getAttribute("href"))
    .filter((href) => !document.getElementById(href.slice(1)));
  told.textless = [...document.images].filter((image) => !image.alt || !image.complete || !image.naturalWidth).length;
  told.images = document.images.length;
  const plots = [...document.querySelectorAll(".plot")];
  told.drawn = plots.map((plot) => plot.querySelectorAll(".scatterlayer .trace, .barlayer .trace, .heatmaplayer .hm").length);
  const seen = (selector) => [...document.querySelectorAll(selector)].filter((each) => each.checkVisibility()).length;
  const forms = () => [".interactive .plot", ".interactive select", ".drawn img"].map(seen);
  const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]);
  const prints = rules.filter((rule) => rule.media?.mediaText === "print");
  told.screen = forms();
  for (const rule of prints) rule.media.mediaText = "all";
  told.print = forms();
  for (const rule of prints) rule.media.mediaText = "print";
  const place = (kind) => document.getElementById(`plot-1-${kind}`);
  const hover = (kind, where) => {
    Plotly.Fx.hover(place(kind), where);
    return place(kind).querySelector(".hovertext").textContent;
  };
  told.hovers = [
    hover("breakdown", [{ curveNumber: 5, pointNumber: 0 }]),
    hover("histograms", [{ curveNumber: 1, pointNumber: 2 }]),
    hover("frozen", { xval: 0, yval: 0 }),
    hover("sensitivity", { xval: 2, yval: 0 }),
  ];
  const choose = (kind, number) => {
    const select = document.getElementById(`plot-1-${kind}-view`);
    select.selectedIndex = number;
    select.dispatchEvent(new Event("change"));
    return place(kind).data[0].hovertemplate;
  };
  told.chosen = [choose("frozen", 2), choose("frozen", 1), choose("frozen", 0)];
  told.buttons = [...document.querySelectorAll(".modebar-btn")].map((each) => each.dataset.title);
  const visible = (plot) => plot.data.filter((trace) => trace.meta && trace.visible !== false);
  const shown = () => plots.map((plot) => [...new Set(visible(plot).map((trace) => trace.meta.method))]);
  const box = document.querySelector('fieldset.methods input[value="slq"]');
  told.shown = shown();
  box.click();
  told.hidden = shown();
  told.choices = [...document.getElementById("plot-1-frozen-view").options].map((option) => [option.disabled, option.selected]);
  told.resources = performance.getEntriesByType("resource").map((each) => each.name).filter((name) => !name.startsWith("data:"));
  const row = [...table.tBodies[0].rows].find((each) => each.innerText.includes("SLQ") && each.cells[1].innerText === "3");
  row.cells[error].querySelector("a").click();
  setTimeout(() => {
    const group = document.getElementById(location.hash.slice(1));
    told.group = [group.querySelector("h3").innerText, [...group.querySelectorAll("details.trial")].map((each) => each.id)];
    row.querySelectorAll("ul.trials a")[1].click();
    setTimeout(() => {
      const trial = document.getElementById(location.hash.slice(1));
      told.trial = [trial.id, trial.open, trial.innerText.includes("seed"), document.activeElement.parentElement.id];
      const trace = plots[0].data.find((each) => each.meta?.method === "kmeans");
      plots[0].emit("plotly_click", { points: [{ customdata: trace.customdata[0] }] });
      told.clicked = location.hash;
      const pre = document.createElement("pre");
      pre.id = "told";
      pre.textContent = JSON.stringify(told);
      document.body.append(pre);
    }, 100);
  }, 100);
}, 500));
</script>
"""


def open_page(page: Path, profile: Path, *what: str) -> tuple[str, str]:
    """What the browser makes of a page, by default the document after its scripts have run, and what it says on stderr."""
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    head = ["--headless", "--no-sandbox", "--enable-logging=stderr", f"--user-data-dir={profile}", *quiet.split()]
    command = [str(CHROMIUM), *head, "--virtual-time-budget=10000", *(what or ["--dump-dom"]), page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def told(page: str, folder: Path) -> dict[str, Any]:
    """What a reader sees who sorts, filters, toggles and follows links."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    file = folder / "driven.html"
    file.write_text(page.replace("</body>", f"{DRIVER}</body>"))
    document, said = open_page(file, folder / "profile")
    assert "CONSOLE" not in said, said[-2000:]
    found = re.search(r'<pre id="told">(.*?)</pre>', document, re.DOTALL)
    assert found is not None
    seen: dict[str, Any] = json.loads(plain(found[1]))
    return seen


@pytest.mark.slow
def test_browser_sorts_by_number_with_what_is_missing_last(told: dict[str, Any]) -> None:
    means = ["2.50 ± 0.71", "3.50 ± 0.71", "3.50 ± 0.71", "8.50 ± 0.71"]
    assert told["unsorted"] == [*means, "missing", "missing"]
    assert told["focused"]
    assert set(told["outlined"]) == {"solid"}, "the keyboard's place is seen"
    assert told["ascending"] == ["ascending", [*means, "missing", "missing"]]
    assert told["descending"] == ["descending", [*means[::-1], "missing", "missing"]]
    assert told["none"] == ["none", told["unsorted"]]
    assert told["deltas"] == ["−6.50 ± 0.71", "−1.50 ± 0.71", "−1.50 ± 0.71", "–", "missing", "missing"]
    assert told["directions"] == ["ascending"]


@pytest.mark.slow
def test_browser_filters_by_words_and_counts(told: dict[str, Any]) -> None:
    assert told["filtered"] == [["SLQ"], "1 of 6 rows"]
    assert told["nothing"] == [[], "0 of 6 rows"]
    assert told["unfiltered"] == told["labels"]
    assert told["unlabelled"] == 0


@pytest.mark.slow
def test_browser_follows_links_to_the_right_trials(told: dict[str, Any], sweep: Sweep) -> None:
    three = [trial.id for trial in of(sweep, "slq") if trial.config()["method"]["bits"] == 3]
    title, trials = told["group"]
    assert title.startswith("SLQ, 3 bits")
    assert trials == [f"trial-{identity}" for identity in three]
    assert told["trial"] == [f"trial-{three[1]}", True, True, f"trial-{three[1]}"]
    assert told["clicked"] == f"#row-{of(sweep, 'kmeans')[0].id}"
    assert told["broken"] == []


@pytest.mark.slow
def test_browser_draws_figures_and_toggles_methods_in_all(told: dict[str, Any]) -> None:
    assert all(told["drawn"])
    assert all("slq" in methods for methods in told["shown"])
    hidden = [[m for m in methods if m != "slq"] for methods in told["shown"]]
    assert told["hidden"] == [
        *hidden[:4],
        ["kmeans"],
        ["kmeans"],
        [],
    ]  # the last three show one configuration at a time
    assert told["choices"] == [[True, False], [True, False], [False, True]]
    assert told["images"] > 0
    assert told["textless"] == 0


@pytest.mark.slow
def test_browser_tells_what_is_pointed_at_and_shows_what_is_chosen(told: dict[str, Any]) -> None:
    bar, centre, frozen, rise = map(plain, told["hovers"])
    assert bar == "SLQ, 5 bitsindices: 0.21 kB, 35.6 % of 0.6 kB, n = 2"
    assert centre == "SLQ, 5 bits, conv1centre 1: 25 % of the weights after"
    assert frozen == "SLQ, 5 bitsconv1, stage 1 of 2: 50.0 % of the weights frozen"
    assert rise == "SLQ, 5 bitsconv1, cluster 3: +0.2 natsthe stage that quantizes it: 1"
    assert [re.findall("<b>(.*?)</b>", plain(text)) for text in told["chosen"]] == [
        ["k-means, 3 bits"],
        ["SLQ, 3 bits"],
        ["SLQ, 5 bits"],
    ]


@pytest.mark.slow
def test_figures_are_interactive_on_a_screen_and_drawn_in_print(told: dict[str, Any]) -> None:
    assert told["screen"] == [7, 3, 1]  # the curves are no other form of the courses
    assert told["print"] == [0, 0, 6]


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}")
def test_without_scripts_figures_are_drawn(page: str, tmp_path: Path) -> None:
    file = tmp_path / "scriptless.html"
    frame = f'<iframe sandbox="allow-same-origin" srcdoc="{html.escape(page)}"></iframe>'
    seen = """
      const seen = (selector) => [...inside.querySelectorAll(selector)].filter((each) => each.checkVisibility()).length;
      document.title = [".interactive", ".drawn img", "#figures noscript"].map(seen);"""
    told = f"<script>onload = () => {{ const inside = frames[0].document; {seen} }};</script>"
    file.write_text(f"<!doctype html><title></title>{frame}{told}")
    assert "<title>0,6,1</title>" in open_page(file, tmp_path / "profile")[0]


@pytest.mark.slow
def test_browser_asks_nothing_of_the_network_and_offers_no_upload(told: dict[str, Any]) -> None:
    assert told["resources"] == []
    assert set(told["buttons"]) == {
        "Download plot as a PNG",
        "Zoom",
        "Pan",
        "Zoom in",
        "Zoom out",
        "Autoscale",
        "Reset axes",
    }


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}")
def test_browser_prints_the_page(page: str, tmp_path: Path) -> None:
    file, printed = tmp_path / "page.html", tmp_path / "page.pdf"
    file.write_text(page)
    _, said = open_page(file, tmp_path / "profile", f"--print-to-pdf={printed}", "--no-pdf-header-footer")
    assert "CONSOLE" not in said, said[-2000:]
    content = printed.read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 2  # summary, tables, figures, trials
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", printed, "-"], capture_output=True, text=True, check=True).stdout
        for words in ("page", "Commands", "slq figures page.yaml"):
            assert words in text


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}")
def test_browser_opens_the_page_of_an_empty_ledger_without_complaint(
    sweep: Sweep, sweep_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "empty.html"
    file.write_text(make(sweep, sweep_file, Ledger(tmp_path / "runs", sweep.name)))
    document, said = open_page(file, tmp_path / "profile")
    assert "CONSOLE" not in said, said[-2000:]
    assert 'aria-sort="none"' in document
