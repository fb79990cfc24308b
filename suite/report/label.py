"""What the rows of a table are called: the method, and those settings that tell it from its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Settings = Mapping[str, Any]

_SHOWN_ELSEWHERE = {"network", "data", "method.name", "method.bits"}


def row_labels(titles: Sequence[str], settings: Sequence[Settings]) -> list[str]:
    """One label per row, such as "SLQ, magnitude partition"; bits, network and data have their own places."""
    return [_label(title, row, _peers(title, titles, settings)) for title, row in zip(titles, settings, strict=True)]


def _peers(title: str, titles: Sequence[str], settings: Sequence[Settings]) -> list[Settings]:
    return [row for other, row in zip(titles, settings, strict=True) if other == title]


def _label(title: str, row: Settings, peers: Sequence[Settings]) -> str:
    telling = [name for name in row if name not in _SHOWN_ELSEWHERE and _tells(name, row, peers)]
    return ", ".join([title, *(in_words(name, row[name]) for name in telling)])


def _tells(name: str, row: Settings, peers: Sequence[Settings]) -> bool:
    """Whether a setting differs between peers. A list, such as the clusters of each stage, must differ at the same width."""
    width = row.get("method.bits")
    others = [peer for peer in peers if not isinstance(row[name], list) or peer.get("method.bits") == width]
    return any(peer.get(name) != row[name] for peer in others)


def in_words(name: str, value: Any) -> str:
    """A setting as people say it: "magnitude partition", "retrain epochs 4", "no compensation"."""
    noun = name.removeprefix("method.").replace(".", " ").replace("_", " ")
    match value:
        case None:
            return f"default {noun}"
        case bool():
            return noun if value else f"no {noun}"
        case str():
            return f"{value} {noun}"
        case list():
            return f"{noun} {'/'.join(f'{part:g}' for part in value)}"
        case _:
            return f"{noun} {value:g}"
