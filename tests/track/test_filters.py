"""The filters of docs/mlflow.md, each put to a real MLflow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from suite.files import write_json
from suite.ledger import Ledger
from suite.track import default_uri, sync
from tests.track.trials import Planned, client_of, run_failing, train

PAGE = (Path(__file__).parents[2] / "docs" / "mlflow.md").read_text()
FILTERS = re.findall(r"^\|.*\| `(.+)` \|$", PAGE.split("## Ten filters")[1].split("\n## ")[0], re.MULTILINE)

# What each filter of the page finds, in its order.
FOUND = ["0 1", "0 1", "0 2", "0 2", "3", "0 2 3", "0 1 2 3", "4", "1", "3"]

Trial = tuple[Planned, float, float, float, str, bool]


def trial(number: int, label: str, seed: int, **method: Any) -> Planned:
    settings = {"network": "lenet5", "data": "digits", "seed": seed, "method": method}
    return Planned(str(number), f"{label} s{seed} lenet5 digits", settings)


FIRST, SECOND = "lenet5-digits-s0-7cbdaebace", "lenet5-digits-s1-88f9a9e088"
TRIALS: list[Trial] = [  # and top-1, ratio, seconds, baseline, whether from uncommitted code
    (trial(0, "SLQ 5b loss", 0, name="slq", bits=5, partition="loss"), 0.990, 12, 30, FIRST, False),
    (trial(1, "SLQ 5b loss", 1, name="slq", bits=5, partition="loss"), 0.980, 9, 700, SECOND, False),
    (trial(2, "k-means 3b", 0, name="kmeans", bits=3), 0.986, 15, 3, FIRST, False),
    (trial(3, "SLQ 3b magnitude", 0, name="slq", bits=3, partition="magnitude"), 0.970, 14, 30, FIRST, True),
]


def finish(ledger: Ledger, made: Trial) -> None:
    planned, top1, ratio, seconds, baseline, dirty = made
    attempt = ledger.trial(planned.id).try_claim(planned.config())
    assert attempt is not None
    write_json(attempt.path / "provenance.json", {"commit": "c0ffee" * 6, "dirty": dirty})
    with attempt.running():
        train(attempt, 1, 4)
        attempt.finish(
            {
                "baseline": {"id": baseline, "top1": 0.99},
                "start": {"id": baseline},
                "quantized": {"top1": top1},
                "size": {"ratio": ratio},
                "cost": {"wall_seconds": seconds, "peak_gpu_memory_bytes": 2e9},
                "sources": {"data_sha256": "da7a" * 16},
            }
        )


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    for made in TRIALS:
        finish(ledger, made)
    failed = trial(4, "k-means 5b", 0, name="kmeans", bits=5)
    run_failing(ledger, failed)
    sync(ledger, [*(made[0] for made in TRIALS), failed], default_uri(ledger.root))
    return ledger


def test_every_filter_of_the_page_finds_what_it_says(filled: Ledger) -> None:
    client = client_of(filled)
    experiment = client.get_experiment_by_name(filled.sweep).experiment_id
    assert len(FILTERS) == 10

    def found(text: str) -> str:
        return " ".join(sorted(run.data.tags["slq.trial"] for run in client.search_runs([experiment], text)))

    assert {text: found(text) for text in FILTERS} == dict(zip(FILTERS, FOUND, strict=True))
    assert found("tags.\"slq.orphan\" = 'false'") == "0 1 2 3 4"


def test_the_page_names_every_tag_and_metric(filled: Ledger) -> None:
    client = client_of(filled)
    runs = client.search_runs([client.get_experiment_by_name(filled.sweep).experiment_id])
    names = {name for run in runs for name in (*run.data.tags, *run.data.metrics)}
    own = {name for name in names if not name.startswith("mlflow.")} - {"slq.seen", "slq.complete"}
    assert "peak_gpu_memory_gb" in own
    layout = PAGE.split("## How runs are laid out")[1].split("\n## ")[0]
    assert sorted(name for name in own if f"`{name}`" not in layout) == []
