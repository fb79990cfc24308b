"""MkDocs hook: docs/compare.ipynb as a page, with the outputs that are stored in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

NOTEBOOK = Path(__file__).parents[1] / "compare.ipynb"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    files.append(File.generated(config, "compare.md", content="\n\n".join(map(_cell, cells))))
    return files


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([f"```python\n{source}\n```", *map(_output, cell["outputs"])])


def _output(output: dict[str, Any]) -> str:
    """The richest form of it: a picture, a table, or text."""
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="the figure that this code draws" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/html" in data:
        return '<div class="frame">' + "".join(data["text/html"]).replace("\n\n", "\n") + "</div>"
    return f"```text\n{''.join(data.get('text/plain', output.get('text', ''))).rstrip()}\n```"
