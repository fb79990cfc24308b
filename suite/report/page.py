"""HTML pages from the files in templates/: each is one file that needs nothing else, neither beside it nor from the network."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).parent / "templates"


def page(template: str, **values: Any) -> str:
    """The page that a template makes of these values, all of them escaped but `Markup`."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["to_notes"] = _to_notes
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def _to_notes(cell: str, name: str) -> Markup:
    """A cell whose marks, such as "[3]", lead to the notes of this name below the tables."""
    return Markup(re.sub(r"\[(\d+)\]", rf'<a href="#{name}-\1">[\1]</a>', str(escape(cell))))
