"""What a spec may put conditions on: the settings of trials, by their dotted names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from suite.config import NOT_IDENTITY, Trial

OWN_KEYS = ("network", "data", "method", "bits")  # as in results/reference; all other settings have dotted names
AVERAGED = "seed"
METHODS: tuple[str, ...] = tuple(Trial.model_json_schema()["properties"]["method"]["discriminator"]["mapping"])


@cache
def names(method: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The settings that a trial of this method can have, of any method without one; and those whose parts have names of their own,
    such as `prune.kept`, whose parts are layers."""
    schema = Trial.model_json_schema()
    found = dict(_walk("", schema, schema["$defs"], method))
    wanted = {name: is_open for name, is_open in found.items() if _decides(name)}
    return (*OWN_KEYS, *wanted), tuple(name for name, is_open in wanted.items() if is_open)


def is_setting(name: str, method: str = "") -> bool:
    """Also of a group of settings, such as `prune`, and of a part of one, such as `prune.kept.conv1`."""
    known, with_parts = names(method)
    is_group = any(other.startswith(f"{name}.") for other in known)
    return name in known or is_group or any(name.startswith(f"{other}.") for other in with_parts)


def _decides(name: str) -> bool:
    top = name.partition(".")[0]
    return (
        name.rpartition(".")[2] != AVERAGED
        and top not in NOT_IDENTITY
        and name not in ("method.name", "method.bits", *OWN_KEYS)
    )


def _walk(
    prefix: str, node: Mapping[str, Any], definitions: Mapping[str, Any], method: str
) -> Iterator[tuple[str, bool]]:
    """Every property of a JSON schema by its path, and whether it may have parts that the schema does not name."""
    for key, value in node.get("properties", {}).items():
        shapes = [_resolved(shape, definitions) for shape in _shapes(value, method)]
        inner = [pair for shape in shapes for pair in _walk(f"{prefix}{key}.", shape, definitions, method)]
        yield from inner or [
            (prefix + key, any("additionalProperties" in shape and not shape.get("properties") for shape in shapes))
        ]


def _shapes(node: Mapping[str, Any], method: str) -> list[Mapping[str, Any]]:
    """What a value may look like; of methods, the one that is asked for."""
    by_method = node.get("discriminator", {}).get("mapping", {})
    if by_method:
        return [{"$ref": reference} for name, reference in by_method.items() if method in ("", name)]
    return list(node.get("anyOf", [node]))


def _resolved(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    return found
