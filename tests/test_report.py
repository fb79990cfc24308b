"""The tables: what they say about full, partial, missing and damaged sweeps, and that they are the same every time."""

from __future__ import annotations

import io
import json
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from suite.config import Trial
from suite.errors import UserError
from suite.ledger import Ledger
from suite.report import References, Tables, build_tables, load_references, print_tables, tidy, write_tables
from suite.report.label import in_words
from suite.report.render import html, latex, markdown
from suite.report.table import Row

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

    @property
    def id(self) -> str:
        options = "".join(f"-{key}-{value}" for key, value in self.options.items())
        return f"{self.method}-{self.bits}b-{self.network}-{self.data}{options}-s{self.seed}"

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
        shared = {"network": self.network, "data": self.data, "baseline": baseline}
        return {**shared, "seed": self.seed, "method": method, "runtime": {"log_steps": 10 + self.seed}}


def seeds(count: int, **settings: Any) -> list[Planned]:
    return [Planned(seed=seed, **settings) for seed in range(count)]


def result(trial: Planned, top1: float, baseline: float) -> dict[str, Any]:
    return {
        "trial": trial.id,
        "config": trial.config(),
        "baseline": {"id": "some", "top1": baseline, "top5": 0.99, "loss": 0.1},
        "quantized": {"top1": top1, "top5": 0.98, "loss": 0.2},
        "stages": [],
        "layers": [{"name": "conv1", "values": 17}, {"name": "fc", "values": 12}],
        "size": {"bits_per_weight": 5.04, "ratio": 6.2},
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
    assert [done["values"], done["ratio"], done["wall_seconds"]] == [17, 6.2, 12.1]
    assert (done["bits"], done["attempts"], done["dirty"], done["commit"]) == (5, 1, True, "abc123")
    assert (done["method.partition"], done["baseline.epochs"]) == ("loss", 10)
    assert pd.isna([missing["top1"], missing["bits"], missing["method.partition"]]).all()


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
        (None, "KeyError: 'quantized'"),
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
    assert re.search(r"\| SLQ +\| +3 \| +0 of 2 \|( +missing \|){4}", text)
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
    assert labels[1:] == ["SLQ, loss partition, retrain epochs 3", "SLQ, magnitude partition, retrain epochs 1"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("method.partition", "loss", "loss partition"),
        ("retrain.epochs", 4.0, "retrain epochs 4"),
        ("method.pin_zero", True, "pin zero"),
        ("method.threshold", None, "default threshold"),
        ("method.portions", [0.5, 1.0], "portions 0.5/1"),
    ],
)
def test_settings_in_words(name: str, value: Any, words: str) -> None:
    assert in_words(name, value) == words


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


def published_cell(ledger: Ledger, references: References, trial: Planned) -> str:
    line = next(line for line in markdown(build_tables(ledger, [trial], references)).splitlines() if " 0 of 1 " in line)
    return line.split("|")[-2].strip()


@pytest.mark.parametrize(
    ("trial", "cell"),
    [
        (Planned("ttq", bits=2, network="resnet20", data="cifar10"), "8.87 (−0.64) [1]"),
        (Planned("ttq", bits=2, network="resnet20", data="cifar10-jpeg"), "(−0.64) [1]"),
        (Planned("full", bits=None, network="resnet20", data="cifar10"), "8.23 [1]"),
        (Planned("full", bits=None, network="resnet20", data="cifar10-jpeg"), "–"),
        (Planned("deep-compression", bits=None, network="lenet5", data="mnist"), "0.74 (+0.06), 39× [1]"),
        (Planned("deep-compression", bits=5, network="alexnet", data="imagenet"), "42.78 (0.00), 35× [1]"),
        (Planned("universal", bits=None, network="resnet32", data="cifar10-jpeg"), "47.1× [1]"),
        (Planned("inq", bits=5, network="resnet18", data="imagenet"), "31.02 (+0.71) [1]"),
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


def test_reason_stands_below_a_row_that_is_not_available(ledger: Ledger, references: References) -> None:
    text = markdown(build_tables(ledger, [Planned(network="vgg16", data="imagenet")], references))
    assert "Not available: the result tables of the paper could not be obtained" in text


def test_every_figure_was_read_by_somebody(references: References) -> None:
    entries = [p.entry for p in references.published]
    assert len(entries) > 60
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
            "ratio: 2, flag: 2nd, read: x}\n  - {network: n, data: d, method: m, ratio: 3, flag: 2nd, read: y}",
            "more than one entry for .*'n', 'd', 'm'.*'variant'",
        ),
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
        *seeds(1, method="inq", network="resnet18", data="imagenet"),
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


def test_csv_has_plain_numbers_and_the_trials(ledger: Ledger, references: References, tmp_path: Path) -> None:
    plan = seeds(2, method="ttq", bits=2, network="resnet20", data="cifar10")
    run_all(ledger, plan[:1])
    write_tables(build_tables(ledger, plan, references), tmp_path)
    row = pd.read_csv(tmp_path / "quick_start.csv").iloc[0]
    assert (row["done"], row["planned"], row["bits"]) == (1, 2, 2)
    assert [row["top1_mean"], row["error_mean"], row["delta_mean"]] == pytest.approx([90, 10, -5])
    assert [row["published_error"], row["published_delta"]] == pytest.approx([8.87, -0.64])
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
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 6
    assert not re.search(r"(?<!\\)%", text), "an unescaped % comments the rest of a row out"


def test_every_reference_survives_latex(ledger: Ledger, references: References) -> None:
    pairs = sorted({(p.entry.network, p.entry.data) for p in references.published})
    plan = [Planned(network=network, data=data) for network, data in pairs]
    latex(build_tables(ledger, plan, references)).encode("ascii")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles_with_booktabs_alone(ledger: Ledger, references: References, tmp_path: Path) -> None:
    run_all(ledger, varied()[:4])
    body = latex(build_tables(ledger, varied(), references))
    head = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    (tmp_path / "paper.tex").write_text(f"{head}{body}\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


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
