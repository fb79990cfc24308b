"""The documentation: the site builds without a warning and needs no network, what its pages show works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save

from suite.data.memory import Arrays
from suite.errors import UserError
from suite.ledger import Ledger
from suite.methods.base import Net
from suite.nets import quantizable
from suite.nets.registry import Network
from suite.quant.layer import Layer
from suite.sweep import load_sweep
from suite.trial import run_trial
from tests import shown
from tests.conftest import SHORT, Slq
from tests.shown import ROOT, Shown

PAGES = shown.pages()
COMMANDS = list(shown.commands())
MENTIONED = list(shown.mentioned())


# --- the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


class Page(HTMLParser):
    """What a page asks for, links to, and can be linked to by."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.assets: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.classes: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        self.classes |= set(found.get("class", "").split())
        if tag == "a":
            self.links += [found["href"]] if "href" in found else []
        elif tag == "link" and found.get("rel") not in ("stylesheet", "icon", "preload", "preconnect"):
            self.links.append(found["href"])  # only tells: previous, next, canonical
        else:
            self.assets += [found[name] for name in ("href", "src", "data", "poster") if name in found]


@pytest.fixture(scope="module")
def built(site: Path) -> dict[Path, Page]:
    """The pages of the site, by file."""
    return {file: Page(file) for file in site.rglob("*.html")}


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_is_whole(site: Path, built: dict[Path, Page]) -> None:
    assert len(built) > 40
    for file, page in built.items():
        if file.name == "404.html":  # its links are absolute, for whatever address was wrong
            continue
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            path, anchor = urldefrag(link)
            target = (file.parent / unquote(path)).resolve() if path else file
            assert target.exists(), f"{file.relative_to(site)} links to {link}"
            if anchor and target.suffix == ".html":
                assert unquote(anchor) in built[target].anchors, f"{file.relative_to(site)} links to {link}"


@pytest.mark.slow
def test_the_site_asks_nothing_from_the_network(site: Path, built: dict[Path, Page]) -> None:
    for file, page in built.items():
        outside = [asset for asset in page.assets if re.match(r"(https?:)?//", asset)]
        assert not outside, f"{file.relative_to(site)} loads {outside}"
        assert "mermaid" not in page.classes, "the theme would load Mermaid from a server"
    for file in site.rglob("*.css"):
        assert not re.search(r"""(url\(["']?|@import ["'])(https?:)?//""", file.read_text()), file


@pytest.mark.slow
def test_the_reference_holds_every_option_setting_method_and_name(site: Path) -> None:
    from suite.config import Trial
    from suite.data import DATASETS
    from suite.nets import NETWORKS

    def text(page: str) -> str:
        return (site / "reference" / page).read_text()

    assert shown.all_options() - {"--help", "--install-completion"} <= set(
        re.findall(r"<code>(-[\w-]+)</code>", text("cli.html"))
    )
    settings = Trial.model_json_schema()
    assert [name for name in settings["properties"] if f"<code>{name}</code>" not in text("sweep.html")] == []
    methods = settings["properties"]["method"]["discriminator"]["mapping"]
    assert [name for name in methods if f'<h2 id="{name}"' not in text("methods.html")] == []
    assert [name for name in [*NETWORKS, *DATASETS] if f"<code>{name}</code>" not in text("networks.html")] == []


# --- the commands


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS), ids=str)
def test_a_command_can_be_typed_as_it_is_shown(command: Shown) -> None:
    assert shown.complaint(command.text) == ""


@pytest.mark.parametrize("mention", dict.fromkeys(MENTIONED), ids=str)
def test_a_command_in_the_text_exists_with_its_options(mention: Shown) -> None:
    program, *rest = mention.text.replace("[", " ").replace("]", " ").split()
    options = {word.partition("=")[0].rstrip(",") for word in [program, *rest] if word.startswith("--")}
    if program == "slq" and rest and not rest[0].startswith("--") and rest[0] != "COMMAND":
        command, _ = shown.find(rest[:2] if rest[0] == "site" else rest[:1])
        assert command is not None or rest == ["site"], mention
        assert options <= shown.options_of(command) | {"--help"} if command else True, mention
    elif program in ("slq", *options):
        assert options <= shown.all_options(), mention
    else:
        assert shown.complaint(mention.text) == "", mention


def test_the_options_in_a_row_of_the_readmes_table_are_those_of_its_command() -> None:
    rows = re.findall(r"^\| `slq (\w+)[^`]*`.*$", PAGES["README.md"], re.MULTILINE)
    assert len(rows) > 15
    for row in re.finditer(r"^\| (`slq .*)$", PAGES["README.md"], re.MULTILINE):
        spans = re.findall(r"`([^`]+)`", row[1])
        named = [
            shown.find(span.split()[1:3] if span.startswith("slq site") else span.split()[1:2])[0]
            for span in spans
            if span.startswith("slq ")
        ]
        allowed = set().union(*map(shown.options_of, named))
        assert {word for span in spans for word in span.split() if word.startswith("--")} <= allowed, row[0]


def test_no_command_is_overlooked() -> None:
    assert len(COMMANDS) > 40
    assert len(MENTIONED) > 60
    for page, text in PAGES.items():
        languages = {block["language"] for block in shown.CONSOLE.finditer(text)}
        assert page in shown.INDENTED or languages <= shown.LANGUAGES, page
        outside = shown.CONSOLE.sub("", text)
        assert page in shown.INDENTED or not re.search(r"\n\n    \S", outside), f"{page}: say ```console or ```text"


def test_every_exception_is_needed() -> None:
    programs = {shown.words(command.text)[0].rpartition("/")[2] for command in COMMANDS if shown.words(command.text)}
    mentions = {mention.text.split()[0] for mention in MENTIONED}
    assert set(shown.CHECKED_ELSEWHERE) | shown.HARMLESS <= programs | mentions


@pytest.mark.parametrize(
    "wrong",
    ["slq paln jobs/x.yaml", "slq plan", "slq run x.yaml --worker 2", "slq submit x.yaml", "make demos", "slq run x --workers many",
     "slurm/dev-cluster begin", "make demo PYTON=python3", "curl x", "python -m benchmarks.nothing"],
)  # fmt: skip
def test_a_wrong_command_is_seen(wrong: str) -> None:
    assert shown.complaint(wrong)


# --- those that are run; others need minutes, Slurm or a server, and their own tests run them


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout's root as the pages assume it: the suite's sweeps and specs without results, the tutorial's sweep, made small
    and its last trial done, a network to pack and a photograph."""
    sweep: dict[str, Any] = yaml.safe_load(shown.blocks(PAGES["tutorial.md"], "yaml")[0])
    sweep["defaults"] |= {"baseline": SHORT["baseline"], "retrain": {**SHORT["retrain"], "budget": "trial"}}
    sweep["grid"][0]["seed"] = [0]
    file = tmp_path / "jobs" / "mine.yaml"
    shutil.copytree(ROOT / "jobs", file.parent)
    shutil.copytree(ROOT / "results" / "specs", tmp_path / "results" / "specs")
    Image.effect_noise((24, 16), 64).convert("RGB").save(tmp_path / "photo.jpg")
    file.write_text(yaml.safe_dump(sweep))
    run_trial(load_sweep(file).trials[-1], Ledger(tmp_path / "results" / "runs", "mine"), tmp_path)
    (tmp_path / "network.safetensors").write_bytes(_few_values())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _few_values() -> bytes:
    codes = torch.arange(4096) * 7919 % 5
    return save(
        {"fc.weight": torch.tensor([-0.5, -0.1, 0.0, 0.1, 0.5])[codes].view(64, 64), "fc.bias": torch.randn(64)}
    )


def _typed(text: str, folder: Path) -> Iterator[str]:
    """The words of a command, wildcards resolved."""
    for word in shown.words(text)[1:]:
        yield from (str(path.relative_to(folder)) for path in folder.glob(word)) if "*" in word else [word]


@pytest.mark.slow
def test_the_commands_that_are_run_end_well(laptop: Path, slq: Slq) -> None:
    ran = [command for command in COMMANDS if command.runs]
    assert len(ran) >= 21
    for command in ran:
        ended = slq(*_typed(command.text, laptop))
        assert ended.code == 0, f"{command}: {ended.err}"
    for made in (
        "figures/mine-lenet5-digits-tradeoff.pdf",
        "reports/mine.html",
        "tables/published/deep-compression.tex",
    ):
        assert (laptop / "results" / made).exists(), made
    packed, again = load_file(laptop / "network.safetensors"), load_file(laptop / "again.safetensors")
    assert all(torch.equal(packed[name], again[name]) for name in packed)


def test_the_tutorials_sweep_and_its_change_give_the_numbers_it_says(tmp_path: Path) -> None:
    first, more = shown.blocks(PAGES["tutorial.md"], "yaml")
    file = tmp_path / "mine.yaml"
    file.write_text(first)
    before = {trial.id for trial in load_sweep(file).trials}
    assert len(before) == 12
    file.write_text(first + more)
    after = {trial.id for trial in load_sweep(file).trials}
    assert before < after
    assert len(after) == 12 + 6
    quickstart = load_sweep(ROOT / "jobs" / "quickstart.yaml").trials
    assert {t.start_id for t in load_sweep(file).trials} == {t.start_id for t in quickstart}  # "share it"


def test_the_sweep_of_the_explanations_figures_is_the_quickstarts_cut_down() -> None:
    drawn = {trial.id for trial in load_sweep(ROOT / "docs" / "figures" / "slq-mlq.yaml").trials}
    assert len(drawn) == 6
    assert drawn <= {trial.id for trial in load_sweep(ROOT / "jobs" / "quickstart.yaml").trials}


# --- the code


def _python(page: str) -> dict[str, Any]:
    """The names that the page's first block of Python defines."""
    names: dict[str, Any] = {"__name__": "shown"}
    exec(compile(shown.blocks(PAGES[page], "python")[0], page, "exec", dont_inherit=True), names)
    return names


def test_the_method_quantizes() -> None:
    rounding = _python("howto/new-method.md")["Rounding"]
    layer = Layer.untouched(torch.tensor([-1.0, -0.6, 0.1, 0.4, 1.0]))
    rounding(bits=2).quantize(0, Net({"a": layer}, loss=lambda: 0.0, seed=0))
    assert layer.frozen.all()
    assert layer.weight.tolist() == [-1.0, -1.0, 0.0, 0.0, 1.0]


def test_the_network_has_the_layers_that_the_page_names() -> None:
    names = _python("howto/new-network.md")
    line = shown.blocks(PAGES["howto/new-network.md"], "python")[1].rstrip().rstrip(",")
    network = eval(line, {**names, "Network": Network})
    model = network.build(3, 8, 10)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    assert list(quantizable(model)) == ["fc1", "fc2"]


def test_the_data_set_loads_and_says_what_is_missing(tmp_path: Path) -> None:
    load = _python("howto/new-data.md")["load_letters"]
    (tmp_path / "letters").mkdir()
    for split, count in (("train", 5), ("test", 3)):
        images = np.full((count, 28, 28), 7, np.uint8)
        np.savez(tmp_path / "letters" / f"{split}.npz", images=images, labels=np.arange(count))
    loaded = load(tmp_path)
    assert isinstance(loaded["train"], Arrays)
    assert loaded["train"].images.shape == (5, 1, 28, 28)
    assert loaded["test"].labels.tolist() == [0, 1, 2]
    (tmp_path / "letters" / "test.npz").unlink()
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "letters" / "test.npz"))):
        load(tmp_path)
