"""YAML files that are read strictly: a mistake is refused with file, line, key and the keys there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from suite.errors import UserError, choices
from suite.yaml_lines import Block, line_of, load_yaml

Location = tuple[int | str, ...]
Inner = Mapping[int | str, type[BaseModel]]  # key -> what stands below it


class Strict(BaseModel):
    """Unknown keys are errors, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnyStrict = TypeVar("AnyStrict", bound=Strict)


def dotted_only(conditions: dict[str, Any]) -> dict[str, Any]:
    """The conditions. Raises ValueError if one of them is nested."""
    for name, wanted in conditions.items():
        if isinstance(wanted, dict):
            raise ValueError(f"write {name!r} with dots: {name}.{next(iter(wanted), 'option')}")
    return conditions


def read_strictly(file: Path, model: type[AnyStrict], inner: Inner) -> tuple[AnyStrict, Block]:
    """The file's content, and the same with its lines.

    Raises:
        UserError: naming file, line, key and allowed keys.
    """
    content = load_yaml(file)
    try:
        return model.model_validate(content), content
    except ValidationError as error:
        mistakes: list[Any] = error.errors()
        # a mistyped key tells more than the lack of the right one
        first = next((mistake for mistake in mistakes if mistake["type"] == "extra_forbidden"), mistakes[0])
        text = _complaint(first, model, inner)
        raise UserError(f"{file}:{line_of(content, first['loc'])}: {text}") from None


def _complaint(error: Any, model: type[BaseModel], inner: Inner) -> str:
    """What is wrong, without the words of the validator where better ones are known."""
    location: Location = error["loc"]
    where = ".".join(str(step) for step in location) or "file"
    if error["type"] == "extra_forbidden":
        below = [inner[step] for step in location[:-1] if step in inner]
        return f"{where} is not a known key{choices(location[-1], (below[-1] if below else model).model_fields)}"
    given = "" if error["type"] == "missing" or isinstance(error["input"], dict) else f" (given: {error['input']!r})"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}{given}"
