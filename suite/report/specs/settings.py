"""What a spec may put conditions on: the settings of trials, by their dotted names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from suite.config import NOT_IDENTITY, Trial

OWN_KEYS = ("network", "data", "method", "bits")  # as in results/reference; all other settings have dotted names
AVERAGED = "seed"
METHODS: tuple[str, ...] = tuple(Trial.model_json_schema()["properties"]["method"]["discriminator"]["mapping"])


Shape = Mapping[str, Any]  # a JSON schema


@cache
def names(method: str = "") -> tuple[str, ...]:
    """The settings that a trial of this method can have, of any method without one."""
    return tuple(dict.fromkeys((*OWN_KEYS, *_settings(method))))


def is_setting(name: str, method: str = "") -> bool:
    """Also of a group of settings, such as `prune`, and of a part of one, such as `prune.kept.conv1`."""
    known = names(method)
    is_group = any(other.startswith(f"{name}.") for other in known)
    with_parts = (other for other, shapes in _settings(method).items() if any(map(_has_parts, shapes)))
    return name in known or is_group or any(name.startswith(f"{other}.") for other in with_parts)


def can_be(name: str, value: object, method: str = "") -> bool:
    """Whether that setting can have that value; so can all of which the schema says nothing, and nothing is a value for all."""
    shapes = _settings(method).get(name, ())
    return not shapes or value is None or any(_is_shaped(value, shape) for shape in shapes)


def alternatives(name: str, wanted: object, method: str = "") -> list[object]:
    """The values that a condition allows: one, or each of a list. A list that the setting itself can be is one value."""
    if not isinstance(wanted, list) or can_be(name, wanted, method):
        return [wanted]
    shapes = _settings(method).get(name, ())
    is_list = bool(shapes) and all(shape.get("type") == "array" for shape in shapes)
    return [wanted] if is_list and not any(isinstance(value, list) for value in wanted) else wanted


def values(name: str, method: str = "") -> list[object]:
    """What a setting can be: its values, or the types of them."""
    shapes = _settings(method).get(name, ())
    return list(dict.fromkeys(value for shape in shapes for value in _enumerated(shape) or [_type(shape)]))


def _type(shape: Shape) -> str:
    of = shape.get("items", {}).get("type")
    return f"{shape.get('type', 'anything')}{f' of {of}' if of else ''}"


@cache
def _settings(method: str) -> dict[str, tuple[Shape, ...]]:
    """The names of all settings whose values the schema describes, and what these may look like."""
    schema = Trial.model_json_schema()
    found: dict[str, tuple[Shape, ...]] = {}
    for path, shape in _walk("", schema, schema["$defs"], method):
        name = "bits" if path == "method.bits" else path
        if name == "bits" or _decides(name):
            found[name] = (*found.get(name, ()), shape)
    return found


def _has_parts(shape: Shape) -> bool:
    """Whether it may have parts that the schema does not name, such as `prune.kept`, whose parts are layers."""
    return "additionalProperties" in shape and not shape.get("properties")


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
    "null": type(None),
    "array": list,
    "object": dict,
}


def _is_shaped(value: object, shape: Shape) -> bool:
    if enumerated := _enumerated(shape):
        return value in enumerated
    kind = shape.get("type", "")
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    if kind == "array" and isinstance(value, list):
        return all(_is_shaped(item, shape.get("items", {})) for item in value)
    return kind not in _TYPES or (isinstance(value, _TYPES[kind]) and isinstance(value, bool) is (kind == "boolean"))


def _enumerated(shape: Shape) -> list[object]:
    return [shape["const"]] if "const" in shape else shape.get("enum", [])


def _decides(name: str) -> bool:
    top = name.partition(".")[0]
    return name.rpartition(".")[2] != AVERAGED and top not in NOT_IDENTITY and name not in ("method.name", *OWN_KEYS)


def _walk(prefix: str, node: Shape, definitions: Mapping[str, Any], method: str) -> Iterator[tuple[str, Shape]]:
    """Every property of a JSON schema by its path, once for each look that its values may have."""
    for key, value in node.get("properties", {}).items():
        shapes = [_resolved(shape, definitions) for shape in _shapes(value, method)]
        inner = [pair for shape in shapes for pair in _walk(f"{prefix}{key}.", shape, definitions, method)]
        yield from inner or [(prefix + key, shape) for shape in shapes]


def _shapes(node: Shape, method: str) -> list[Shape]:
    """What a value may look like; of methods, the one that is asked for."""
    by_method = node.get("discriminator", {}).get("mapping", {})
    if by_method:
        return [{"$ref": reference} for name, reference in by_method.items() if method in ("", name)]
    return list(node.get("anyOf", [node]))


def _resolved(node: Shape, definitions: Mapping[str, Any]) -> Shape:
    found: Shape = definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    return found
