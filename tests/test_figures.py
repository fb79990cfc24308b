"""The figures: what they show of full, partial and damaged ledgers, and that they are the same every time."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from suite.errors import UserError
from suite.ledger import Ledger
from suite.methods import AnyMethod
from suite.report.figures import Absent, Drawn, histograms, outcomes, save
from suite.report.figures.histograms import spread_out, weights_of
from suite.report.figures.pareto import pareto_front
from suite.report.figures.scene import events_of, pages
from suite.report.figures.sensitivity import fixed_in
from suite.report.figures.style import LOOKS, UNKNOWN
from suite.sweep import Sweep, load_sweep
from suite.trial import run_trial
from tests.conftest import SHORT, Slq

KINDS = ["tradeoff", "breakdown", "course", "histograms", "frozen", "sensitivity"]
SLQ = {"name": "slq", "bits": 2, "schedule": [1, 2, 3]}
GRID = [
    {"seed": [0, 1, 2], "method": [SLQ]},
    {"seed": [0], "method": [{"name": "full"}, {"name": "mlq", "bits": 2}, {"name": "mixed", "budget": 3}]},
]

Drawings = dict[str, Drawn | Absent]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep, `tiny.yaml`, and its complete ledger below `runs`."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "tiny.yaml").write_text(yaml.safe_dump({"defaults": SHORT, "grid": GRID}))
    ledger = Ledger(folder / "runs", "tiny")
    for trial in load_sweep(folder / "tiny.yaml").trials:
        run_trial(trial, ledger, folder / "data")
    return folder


@pytest.fixture
def copied(ran: Path, tmp_path: Path) -> Path:
    """The same, to damage."""
    return Path(shutil.copytree(ran, tmp_path / "copied"))


@pytest.fixture(scope="module")
def complete(ran: Path) -> Drawings:
    return drawings(ran)


def sweep_of(folder: Path) -> tuple[Sweep, Ledger]:
    return load_sweep(folder / "tiny.yaml"), Ledger(folder / "runs", "tiny")


def drawings(folder: Path) -> Drawings:
    """By kind."""
    sweep, ledger = sweep_of(folder)
    return {outcome.name.removeprefix("tiny-lenet5-digits-"): outcome for outcome in outcomes(ledger, sweep.trials)}


def drawn(found: Drawings, kind: str) -> Drawn:
    outcome = found[kind]
    assert isinstance(outcome, Drawn)
    return outcome


def texts(figure: Figure) -> list[str]:
    return [artist.get_text() for artist in figure.findobj(Text) if artist.get_text()]


def plain(figure: Figure) -> list[str]:
    """The same, with ordinary spaces."""
    return [text.replace("\u00a0", " ") for text in texts(figure)]


def trial_of(folder: Path, part: str) -> Path:
    (found,) = [path for path in (folder / "runs" / "tiny" / "trials").iterdir() if part in path.name]
    return found


def change(file: Path, edit: Callable[[Any], object]) -> None:
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


# The Pareto front


def test_a_front_by_hand() -> None:
    # cost, gain:     beaten by c  front        front        beaten by b  front
    points = [(3.0, -1.0), (1.0, -5.0), (2.0, -1.0), (2.0, -6.0), (4.0, 0.5)]
    assert pareto_front(points) == [1, 2, 4]


def test_equal_points_are_both_on_the_front() -> None:
    assert pareto_front([(1.0, 1.0), (1.0, 1.0), (2.0, 1.0)]) == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(-4, 4).map(float)), max_size=12))
def test_the_front_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    def beaten(mine: tuple[float, float]) -> bool:
        return any(other != mine and other[0] <= mine[0] and other[1] >= mine[1] for other in points)

    front = pareto_front(points)
    assert sorted(front) == [i for i, point in enumerate(points) if not beaten(point)]
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)


# How methods look


def test_every_method_has_a_look_of_its_own() -> None:
    (union, *_) = get_args(AnyMethod)
    names = {method.model_fields["name"].default for method in get_args(union)}
    assert names == set(LOOKS)
    assert len(set(LOOKS.values())) == len(LOOKS)


@pytest.mark.slow
def test_a_method_has_its_colour_and_marker_in_the_plot(complete: Drawings) -> None:
    left = drawn(complete, "tradeoff").figure.axes[0]
    lines = [line for line in left.lines if line.get_marker() not in ("None", "")]
    looks = {(line.get_color(), line.get_marker()) for line in lines}
    assert looks == {(LOOKS[name].colour, LOOKS[name].marker) for name in ("slq", "mlq", "mixed")}


def test_a_method_has_the_same_colour_and_marker_over_the_steps(complete: Drawings) -> None:
    lines = [line for axes in drawn(complete, "course").figure.axes for line in axes.lines]
    looks = {(line.get_color(), line.get_marker()) for line in lines if line.get_marker() not in ("None", "")}
    assert looks == {(LOOKS[name].colour, LOOKS[name].marker) for name in ("slq", "mlq")}  # re-trained


@pytest.mark.slow
def test_a_method_without_a_look_is_drawn_all_the_same(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(LOOKS, "mixed")
    found = drawings(ran)
    assert all(isinstance(outcome, Drawn) for outcome in found.values())
    left = drawn(found, "tradeoff").figure.axes[0]
    assert (UNKNOWN.colour, UNKNOWN.marker) in {(line.get_color(), line.get_marker()) for line in left.lines}


@pytest.mark.slow
def test_files_say_what_they_show(complete: Drawings, tmp_path: Path) -> None:
    figure = drawn(complete, "tradeoff")
    assert re.search(r"n = 1 to 3 trials", figure.caption)
    svg, pdf, png = save(figure, tmp_path)
    description = re.search(r"<dc:description>(.*?)</dc:description>", svg.read_text(), re.DOTALL)
    assert description is not None
    assert unescape(description[1]) == figure.caption
    assert b"/Subject" in pdf.read_bytes()
    assert Image.open(png).text["Description"] == figure.caption  # type: ignore[attr-defined]


# A complete ledger


def test_all_kinds_are_drawn_with_what_an_embedding_page_needs(complete: Drawings) -> None:
    assert list(complete) == KINDS
    for kind in KINDS:
        figure = drawn(complete, kind)
        assert figure.warnings == ()
        assert figure.title.startswith("LeNet-5 on Digits: ")
        assert re.search(r"\bn\b", figure.caption), figure.caption
        assert figure.alt.endswith(".")


def test_axes_have_units(complete: Drawings) -> None:
    wanted = {
        "tradeoff": ["(points)", "bits per quantized weight", "(kB)"],
        "breakdown": ["(kB)"],
        "course": ["(%)", "(nats)", "training step"],
        "histograms": ["(%)", "weight"],
        "frozen": ["(%)", "stage"],
        "sensitivity": ["(nats)", "bits", "cluster"],
    }
    for kind, parts in wanted.items():
        seen = " ".join(texts(drawn(complete, kind).figure))
        assert all(part in seen for part in parts), (kind, seen)


def test_the_bars_of_a_file_add_up_to_its_size(ran: Path, complete: Drawings) -> None:
    sizes = [json.loads((trial_of(ran, part) / "result.json").read_text())["size"] for part in ("mlq", "mixed")]
    seen = texts(drawn(complete, "breakdown").figure)
    for size in sizes:
        assert f"{size['file_bits'] / 8000:.1f}" in seen


def test_the_trial_of_median_accuracy_is_shown(copied: Path) -> None:
    for seed, top1 in {0: 0.5, 1: 0.9, 2: 0.7}.items():
        file = trial_of(copied, f"slq-2b-loss-lenet5-digits-s{seed}") / "result.json"
        change(file, lambda result, top1=top1: result["quantized"].update(top1=top1))  # type: ignore[misc]
    assert "SLQ, 2\u00a0bits\nn = 3, seed 2" in texts(drawn(drawings(copied), "course").figure)


def test_error_bars_end_where_the_accuracy_is_100_percent(copied: Path, complete: Drawings) -> None:
    assert "Bars end" not in drawn(complete, "tradeoff").caption
    for seed, top1 in {0: 0.4, 1: 1.0, 2: 1.0}.items():  # 80 ± 34.6
        file = trial_of(copied, f"slq-2b-loss-lenet5-digits-s{seed}") / "result.json"
        change(file, lambda r, top1=top1: (r["quantized"].update(top1=top1), r["baseline"].update(top1=0.95)))  # type: ignore[misc]
    figure = drawn(drawings(copied), "tradeoff")
    assert "n = 1 to 3 trials per configuration. Bars end where the accuracy is 100 %." in figure.caption
    axes = figure.figure.axes[0]
    ends = [y for bars in axes.collections for path in bars.get_paths() for _, y in path.vertices]
    assert (min(ends), max(ends)) == (pytest.approx(-15 - 20 * 3**0.5), pytest.approx(5))
    assert axes.get_ylim()[1] == pytest.approx(1.3 * 5)


# Frozen weights


def snaps(folder: Path, part: str) -> Iterator[dict[str, Any]]:
    _, ledger = sweep_of(folder)
    return (event for event in events_of(ledger.trial(trial_of(folder, part).name)) if event["event"] == "snap")


def test_the_layers_parts_make_up_what_is_frozen_in_all(ran: Path) -> None:
    result = json.loads((trial_of(ran, "slq-2b-loss-lenet5-digits-s0") / "result.json").read_text())
    weights = {layer["name"]: layer["weights"] for layer in result["layers"]}
    stages = list(snaps(ran, "slq-2b-loss-lenet5-digits-s0"))
    assert len(stages) == 3
    for snap in stages:
        frozen = sum(weights[name] * part for name, part in snap["frozen_by_layer"].items())
        assert frozen / sum(weights.values()) == pytest.approx(snap["frozen"], abs=1e-12)


def test_mlq_freezes_layer_by_layer(ran: Path) -> None:
    """Two states for each of the five layers: a part, then all; the layers after it are free."""
    for number, snap in enumerate(snaps(ran, "mlq")):
        parts = list(snap["frozen_by_layer"].values())
        layer, state = divmod(number, 2)
        assert parts[:layer] == [1.0] * layer
        assert 0 < parts[layer] < 1 if state == 0 else parts[layer] == 1
        assert parts[layer + 1 :] == [0.0] * (4 - layer)


def test_the_heat_map_has_the_recorded_parts(ran: Path, complete: Drawings) -> None:
    figure = drawn(complete, "frozen").figure
    (axes,) = [axes for axes in figure.axes if axes.get_title().startswith("MLQ")]
    (image,) = axes.images
    recorded = [list(snap["frozen_by_layer"].values()) for snap in snaps(ran, "mlq")]
    for stage, parts in enumerate(recorded):
        assert image.get_array()[:, stage].tolist() == pytest.approx([100 * part for part in parts])  # type: ignore[index]


def test_a_ledger_without_the_layers_parts_lacks_this_figure_only(copied: Path) -> None:
    for file in (copied / "runs" / "tiny" / "trials").glob("*/attempts/*/events.jsonl"):
        events = [json.loads(line) for line in file.read_text().splitlines()]
        kept = [{key: value for key, value in event.items() if key != "frozen_by_layer"} for event in events]
        file.write_text("".join(json.dumps(event) + "\n" for event in kept))
    found = drawings(copied)
    assert [kind for kind, outcome in found.items() if isinstance(outcome, Absent)] == ["frozen"]
    assert found["frozen"].warnings == ()  # nothing is damaged


# Sensitivities


def test_the_stage_that_fixes_a_cluster() -> None:
    history = [{"stage": 1, "chosen": {"a": [2, 0], "b": []}}, {"stage": 2, "chosen": {"a": [1], "b": [0]}}]
    assert fixed_in("a", history) == {2: 1, 0: 1, 1: 2}
    assert fixed_in("b", history) == {0: 2}


def test_sensitivities_stand_by_rising_centre(ran: Path, complete: Drawings) -> None:
    work = trial_of(ran, "mixed")
    (axes,) = [a for a in drawn(complete, "sensitivity").figure.axes if a.get_title().startswith("mixed")]
    costs = next(snaps(ran, work.name))["costs"]
    assert axes.images[0].get_array().tolist() == list(costs.values())  # type: ignore[union-attr]

    (axes,) = [a for a in drawn(complete, "sensitivity").figure.axes if a.get_title().startswith("SLQ")]
    seed = axes.get_title()[-1]
    part = f"slq-2b-loss-lenet5-digits-s{seed}"
    scores = next(snaps(ran, part))["scores"]["conv1"]
    (book,) = [
        layer["codebook"]
        for layer in json.loads((trial_of(ran, part) / "result.json").read_text())["layers"]
        if layer["name"] == "conv1"
    ]
    by_centre = [score for _, score in sorted(zip(book, scores, strict=True))]
    assert axes.images[0].get_array()[0].tolist() == by_centre  # type: ignore[index]


# Partial and damaged ledgers


def test_without_results_every_figure_says_why(ran: Path, tmp_path: Path, slq: Slq) -> None:
    shutil.copy(ran / "tiny.yaml", tmp_path)
    assert all(isinstance(outcome, Absent) and outcome.reason for outcome in drawings(tmp_path).values())
    ended = slq("figures", tmp_path / "tiny.yaml", "--root", tmp_path / "runs")
    assert ended.code == 0
    assert ended.out.count("not drawn") == len(KINDS)
    assert "slq run" in ended.out or "run " in ended.out.splitlines()[-1]
    assert not (tmp_path / "runs" / "figures").exists()


def test_a_sweep_without_trials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="plans no trials, so it has no figures"):
        outcomes(Ledger(tmp_path, "empty"), [])


def test_a_missing_seed_is_counted(copied: Path) -> None:
    (trial_of(copied, "slq-2b-loss-lenet5-digits-s1") / "result.json").unlink()
    found = drawings(copied)
    assert "SLQ, 2 bits (n = 2 of 3)" in plain(drawn(found, "breakdown").figure)
    assert "n = 1 to 2 trials per configuration" in drawn(found, "tradeoff").caption


def test_an_unreadable_folder_is_a_warning_and_the_rest_is_drawn(copied: Path) -> None:
    (trial_of(copied, "mixed") / "result.json").write_text("{")
    sweep, ledger = sweep_of(copied)
    gallery = outcomes(ledger, sweep.trials)
    (warning,) = gallery.warnings
    assert "mixed" in warning
    assert "counts as missing" in warning
    assert all(isinstance(outcome, Drawn) for outcome in gallery)


def test_the_command_tells_what_it_could_not_read(ran: Path, tmp_path: Path, slq: Slq) -> None:
    shutil.copy(ran / "tiny.yaml", tmp_path)
    broken = tmp_path / "runs" / "tiny" / "trials" / trial_of(ran, "mixed").name
    broken.mkdir(parents=True)
    (broken / "result.json").write_text("{")
    ended = slq("figures", tmp_path / "tiny.yaml", "--root", tmp_path / "runs")
    assert ended.code == 0
    assert ended.out.count("counts as missing") == 1


def test_a_damaged_network_is_left_out_of_the_histograms_only(copied: Path) -> None:
    model = trial_of(copied, "mlq") / "model.slq"
    model.write_bytes(model.read_bytes()[:100])
    found = drawings(copied)
    (warning,) = drawn(found, "histograms").warnings
    assert warning.startswith(f"MLQ, 2\u00a0bits is left out: {model} cannot be read: ")
    assert not any("MLQ" in text for text in texts(drawn(found, "histograms").figure))
    assert any("MLQ" in text for text in texts(drawn(found, "course").figure))


def test_a_trial_without_its_events_is_a_warning(copied: Path) -> None:
    (trial_of(copied, "mlq") / "attempts" / "1" / "events.jsonl").unlink()
    found = drawings(copied)
    for kind in ("course", "frozen"):
        (warning,) = drawn(found, kind).warnings
        assert re.match(r"MLQ, 2.bits is left out: .* has no record of its quantizations", warning)


# Selections


def test_pages_are_of_about_the_same_size() -> None:
    assert pages(list(range(13)), 12) == [list(range(7)), list(range(7, 13))]
    assert pages([1, 2], 12) == [[1, 2]]
    assert pages([], 12) == []


def test_shares_are_of_the_weights_that_are_left() -> None:
    before, after = np.array([0.0, 0.0, 0.1, 0.2, 0.3, 0.4]), np.array([0.0, 0.0, 0.1, 0.1, 0.1, 0.4])
    found = weights_of("fc1", before, after)
    assert (found.count, found.values.tolist(), found.shares.tolist()) == (6, [0.1, 0.4], [75.0, 25.0])
    assert (found.edges[0], found.edges[-1]) == (0.1, 0.4)
    assert found.heights.sum() == pytest.approx(100)
    assert found.heights[[0, -1]].tolist() == [25.0, 25.0]
    assert len(weights_of("fc1", np.zeros(3), np.zeros(3)).edges) == 0


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_weights_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch, place: int, wrong: float) -> None:
    monkeypatch.setattr(histograms, "BLOCK", 1)
    weights, damaged = np.ones(3), np.ones(3)
    damaged[place] = wrong
    for pair in ((weights, damaged), (damaged, weights)):
        with pytest.raises(ValueError, match="not all weights of fc1 are finite numbers"):
            weights_of("fc1", *pair)


@given(st.data(), st.integers(1, 7))
def test_large_layers_are_looked_at_in_blocks_with_the_same_outcome(data: st.DataObject, block: int) -> None:
    """Against NumPy at once, to the bit."""
    count = data.draw(st.integers(1, 30))
    weights = st.lists(st.sampled_from([-1.5, -0.25, 0.0, 0.1, 0.3]), min_size=count, max_size=count)
    before, after = (np.array(data.draw(weights), dtype=np.float32) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histograms, "BLOCK", block)
        found = weights_of("fc1", before, after)
    old, new = (each[before != 0].astype(np.float64) for each in (before, after))
    values, counts = np.unique(new, return_counts=True)
    assert found.values.tolist() == values.tolist()
    if len(old):
        assert found.shares.tolist() == (100 / len(old) * counts).tolist()
        assert found.heights.tolist() == (100 / len(old) * np.histogram(old, found.edges)[0]).tolist()
        low, high = min(old.min(), new.min()), max(old.max(), new.max())
        assert [found.edges[0], found.edges[-1]] == ([low, high] if low < high else [low - 1, high + 1])


@given(st.integers(1, 200), st.integers(2, 9))
def test_some_layers_are_spread_from_the_first_to_the_last(count: int, most: int) -> None:
    chosen = spread_out(count, most)
    assert len(chosen) == min(count, most)
    assert chosen == sorted(set(chosen))
    assert (chosen[0], chosen[-1]) == (0, count - 1)


# Files


@pytest.mark.slow
def test_files_are_the_same_in_another_process(ran: Path, complete: Drawings, tmp_path: Path) -> None:
    """Byte for byte, without dates and versions; and nothing imports pyplot, which is global and may ask for a display."""
    for kind in KINDS:
        save(drawn(complete, kind), tmp_path / "here")
    code = (
        "import sys; from suite.cli.app import app; import suite.cli\n"
        "assert 'matplotlib' not in sys.modules, 'imported before it is needed'\n"
        "app(standalone_mode=False)\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "figures",
        ran / "tiny.yaml",
        "--root",
        ran / "runs",
        "--out",
        tmp_path / "there",
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    here = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    there = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}
    assert len(here) == 3 * len(KINDS)
    for place, kind in enumerate(KINDS):
        path, caption = said[2 * place : 2 * place + 2]
        assert path.endswith(f"tiny-lenet5-digits-{kind}.svg, .pdf, .png")
        assert caption.strip() == drawn(complete, kind).caption.strip()
    assert {name for name in here if here[name] != there.get(name)} == set()
    for name, content in here.items():
        assert not re.search(rb"CreationDate|dc:date|Matplotlib|matplotlib\.org", content), name
