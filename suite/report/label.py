"""What the rows of a table are called: the method, and those settings that tell it from its neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Settings = Mapping[str, Any]

KEPT = "prune.kept"
_SHOWN_ELSEWHERE = {"network", "data", "method.name", "method.bits"}
_BARE = {"method.kind"}  # settings whose value says it all
_PHRASES = {
    ("method.curvature", "none"): "unweighted",
    ("method.tune", "none"): "centres not trained",
    ("method.tune", "sum"): "centres trained by sums",
    ("method.tune", "mean"): "centres trained by means",
}


def row_labels(titles: Sequence[str], settings: Sequence[Settings]) -> list[str]:
    """One label per row, such as "SLQ, magnitude partition"; bits, network and data have their own places.

    Rows of a method that differ have different labels or widths. What more than half of them have in common goes without saying.
    """
    rows = [_gathered(row) for row in settings]
    return [_label(title, row, _peers(title, titles, rows)) for title, row in zip(titles, rows, strict=True)]


def _gathered(row: Settings) -> dict[str, Any]:
    """With the fractions kept, which may be one number or one for each layer, as one setting; None without pruning."""
    by_layer = [value for name, value in row.items() if name.startswith(f"{KEPT}.")]
    rest = {name: value for name, value in row.items() if name != "prune" and not name.startswith(KEPT)}
    return {KEPT: by_layer or row.get(KEPT), **rest}


def _peers(title: str, titles: Sequence[str], rows: Sequence[Settings]) -> list[Settings]:
    return [row for other, row in zip(titles, rows, strict=True) if other == title]


def _label(title: str, row: Settings, peers: Sequence[Settings]) -> str:
    telling = [name for name in row if name not in _SHOWN_ELSEWHERE and _tells(name, row, peers)]
    return ", ".join([title, *_phrases(telling, row)])


def _tells(name: str, row: Settings, peers: Sequence[Settings]) -> bool:
    """Whether a setting differs between the peers that have it, and is not what most have. None need be said only beside a
    value that most have.

    A method's list, such as the clusters of each stage, must differ at the same width.
    """
    by_width = name.startswith("method.") and any(isinstance(peer.get(name), list) for peer in peers)
    width = row.get("method.bits")
    values = [peer[name] for peer in peers if name in peer and not (by_width and peer.get("method.bits") != width)]
    usual = next((value for value in values if 2 * values.count(value) > len(values)), None)
    return bool(row[name] != usual)


def _phrases(names: Sequence[str], row: Settings) -> Iterator[str]:
    """Several settings of one part of a trial stand together: "retrain (epochs 5, learning rate 0.001)"."""
    for part, group in itertools.groupby(names, key=_part):
        together = list(group)
        if part and len(together) > 1:
            yield f"{part} ({', '.join(in_words(name.removeprefix(f'{part}.'), row[name]) for name in together)})"
        else:
            yield from (in_words(name, row[name]) for name in together)


def _part(name: str) -> str:
    part, dot, _ = name.partition(".")
    return part if dot and part != "method" and name != KEPT else ""


def in_words(name: str, value: Any) -> str:
    """A setting as people say it: "magnitude partition", "retrain epochs 4", "no compensation"."""
    if name == KEPT:
        return _kept(value)
    if name in _BARE:
        return str(value)
    if isinstance(value, str) and (name, value) in _PHRASES:
        return _PHRASES[name, value]
    noun = name.removeprefix("method.").replace(".", " ").replace("_", " ")
    match value:
        case None:
            return f"default {noun}"
        case bool():
            return noun if value else f"no {noun}"
        case "none":
            return f"no {noun}"
        case str():
            return f"{value} {noun}"
        case list():
            return f"{noun} {'/'.join(map(_plain, value))}"
        case _:
            return f"{noun} {_plain(value)}"


def _kept(value: Any) -> str:
    if value is None:
        return "not pruned"
    fractions = value if isinstance(value, list) else [value]
    return f"{'/'.join(f'{100 * fraction:g}' for fraction in fractions)} % kept"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
