"""What is wrong with a trial's settings, told in the words of the sweep file: line, offending value, what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from suite.config import Trial
from suite.errors import choices
from suite.yaml_lines import Block, line_of

MOST = 5  # mistakes shown at once
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def explain(path: Path, block: Block, error: ValidationError) -> list[str]:
    """A message for each of the first mistakes in the settings `block` of one trial."""
    # a default that depends on a wrong setting is no mistake of its own
    mistakes = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
    return [_one(path, block, each) for each in mistakes[:MOST]]


def _one(path: Path, block: Block, error: Any) -> str:
    """One pydantic error as `file:line: setting: what is wrong; what is allowed`."""
    location: tuple[str | int, ...] = error["loc"]
    # pydantic puts the tag of a union ("slq") between "method" and its field
    shown = tuple(step for i, step in enumerate(location) if not (i == 1 and location[0] == "method"))
    where, name, value = f"{path}:{line_of(block, shown)}", ".".join(map(str, shown)), error["input"]
    match error["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key {name!r}{choices(location[-1], _schema(location[:-1])['properties'])}"
        case "union_tag_invalid":
            tag = error["ctx"]["tag"]
            return f"{where}: {name}.name: unknown method {tag!r}{choices(tag, _methods())}"
        case "union_tag_not_found":
            return f"{where}: {name}.name is missing{choices('', _methods())}"
        case "missing":
            return f"{where}: {name} is missing; give it in the trial, the grid or the defaults"
        case "value_error":
            return f"{where}: {name + ': ' if name else ''}{error['ctx']['error']}"
        case _:
            return f"{where}: {name}: {value!r} is not possible{_allowed(_schema(location), value)}"


def _schema(location: tuple[str | int, ...]) -> dict[str, Any]:
    """The JSON schema of a trial at a pydantic location."""
    whole = Trial.model_json_schema()
    node: dict[str, Any] = whole
    for step in location:
        methods = node.get("discriminator", {}).get("mapping", {})
        if step in methods:
            node = {"$ref": methods[step]}
        elif isinstance(step, int):
            node = node["items"]
        else:
            node = node["properties"][step]
        if "$ref" in node:
            node = whole["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _methods() -> list[str]:
    return list(_schema(("method",))["discriminator"]["mapping"])


def _allowed(schema: dict[str, Any], value: object) -> str:
    return choices(value, schema["enum"]) if "enum" in schema else f"; it must be {_kind(schema)}"


def _kind(schema: dict[str, Any]) -> str:
    """What a JSON schema asks for, in words: "a whole number, at least 2 and at most 8"."""
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    match schema.get("type"):
        case "array":
            return f"a list, each item {_kind(schema['items'])}"
        case "integer" | "number" as kind:
            bounds = " and ".join(f"{word} {schema[key]:g}" for key, word in BOUNDS.items() if key in schema)
            return ("a whole number" if kind == "integer" else "a number") + (f", {bounds}" if bounds else "")
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "object":
            return f"a mapping of {', '.join(schema['properties'])}"
        case _:
            return "a mapping such as {name: slq, bits: 5}"
