"""Which tables and figures `slq sync` gives to MLflow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suite import track
from suite.ledger import Ledger
from tests.conftest import Slq
from tests.track.trials import folder_of, runs_of

SWEEP = "trials: [{network: lenet5, data: digits, method: {name: kmeans, bits: 3}}]"
MADE = ["tables/table1.md", "tables/table1.csv", "figures/table1-lenet5-digits-tradeoff.png"]
OTHERS = [
    "tables/table1-small.md",
    "figures/table1-small-lenet5-digits-tradeoff.png",
    "figures/table1-lenet5-digits-tradeoff.pdf",
]


def kept(ledger: Ledger) -> set[str]:
    """Artifacts of the runs that are not a trial's."""
    folders = [folder_of(run.info.artifact_uri) for run in runs_of(ledger)]
    return {str(file.relative_to(folder)) for folder in folders for file in folder.rglob("*.*")}


def test_sync_takes_the_sweeps_own_pages_made_since_it_was_planned(slq: Slq, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "table1.yaml").write_text(SWEEP)
    for name in [*MADE, *OTHERS, "table1/plan.json"]:
        (ledger.root / name).parent.mkdir(exist_ok=True)
        (ledger.root / name).write_text(name)
        os.utime(ledger.root / name, (2000, 2000))
    command = ["sync", tmp_path / "table1.yaml", "--root", ledger.root]
    assert slq(*command).code == 0
    assert kept(ledger) == set(MADE)
    os.utime(ledger.root / "table1/plan.json", (3000, 3000))
    os.utime(ledger.root / MADE[0], (3000, 3000))
    assert slq(*command).code == 0
    assert kept(ledger) == {MADE[0]}


@pytest.mark.parametrize("uri", ["https://ada:secret@host", "postgresql+psycopg2://ada:sec@ret@host/runs"])
def test_sync_does_not_print_passwords(slq: Slq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    (tmp_path / "table1.yaml").write_text(SWEEP)
    monkeypatch.setattr("suite.track.sync", lambda *_, **__: track.SyncReport(created=1))
    ended = slq("sync", tmp_path / "table1.yaml", "--root", tmp_path, "--tracking-uri", uri)
    assert ended.out.startswith(f"{uri.partition(':')[0]}://host")
    assert "ada" not in ended.out
    assert "1 runs created" in ended.out
