"""What the README shows is so. Its commands are judged with those of the documentation, in tests/test_docs.py."""

from __future__ import annotations

import re
from pathlib import Path

from suite.sweep import load_sweep
from tests.shown import ROOT, blocks

README = (ROOT / "README.md").read_text()


def test_the_sweep_loads(tmp_path: Path) -> None:
    file = tmp_path / "shown.yaml"
    (shown,) = blocks(README, "yaml")
    file.write_text(shown)
    trials = load_sweep(file).trials
    assert len(trials) == 4 * 3 + 2 + 4 + 1 - 1
    assert {trial.retrain.budget for trial in trials} == {"trial"}


def test_it_opens_with_the_table_last_regenerated_then_the_figure_then_the_commands() -> None:
    regenerated = (ROOT / "results" / "tables" / "quickstart.md").read_text()
    table = next(part for part in regenerated.split("\n\n") if part.startswith("|"))  # the first of them
    assert len(table.splitlines()) > 10
    assert table in README, "copy the first table of results/tables/quickstart.md into the README"
    opening = [README.index(part) for part in (table, "](results/figures/quickstart", "make demo    #", "\n## How")]
    assert opening == sorted(opening)


def test_its_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 30
    assert not [link for link in links if not (ROOT / link).exists()]
