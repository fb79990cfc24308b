"""The example notebook: what it stores is clean and current, and it runs on any ledger."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
import yaml
from nbclient import NotebookClient

from suite.ledger import Ledger
from suite.sweep import load_sweep
from suite.trial import run_trial
from tests.conftest import SHORT

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "compare.ipynb"
AGAIN = "execute it again: make demo, then .venv/bin/jupyter execute --inplace docs/compare.ipynb"
MOST = 60_000  # bytes of pictures

SWEEP = {
    "defaults": SHORT,
    "grid": [{"method": [{"name": "full"}, {"name": "kmeans", "bits": 2}, {"name": "slq", "bits": 3}], "seed": [0, 1]}],
}


@pytest.fixture
def stored() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def codes(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: nbformat.NotebookNode) -> list[Any]:
    return [output for cell in codes(notebook) for output in cell.outputs]


def text_of(notebook: nbformat.NotebookNode, kind: str = "text/plain") -> str:
    return "\n".join(output.get("data", {}).get(kind) or output.get("text", "") for output in outputs(notebook))


def test_it_is_valid_and_was_executed_from_top_to_bottom(stored: nbformat.NotebookNode) -> None:
    nbformat.validate(stored)
    assert [cell.execution_count for cell in codes(stored)] == list(range(1, len(codes(stored)) + 1)), AGAIN


def test_its_outputs_have_no_errors_no_warnings_and_no_place_of_a_machine(stored: nbformat.NotebookNode) -> None:
    assert {output.output_type for output in outputs(stored)} == {"stream", "display_data", "execute_result"}
    assert {output.name for output in outputs(stored) if output.output_type == "stream"} == {"stdout"}
    for kind in ("text/plain", "text/html"):
        assert not re.search(r"""(^|[\s"'(=>])/\w+/""", text_of(stored, kind)), "an absolute path"


def test_its_pictures_are_small(stored: nbformat.NotebookNode) -> None:
    pictures = [output["data"]["image/png"] for output in outputs(stored) if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    assert sum(len(base64.b64decode(picture)) for picture in pictures) < MOST


def test_its_numbers_are_those_of_the_committed_tables(stored: nbformat.NotebookNode) -> None:
    table = pd.read_csv(ROOT / "results" / "tables" / "quickstart.csv")
    text = text_of(stored)
    assert len(table) > 10
    assert f"{table['done'].sum()} of {table['planned'].sum()} trials are done" in text
    for mean, std in zip(table["error_mean"], table["error_std"], strict=True):
        assert f"{mean:.2f} ± {std:.2f}" in text, AGAIN


@pytest.mark.slow
def test_it_runs_on_another_ledger_that_is_not_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, root = tmp_path / "other.yaml", tmp_path / "runs"
    file.write_text(yaml.safe_dump(SWEEP))
    trials = load_sweep(file).trials
    for trial in trials[:-1]:
        run_trial(trial, Ledger(root, "other"), tmp_path)
    for name, value in {
        "SLQ_SWEEP": file,
        "SLQ_ROOT": root,
        "IPYTHONDIR": tmp_path,
        "JUPYTER_RUNTIME_DIR": tmp_path,
    }.items():
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": NOTEBOOK.parent}}).execute()
    text = text_of(notebook)
    assert "5 of 6 trials are done" in text
    assert re.search(r"k-means, 2 bits, seed [01]: .* points", text)
    assert re.search(r"bytes  other/trials/k-means-2b\S+/result.json", text)
    assert sum("image/png" in output.get("data", {}) for output in outputs(notebook)) == 2
