"""The published tables in a sweep's report: those that take its trials, with numbers that lead to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.ledger import Ledger, Work
from suite.report.web.published import SPECS
from suite.report.web.report import report
from suite.sweep import load_sweep
from tests.test_specs import FIGURES, SPEC, SWEEP, finish, own_figures, trials

Page = Callable[[], str]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """The report of a sweep with a spec, made anew each time, without its library of plots."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("suite.report.web.report._plotly", str)
    Path("figures").mkdir()
    Path("figures/own.yaml").write_text(FIGURES)
    SPECS.mkdir(parents=True)
    Path("sweep.yaml").write_text(SWEEP)
    spec(SPEC)
    sweep = load_sweep(Path("sweep.yaml"))
    return lambda: report(sweep, Path("sweep.yaml"), Ledger(Path("runs"), "sweep"), Path("runs"), own_figures())


def spec(text: str, name: str = "spec") -> None:
    (SPECS / f"{name}.yaml").write_text(text)


def section(page: str) -> str:
    """What the page says of published tables."""
    found = re.search(r'<section id="published">.*?(?=<section id="figures">)', page, re.DOTALL)
    return found[0] if found else ""


def test_numbers_lead_to_the_trials_and_marks_to_the_notes_of_their_own_table(page: Page) -> None:
    for trial in trials("loss"):
        finish(trial, 0.95, 0.97)
    spec(SPEC.replace("A table", "Another <b>table</b>"), "twin")
    text = page()
    shown = section(text)
    assert "<h3>A table</h3>" in shown
    assert "<h3>Another &lt;b&gt;table&lt;/b&gt;</h3>" in shown
    row = f"#row-{trials('loss')[0].id}"
    assert shown.count(f'<a class="figure" href="{row}">5.00 (3.00)</a>') == 2
    assert f'<a class="figure" href="{row}">5.00 ± 0.00</a>' in shown
    assert set(re.findall(r'href="(#row-[^"]*)"', shown)) == {row}, "others have no numbers"
    assert re.search(r'<td>3\.00 \(−1\.00\) <a href="#published-1-1">\[1\]</a></td>', shown)
    assert '<li id="published-2-1">[1] A. Nobody: Figures, V. Read in: table 1.</li>' in shown
    for target in re.findall(r'href="#([^"]*)"', text):
        assert text.count(f'id="{target}"') == 1, target
    assert shown.count("Mean ± sample standard deviation") == 1
    assert shown.count("3 of 12") == 2
    assert '<a href="#published">Published</a>' in text
    assert page() == text


def test_only_tables_that_take_a_trial_of_the_sweep_are_shown(page: Page) -> None:
    Path("twin.yaml").write_text(SWEEP.replace("digits", "mnist"))
    spec(SPEC.replace("sweep.yaml", "twin.yaml"))  # names another sweep
    spec(SPEC.replace("sweep.yaml", "twin.yaml, sweep.yaml").replace("digits", "mnist"), "both")  # shows other data
    assert section(page()) == ""
    assert "#published" not in page()
    spec(SPEC.replace("sweep.yaml", "twin.yaml, sweep.yaml"), "both")
    assert "<h3>A table</h3>" in section(page())


def test_a_link_is_only_where_the_page_has_the_trial(page: Page) -> None:
    Path("twin.yaml").write_text(SWEEP.replace("digits", "mnist"))
    columns = "".join(f"  - {{label: {d}, metric: error, where: {{data: {d}}}}}\n" for d in ("digits", "mnist"))
    text = f"{SPEC.partition('columns:')[0]}columns:\n{columns}".replace(", data: digits}\nrows", "}\nrows")
    spec(text.replace("sweep.yaml", "sweep.yaml, twin.yaml"))
    for trial in trials("loss"):
        finish(trial, 0.95, 0.97)
    for trial in load_sweep(Path("twin.yaml")).trials:
        finish(trial, 0.91, 0.97, sweep="twin")
    shown = section(page())
    assert re.search(r"<td>9\.00</td>", shown)
    assert re.search(r'href="#row-[^"]*">5\.00 \(3\.00\)</a>', shown)


def test_trials_are_read_once_for_all_tables(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("twin.yaml").write_text(SWEEP.replace("digits", "mnist"))
    for trial in trials("loss"):
        finish(trial, 0.95, 0.97)
    for trial in load_sweep(Path("twin.yaml")).trials:
        finish(trial, 0.91, 0.97, sweep="twin")
    reads: list[str] = []
    result = Work.result
    monkeypatch.setattr(Work, "result", lambda work: [reads.append(str(work.path)), result(work)][1])

    def counted() -> Counter[str]:
        reads.clear()
        page()
        return Counter(reads)

    spec("title: unused\n")
    alone = counted()
    both = SPEC.replace("sweep.yaml", "sweep.yaml, twin.yaml")
    spec(both)
    once = counted()
    assert len(once) > len(alone), "of the other sweep"
    assert {path: count for path, count in once.items() if path in alone} == alone
    spec(both, "another")
    assert counted() == once


def test_mistakes_are_told_and_end_no_report(page: Page) -> None:
    spec(SPEC.replace("metric: ratio", "metric: raito"))
    spec("title: [", "broken")
    shown = section(page())
    assert "<h3>broken</h3>" in shown
    assert "results/specs/broken.yaml:1: not YAML" in shown
    assert "results/specs/spec.yaml:12: columns.1: unknown metric &#39;raito&#39;" in shown
    assert "<h4>Error %</h4>" in shown
    spec(SPEC.replace("sweep.yaml", "sweep.yaml, missing.yaml").replace("digits", "mnist"))
    assert "no sweep &#39;missing.yaml&#39;" in section(page()), "its trials may be those that are missing"
