"""MkDocs hook: parts of pages that are made from the code, in place of lines like `<!-- made: commands -->`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from command_line import commands, overview
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from registries import data_sets, networks
from settings import methods, sweep

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"^<!-- made: (.+) -->$", re.MULTILINE)


def first_table(sweep_name: str) -> str:
    """The first table of a sweep, as last regenerated."""
    text = (ROOT / "results" / "tables" / f"{sweep_name}.md").read_text(encoding="utf-8")
    return next(part for part in text.split("\n\n") if part.startswith("|"))


MADE: dict[str, Callable[[], str]] = {
    "commands": commands,
    "overview of commands": overview,
    "sweep": sweep,
    "methods": methods,
    "networks": networks,
    "data sets": data_sets,
    "table quickstart": partial(first_table, "quickstart"),
}


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    def made(mark: re.Match[str]) -> str:
        if mark[1] not in MADE:
            raise PluginError(f"{page.file.src_uri}: nothing makes {mark[1]!r}; known: {', '.join(MADE)}")
        return MADE[mark[1]]()

    return MARK.sub(made, markdown)
