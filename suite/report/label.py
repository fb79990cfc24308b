"""What the rows of a table are called: the method, and those settings that tell it from its neighbours."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
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
    rows = _gathered(settings)
    peers: dict[str, list[Settings]] = defaultdict(list)
    for title, row in zip(titles, rows, strict=True):
        peers[title].append(row)

    @cache  # else time grows with the square of the rows
    def usual(title: str, name: str, width: Any) -> Any:
        return _usual(name, width, peers[title])

    def label(title: str, row: Settings) -> str:
        width = row.get("method.bits")
        telling = [n for n in row if n not in _SHOWN_ELSEWHERE and row[n] != usual(title, n, width)]
        return ", ".join([title, *_phrases(telling, row)])

    return [label(title, row) for title, row in zip(titles, rows, strict=True)]


def _gathered(rows: Sequence[Settings]) -> list[dict[str, Any]]:
    """With the fractions kept as one setting: one number, or one for each layer, by layer where rows differ only in that; None
    without pruning."""
    layers: dict[tuple[Any, ...], set[tuple[str, ...]]] = defaultdict(set)
    for row in rows:
        kept = _by_layer(row)
        layers[tuple(kept.values())].add(tuple(kept))

    def one(row: Settings) -> Any:
        kept = _by_layer(row)
        if KEPT in kept or not kept:
            return kept.get(KEPT)
        return kept if len(layers[tuple(kept.values())]) > 1 else list(kept.values())

    return [{KEPT: one(row), **{n: row[n] for n in row if n != "prune" and not n.startswith(KEPT)}} for row in rows]


def _by_layer(row: Settings) -> dict[str, Any]:
    """The fractions kept by their settings' names: one for each layer, or one alone."""
    return {name: value for name, value in row.items() if name.startswith(KEPT)}


def _usual(name: str, width: Any, peers: Sequence[Settings]) -> Any:
    """The value of a setting that more than half of the peers that have it share, else None: that need be said only beside a
    value that most have.

    A method's list, such as the clusters of each stage, must differ at the same width.
    """
    by_width = name.startswith("method.") and any(isinstance(peer.get(name), list) for peer in peers)
    values = [peer[name] for peer in peers if name in peer and not (by_width and peer.get("method.bits") != width)]
    candidate, lead = None, 0
    for value in values:  # Boyer and Moore: only the last candidate can be a majority
        candidate = value if lead == 0 else candidate
        lead += 1 if value == candidate else -1
    return candidate if 2 * values.count(candidate) > len(values) else None


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
    if isinstance(value, dict):
        return f"{_kept(list(value.values()))} of {'/'.join(name.removeprefix(f'{KEPT}.') for name in value)}"
    fractions = value if isinstance(value, list) else [value]
    return f"{'/'.join(f'{100 * fraction:g}' for fraction in fractions)} % kept"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
