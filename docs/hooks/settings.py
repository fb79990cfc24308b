"""The reference of sweep files and of methods' options, from the JSON schema that `slq schema` prints."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any, get_args

from markdown_table import cell, code, table

from suite.config import Trial
from suite.methods import AnyMethod, Method
from suite.sweep import sweep_schema

HEAD = ["setting", "allowed", "default", "what"]
MODELS = ("Baseline", "Prune", "Retrain", "Runtime")  # settings of a trial that have settings of their own
ELSEWHERE = {
    "network": "See [networks](networks.md#networks).",
    "data": "See [data sets](networks.md#data-sets).",
    "method": "What quantizes the network. See [methods](methods.md).",
}
METHODS: tuple[type[Method], ...] = get_args(get_args(AnyMethod)[0])


def sweep() -> str:
    """The keys of a sweep file, then the settings of a trial, then their parts."""
    keys = [[code(key), cell(shape["description"])] for key, shape in sweep_schema()["properties"].items()]
    trial = Trial.model_json_schema()
    parts = ["## The file", table(["key", "what"], keys), "## A trial", _table(trial)]
    for name in MODELS:
        model = trial["$defs"][name]
        parts += [f"## {name.lower()} {{ #{name.lower()} }}", cell(model["description"]), _table(model)]
    return "\n\n".join(parts)


def methods() -> str:
    """Each method: its source and deviations from its file, and its options."""
    return "\n\n".join(map(_method, METHODS))


def _method(method: type[Method]) -> str:
    schema = method.model_json_schema()
    name = schema["properties"]["name"]["const"]
    module = sys.modules[method.__module__]
    file = module.__name__.replace(".", "/") + ".py"
    parts = [f"## {name} {{ #{name} }}", _prose(method.__doc__ or ""), _prose(module.__doc__ or "")]
    parts.append(f"[{file}](../../{file})")
    options = {key: field for key, field in schema["properties"].items() if key != "name"}
    if options:
        parts.append(_table(schema | {"properties": options}))
    return "\n\n".join(parts)


def _prose(docstring: str) -> str:
    return "\n\n".join(cell(part) for part in inspect.cleandoc(docstring).split("\n\n"))


def _table(model: dict[str, Any]) -> str:
    required = model.get("required", [])
    rows = [
        [
            code(name),
            _allowed(field, model),
            "required" if name in required else _default(field),
            _what(name, field, model),
        ]
        for name, field in model["properties"].items()
    ]
    return table(HEAD, rows)


def _what(name: str, field: dict[str, Any], model: dict[str, Any]) -> str:
    """Its own description, a link to where it is described, or the description of the settings that it holds."""
    if "description" in field or name in ELSEWHERE:
        return cell(field["description"]) if "description" in field else ELSEWHERE[name]
    inner = [shape["$ref"].rpartition("/")[2] for shape in [field, *field.get("anyOf", [])] if "$ref" in shape]
    return cell(model["$defs"][inner[0]]["description"]) if inner else ""


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "as the other options say"
    if "$ref" in field:
        return "its own defaults"
    return code(json.dumps(field["default"]))


def _allowed(field: dict[str, Any], model: dict[str, Any]) -> str:
    if "discriminator" in field:
        return "a mapping: the method's name, and its options"
    if "$ref" in field:
        return _inner(field["$ref"].rpartition("/")[2], model)
    if "anyOf" in field:
        return " or ".join(_allowed(shape, model) for shape in field["anyOf"])
    if "enum" in field:
        return ", ".join(code(str(value)) for value in field["enum"])
    if "const" in field:
        return code(str(field["const"]))
    match field["type"]:
        case "array" if "prefixItems" in field:
            return "list: " + "; ".join(_allowed(item, model) for item in field["prefixItems"])
        case "array":
            return "list: " + _allowed(field["items"], model)
        case "object":
            return "mapping of names to: " + _allowed(field["additionalProperties"], model)
        case "integer":
            return "whole number" + _bounds(field)
        case "null":
            return code("null")
        case kind:
            return {"boolean": "true, false", "string": "text"}.get(kind, kind) + _bounds(field)


def _inner(name: str, model: dict[str, Any]) -> str:
    if name in MODELS:
        return f"[settings of its own](#{name.lower()})"
    options = model["$defs"][name]["properties"]
    return "{" + "; ".join(f"{code(key)}: {_allowed(field, model)}" for key, field in options.items()) + "}"


def _bounds(field: dict[str, Any]) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return "".join(f", {word} {field[key]}" for key, word in words.items() if key in field)
