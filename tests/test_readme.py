"""What the README shows works."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import torch

from suite.methods.base import Net
from suite.quant.layer import Layer
from suite.sweep import load_sweep

README = (Path(__file__).parents[1] / "README.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found, language
    return found[1]


def test_the_sweep_loads(tmp_path: Path) -> None:
    file = tmp_path / "shown.yaml"
    file.write_text(block("yaml"))
    trials = load_sweep(file).trials
    assert len(trials) == 4 * 3 + 2 + 4 + 1 - 1
    assert {trial.retrain.budget for trial in trials} == {"trial"}


def test_the_method_quantizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shown_method.py").write_text(block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    rounding = importlib.import_module("shown_method").Rounding
    layer = Layer.untouched(torch.tensor([-1.0, -0.6, 0.1, 0.4, 1.0]))
    rounding(bits=2).quantize(0, Net({"a": layer}, loss=lambda: 0.0, seed=0))
    assert layer.frozen.all()
    assert layer.weight.tolist() == [-1.0, -1.0, 0.0, 0.0, 1.0]


def test_the_table_is_the_one_last_regenerated() -> None:
    regenerated = (Path(__file__).parents[1] / "results" / "tables" / "quickstart.md").read_text()
    rows = next(part for part in regenerated.split("\n\n") if part.startswith("|")).splitlines()  # of the first table
    assert len(rows) > 10
    assert "\n".join(rows) in README, "copy the table of results/tables/quickstart.md into the README"


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^    slq (\w+)", README, re.MULTILINE))))
def test_the_commands_exist(command: str) -> None:
    from typer.main import get_command

    from suite.cli import app

    assert command in get_command(app).commands  # type: ignore[attr-defined]
