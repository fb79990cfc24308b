"""A sweep file: products of lists, plus explicit trials, minus exclusions, with defaults stated once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from suite.config import Trial, dotted
from suite.errors import UserError, choices
from suite.mistakes import explain
from suite.yaml_lines import Block, Items, load_yaml

KEYS = {
    "description": "what the sweep shows, and what it costs",
    "defaults": "settings of every trial",
    "grid": "list of products: each maps settings (dotted for inner ones: method.bits) to lists of values",
    "trials": "list of further trials, each a mapping of settings",
    "exclude": "list of conditions (setting, dotted for inner ones: value or list of values); "
    "a trial that meets all of one is left out",
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
    defaults = _nested(path, _mapping(path, top, "defaults"))
    blocks = [defaults.merged(block) for block in _settings(path, top)]
    wanted = _wanted(path, _mappings(path, top, "exclude"), blocks)
    if not wanted:
        raise UserError(f"{path}: the sweep has no trial; give a grid or trials")
    _refuse_twins(path, wanted)
    return Sweep(path.stem, _description(path, top), tuple(trial for _, trial in wanted))


def _description(path: Path, top: Block) -> str:
    value = top.get("description")
    if not isinstance(value, str | None):
        raise UserError(f"{path}:{top.lines['description']}: description must be a text: {KEYS['description']}")
    return (value or "").strip()


def _settings(path: Path, top: Block) -> Iterator[Block]:
    """The settings of each trial, before the defaults are put below them."""
    for product in _mappings(path, top, "grid"):
        for key, values in product.items():
            if not isinstance(values, Items) or not values:
                raise UserError(
                    f"{path}:{product.lines[key]}: grid: {key} needs a list of values, not {values!r}; one stands in brackets, too"
                )
        yield from _combinations(path, product)
    for block in _mappings(path, top, "trials"):
        yield _nested(path, block)


def _nested(path: Path, block: Block) -> Block:
    """The block with its dotted keys resolved: `method.bits: 5` becomes `method: {bits: 5}`."""
    result = Block.at(block.line)
    for key, value in block.items():
        _put(path, result, key, value, block.lines[key])
    return result


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
        raise UserError("\n".join(explain(path, block, error))) from None
    except UserError as error:
        raise UserError(f"{path}:{block.line}: {error}") from None


def _wanted(path: Path, conditions: list[Block], blocks: list[Block]) -> list[tuple[Block, Trial]]:
    """The trials that meet no condition. Conditions are tried before the settings are checked, too: they may be impossible."""
    unused = dict(enumerate(conditions))

    def excluded(settings: dict[str, Any]) -> bool:
        met = [number for number, condition in enumerate(conditions) if _meets(settings, condition)]
        for number in met:
            unused.pop(number, None)
        return bool(met)

    trials = [(block, _trial(path, block)) for block in blocks if not excluded(block)]
    wanted = [(block, trial) for block, trial in trials if not excluded(trial.config())]
    for condition in unused.values():
        raise _useless(path, condition, [trial for _, trial in trials])
    return wanted


def _useless(path: Path, condition: Block, trials: list[Trial]) -> UserError:
    settings = {key: None for trial in trials for key in dotted(trial.config())}
    for key in condition:
        if key not in settings:
            beside = [name for name in settings if name.startswith(key.partition(".")[0] + ".")] or settings
            return UserError(f"{path}:{condition.lines[key]}: exclude: unknown key {key!r}{choices(key, beside)}")
    return UserError(f"{path}:{condition.line}: exclude {dict(condition)} matches no trial; remove or correct it")


def _meets(config: dict[str, Any], condition: Block) -> bool:
    settings = dotted(config)
    return all(
        key in settings and settings[key] in (value if isinstance(value, list) else [value])
        for key, value in condition.items()
    )


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
    method = trial["properties"]["method"]
    method["anyOf"] = method.pop("oneOf")  # while its name stands elsewhere, options may fit several methods
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
        "defaults": partial,
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
