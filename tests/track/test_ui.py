"""`slq ui` as a user starts and ends it, and what a real browser then shows."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from suite.ledger import Ledger
from suite.sweep import load_sweep
from tests.track.trials import begin, finish, fresh, runs_of, sample, train

CHROMIUM = Path("/usr/bin/chromium")
QUIET = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
SWEEP = """
defaults: {network: lenet5, data: digits}
trials:
  - method: {name: kmeans, bits: 3}
  - method: {name: kmeans, bits: 3, tune: sum}
  - method: {name: slq, bits: 3}
"""
NAMES = [
    "k-means 3b, centres not trained, s0 lenet5 digits",
    "k-means 3b, centres trained by sums, s0 lenet5 digits",
    "SLQ 3b loss s0 lenet5 digits",
]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Served:
    """A running `slq ui`: its process, the address that it printed, and the ledger that it shows."""

    process: subprocess.Popen[str]
    address: str
    ledger: Ledger

    @property
    def port(self) -> int:
        return urllib.parse.urlparse(self.address).port or 0


def started(folder: Path, initialised: Path) -> Served:
    (folder / "table1.yaml").write_text(SWEEP)
    ledger = fresh(folder / "root", initialised)
    for number, trial in enumerate(load_sweep(folder / "table1.yaml").trials):
        attempt = begin(ledger, trial)
        with attempt.running():
            train(attempt, 1, 12)
            sample(attempt, 90, 110)
            finish(attempt, top1=0.9 + number / 100)
    # A shell that runs the tests in the background has them, and so us, ignore Ctrl-C.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from suite.cli import main; main()"
    command = [sys.executable, "-c", code, "ui", str(folder / "table1.yaml"), "--root", str(ledger.root)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    return Served(process, process.stdout.readline().strip(), ledger)


def is_served(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(tmp_path: Path, initialised: Path, ending: signal.Signals) -> None:
    served = started(tmp_path, initialised)
    assert re.fullmatch(
        r"http://127\.0\.0\.1:\d+/#/experiments/\d+/runs\?workflowType=machine_learning", served.address
    )
    assert is_served(served.port)
    served.process.send_signal(ending)
    printed, _ = served.process.communicate(timeout=60)
    assert served.process.returncode == 0
    assert printed.endswith("ended\n")
    assert not is_served(served.port)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, initialised: Path) -> Iterator[Served]:
    served = started(tmp_path_factory.mktemp("ui"), initialised)
    yield served
    served.process.terminate()
    served.process.communicate(timeout=60)


Look = Callable[..., str]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """`look(address, texts)` opens a page until all these are in it, at most five times, and returns what stands there."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")

    def shown(address: str, *wanted: str) -> str:
        profile = ["--headless", "--no-sandbox", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1600,1200"]
        command = [str(CHROMIUM), *profile, *QUIET.split(), "--virtual-time-budget=30000", "--dump-dom", address]
        for _ in range(5):  # virtual time does not wait for the drawing of charts
            page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
            if not (missing := [text for text in wanted if text not in page]):
                return page
        raise AssertionError(f"{address} lacks {missing}")

    return shown


def test_the_table_of_runs_shows_the_sweep(served: Served, look: Look) -> None:
    page = look(served.address, *NAMES, "table1")
    assert re.search(r"\b3\b[^0-9]{0,40}matching runs", page)


def test_two_runs_are_compared_in_charts(served: Served, look: Look) -> None:
    page = look(f"{served.address}&compareRunsMode=CHART", *NAMES, "js-plotly-plot", "delta_top1", "bits_per_weight")
    assert page.count("js-plotly-plot") > 3
    runs = [run for run in runs_of(served.ledger) if run.info.run_name in NAMES[:2]]
    chosen = urllib.parse.quote(json.dumps([run.info.run_id for run in runs]))
    experiments = urllib.parse.quote(json.dumps([runs[0].info.experiment_id]))
    address = f"{served.address.partition('#')[0]}#/compare-runs?runs={chosen}&experiments={experiments}"
    assert NAMES[2] not in look(address, "Comparing 2 Runs", "js-plotly-plot", *NAMES[:2])


def test_the_page_of_a_run_shows_its_inputs_and_tags(served: Served, look: Look) -> None:
    (run,) = [run for run in runs_of(served.ledger) if run.info.run_name == NAMES[2]]
    address = f"{served.address.partition('/runs?')[0]}/runs/{run.info.run_id}"
    look(address, NAMES[2], "digits (da7ada7ada)", "configuration", "SLQ 3b loss lenet5 digits")


def test_system_metrics_have_a_tab_of_their_own(served: Served, look: Look) -> None:
    (run,) = [run for run in runs_of(served.ledger) if run.info.run_name == NAMES[2]]
    address = f"{served.address.partition('/runs?')[0]}/runs/{run.info.run_id}"
    wanted = ["cpu_utilization_percentage", "gpu_0_power_usage_watts", "js-plotly-plot"]
    assert "delta_top1" not in look(f"{address}/system-metrics", NAMES[2], *wanted)
    assert wanted[0] not in look(f"{address}/model-metrics", NAMES[2], "delta_top1", "js-plotly-plot")
