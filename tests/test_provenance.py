"""What attempts record about their code and their place in Slurm."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from suite import provenance
from suite.config import Trial
from suite.files import read_json, write_json
from suite.launch.frozen import freeze
from suite.ledger import Ledger
from suite.report import build_tables, load_references
from suite.report.frame import tidy
from tests.test_frozen import checkout, edit, frozen_from, git, sweep

__all__ = ["checkout", "sweep"]

RUN = """
import sys
from pathlib import Path
from suite.config import Trial
from suite.ledger import Ledger
from suite.trial import run_trial
run_trial(Trial.model_validate_json(sys.argv[1]), Ledger(Path(sys.argv[2]), "sweep"), Path("data"))
"""
SLURM = {
    "SLURM_JOB_ID": "124",
    "SLURM_ARRAY_JOB_ID": "123",
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_RESTART_COUNT": "2",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_JOB_PARTITION": "gpu",
    "SLURMD_NODENAME": "n2",
}


def recorded(folder: Path, trial: Trial) -> dict[str, object]:
    provenance.record(folder, trial, "abc", torch.device("cpu"))
    found: dict[str, object] = read_json(folder / "provenance.json")
    return found


def test_slurm_facts(tmp_path: Path, make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    for name, value in {**SLURM, "CUDA_VISIBLE_DEVICES": "1", "SLURM_CONF": "/etc/slurm.conf"}.items():
        monkeypatch.setenv(name, value)
    found = recorded(tmp_path, make_trial({"name": "full"}))
    assert found["slurm"] == SLURM
    assert found["cuda_visible_devices"] == "1"


def test_outside_of_slurm(tmp_path: Path, make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM") or name == "CUDA_VISIBLE_DEVICES"]:
        monkeypatch.delenv(name)
    found = recorded(tmp_path, make_trial({"name": "full"}))
    assert (found["slurm"], found["cuda_visible_devices"]) == ({}, None)


@pytest.mark.parametrize("content", ["{", "[]", '{"commit": "abc"}', "null"])
def test_a_stray_file_beside_the_package_makes_no_frozen_copy(tmp_path: Path, content: str) -> None:
    (tmp_path / "code.json").write_text(content)
    assert provenance.frozen_version(tmp_path) is None


def test_content_hash_depends_on_names_and_content(tmp_path: Path) -> None:
    hashes = []
    for number, code in enumerate([{"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "", "b": "1"}, {"a": "1", "b": ""}]):
        (tmp_path / str(number)).mkdir()
        for name, text in code.items():
            (tmp_path / str(number) / name).write_text(text)
        hashes.append(provenance.content_hash(tmp_path / str(number)))
    assert len(set(hashes)) == len(hashes)
    write_json(tmp_path / "0" / "code.json", {})
    assert provenance.content_hash(tmp_path / "0") == hashes[0]


@pytest.mark.slow
@pytest.mark.parametrize("dirty", [False, True])
def test_trials_of_frozen_code_in_the_tables(
    checkout: Path, sweep: Path, tmp_path: Path, make_trial: Callable[..., Trial], dirty: bool
) -> None:
    """The frozen copy and the ledger lie in the checkout, whose own state at run time is the opposite."""
    if dirty:
        edit(checkout)
    made = frozen_from(checkout, sweep, allow_dirty=dirty)
    if dirty:
        git(checkout, "checkout", "--quiet", ".")
    else:
        edit(checkout)
    trial, ledger = make_trial({"name": "kmeans", "bits": 3}), Ledger(sweep.parent, "sweep")
    environment = os.environ | {"PYTHONPATH": str(made.path)}
    command = [sys.executable, "-c", RUN, trial.model_dump_json(), str(ledger.root)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)

    attempt = ledger.trial(trial.id).newest_attempt()
    assert attempt is not None
    found = attempt.provenance()
    assert (found["commit"], found["dirty"]) == (git(checkout, "rev-parse", "HEAD"), dirty)
    assert (attempt.path / "code.diff").exists() is dirty
    if dirty:
        difference = (attempt.path / "code.diff").read_bytes()
        assert b"+# edited" in difference
        assert found["diff_sha256"] == hashlib.sha256(difference).hexdigest()
    row = tidy(ledger, [trial]).iloc[0]
    assert (row["dirty"], row["commit"]) == (dirty, found["commit"])
    assert build_tables(ledger, [trial], load_references()).dirty == int(dirty)


@pytest.mark.slow
def test_an_installed_package_has_no_commit(tmp_path: Path, checkout: Path) -> None:
    site = tmp_path / "site-packages"
    shutil.copytree(checkout / "suite", site / "suite")
    made = freeze(tmp_path / "sweep", allow_dirty=False, package=site / "suite")
    command = [sys.executable, "-c", "from suite.provenance import code_version; print(code_version())"]
    environment = os.environ | {"PYTHONPATH": str(made.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "(None, False, b'')"
