"""Tables in Markdown whose cells may hold anything."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(text: str) -> str:
    """Plain text, kept from being read as Markdown or HTML; what stands in back quotes stays code."""
    parts = text.replace("\n", " ").split("`")
    plain = [_plain(part) if i % 2 == 0 else code(part) for i, part in enumerate(parts)]
    return "".join(plain)


def code(text: str) -> str:
    return "<code>" + text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;") + "</code>"


def _plain(text: str) -> str:
    for letter in "\\*_[]":
        text = text.replace(letter, f"\\{letter}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")
