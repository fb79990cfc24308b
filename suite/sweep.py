"""A sweep file: products of lists, plus explicit trials, minus exclusions, with defaults stated once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from suite.config import Trial
from suite.errors import UserError, choices
from suite.yaml_lines import Block, Items, line_of, load_yaml

KEYS = {
    "description": "what the sweep shows, and what it costs",
    "defaults": "settings of every trial",
    "grid": "list of products: each maps settings (dotted for inner ones: method.bits) to lists of values",
    "trials": "list of further trials, each a mapping of settings",
    "exclude": "list of conditions (setting: value or list of values); a trial that meets all of one is left out",
}


@dataclass(frozen=True)
class Sweep:
    """All trials of a sweep file, in the order of the file; the file's name without ending is the sweep's name."""

    name: str
    description: str
    trials: tuple[Trial, ...]


def load_sweep(path: Path) -> Sweep:
    """Read and check a sweep file.

    Raises:
        UserError: naming the line, the allowed values and the nearest name, for whatever is wrong with the file.
    """
    top = load_yaml(path)
    for key in top:
        if key not in KEYS:
            raise UserError(f"{path}:{top.lines[key]}: unknown key {key!r}{choices(key, KEYS)}")
    defaults = _mapping(path, top, "defaults")
    blocks = [defaults.merged(block) for block in _settings(path, top)]
    wanted = _exclude(path, top, [(block, _trial(path, block)) for block in blocks])
    if not wanted:
        raise UserError(f"{path}: the sweep has no trial; give a grid or trials")
    _refuse_twins(path, wanted)
    return Sweep(path.stem, str(top.get("description", "")).strip(), tuple(trial for _, trial in wanted))


def _settings(path: Path, top: Block) -> Iterator[Block]:
    """The settings of each trial, before the defaults are put below them."""
    for product in _mappings(path, top, "grid"):
        for key, values in product.items():
            if not isinstance(values, Items) or not values:
                raise UserError(f"{path}:{product.lines[key]}: grid: {key} needs a list of values, such as [{values}]")
        yield from _combinations(path, product)
    for block in _mappings(path, top, "trials"):
        trial = Block.at(block.line)
        for key, value in block.items():
            _put(path, trial, key, value, block.lines[key])
        yield trial


def _combinations(path: Path, product: Block) -> Iterator[Block]:
    keys = list(product)
    for choice in itertools.product(*(range(len(product[key])) for key in keys)):
        block = Block.at(product.line)
        for key, i in zip(keys, choice, strict=True):
            _put(path, block, key, product[key][i], product[key].lines[i])
        yield block


def _put(path: Path, block: Block, dotted: str, value: Any, line: int) -> None:
    """Set `a.b` inside the nested block `a`, without changing blocks that other trials share."""
    key, _, rest = dotted.partition(".")
    if not rest:
        inner = block.get(key)
        both = isinstance(inner, Block) and isinstance(value, Block)
        block.put(key, inner.merged(value) if both else value, line)  # type: ignore[union-attr]
        return
    inner = block.get(key, Block.at(line))
    if not isinstance(inner, Block):
        raise UserError(f"{path}:{line}: {dotted} sets a part of {key!r}, which is {inner!r} and has no parts")
    copy = Block.at(line).merged(inner)
    _put(path, copy, rest, value, line)
    block.put(key, copy, line)


def _trial(path: Path, block: Block) -> Trial:
    try:
        return Trial.model_validate(block)
    except ValidationError as error:
        raise UserError("\n".join(_explain(path, block, dict(e)) for e in error.errors()[:5])) from None
    except UserError as error:
        raise UserError(f"{path}:{block.line}: {error}") from None


def _explain(path: Path, block: Block, error: dict[str, Any]) -> str:
    """One pydantic error as `file:line: setting: what is wrong; what is allowed`."""
    location: tuple[str | int, ...] = error["loc"]
    # pydantic puts the tag of a union ("slq") between "method" and its field
    shown = tuple(step for i, step in enumerate(location) if not (i == 1 and location[0] == "method"))
    where, name = f"{path}:{line_of(block, shown)}", ".".join(map(str, shown))
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            key = str(location[-1])
            return f"{where}: unknown key {name!r}{choices(key, _fields(location))}"
        case "literal_error":
            allowed = [part.strip("' ") for part in context["expected"].replace(" or ", ", ").split(", ")]
            return f"{where}: {name}: {error['input']!r} is not possible{choices(error['input'], allowed)}"
        case "union_tag_invalid":
            allowed = [tag.strip("'") for tag in context["expected_tags"].split(", ")]
            return f"{where}: {name}.name: unknown method {context['tag']!r}{choices(context['tag'], allowed)}"
        case "missing":
            return f"{where}: {name} is missing; give it in the trial, the grid or the defaults"
        case "value_error":
            return f"{where}: {name + ': ' if name else ''}{context['error']}"
        case _:
            return f"{where}: {name}: {error['msg']} (got {error['input']!r})"


def _fields(location: tuple[str | int, ...]) -> list[str]:
    """The keys allowed beside the last step of a pydantic location."""
    schema = Trial.model_json_schema()
    definitions, node = schema["$defs"], schema
    for step in location[:-1]:
        mapping = node.get("discriminator", {}).get("mapping", {})
        node = {"$ref": mapping[step]} if step in mapping else node.get("properties", {}).get(step, {})
        reference = node.get("$ref", "") or next((part["$ref"] for part in node.get("allOf", [])), "")
        node = definitions[reference.rpartition("/")[2]] if reference else node
    return list(node.get("properties", {}))


def _exclude(path: Path, top: Block, trials: list[tuple[Block, Trial]]) -> list[tuple[Block, Trial]]:
    for condition in _mappings(path, top, "exclude"):
        kept = [pair for pair in trials if not _meets(pair[1].config(), condition)]
        if len(kept) == len(trials):
            raise UserError(
                f"{path}:{condition.line}: exclude {dict(condition)} matches no trial; remove or correct it"
            )
        trials = kept
    return trials


def _meets(config: dict[str, Any], condition: Block) -> bool:
    return all(
        _value(config, key) in (value if isinstance(value, list) else [value]) for key, value in condition.items()
    )


def _value(config: Any, dotted: str) -> Any:
    for step in dotted.split("."):
        config = config.get(step) if isinstance(config, dict) else None
    return config


def _refuse_twins(path: Path, trials: list[tuple[Block, Trial]]) -> None:
    seen: dict[str, int] = {}
    for block, trial in trials:
        if trial.id in seen:
            raise UserError(
                f"{path}:{block.line}: {trial.label} is the same trial as the one of line {seen[trial.id]}; remove one"
            )
        seen[trial.id] = block.line


def _mapping(path: Path, top: Block, key: str) -> Block:
    value = top.get(key, Block.at(1))
    if not isinstance(value, Block):
        raise UserError(f"{path}:{top.lines[key]}: {key} must be a mapping: {KEYS[key]}")
    return value


def _mappings(path: Path, top: Block, key: str) -> list[Block]:
    value = top.get(key, Items())
    if not isinstance(value, Items) or not all(isinstance(item, Block) for item in value):
        raise UserError(f"{path}:{top.lines[key]}: {key} must be a list of mappings: {KEYS[key]}")
    return list(value)


def sweep_schema() -> dict[str, Any]:
    """JSON schema of a sweep file, for editors. Settings may be split over defaults, grid and trials: none is required there."""
    trial = Trial.model_json_schema()
    definitions = {name: _without_required(model) for name, model in trial.pop("$defs").items()}
    dotted: dict[str, Any] = {r"^[a-z_]+\..+$": {}}
    partial = {**_without_required(trial), "patternProperties": dotted}
    lists = {name: {"type": "array", "items": field} for name, field in trial["properties"].items()}
    product = {
        "type": "object",
        "properties": lists,
        "patternProperties": {key: {"type": "array"} for key in dotted},
        "additionalProperties": False,
    }
    shapes: dict[str, dict[str, Any]] = {
        "description": {"type": "string"},
        "defaults": _without_required(trial),
        "grid": {"type": "array", "items": product},
        "trials": {"type": "array", "items": partial},
        "exclude": {"type": "array", "items": {"type": "object"}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sweep",
        "type": "object",
        "properties": {key: {**shape, "description": KEYS[key]} for key, shape in shapes.items()},
        "additionalProperties": False,
        "$defs": definitions,
    }


def _without_required(model: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != "required"}
