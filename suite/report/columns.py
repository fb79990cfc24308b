"""Tables that are too wide: their columns in parts, one below the other."""

from __future__ import annotations

from collections.abc import Mapping


def in_parts(widths: Mapping[str, float], room: float) -> list[list[str]]:
    """Names of columns, in their order, in parts that fit `room`; each begins with the first two, which say what a row is."""
    first, others = list(widths)[:2], list(widths)[2:]
    parts: list[list[str]] = [[*first]]
    for name in others:
        if len(parts[-1]) > len(first) and sum(widths[n] for n in [*parts[-1], name]) > room:
            parts.append([*first])
        parts[-1].append(name)
    return parts
