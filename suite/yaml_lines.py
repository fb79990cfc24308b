"""YAML whose mappings and lists remember their lines, so that an error in a value can name the line it stands on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from suite.errors import UserError


class Block(dict[str, Any]):
    """A YAML mapping; `lines[key]` is the line of each key, `line` its own."""

    line: int
    lines: dict[str, int]

    @staticmethod
    def at(line: int) -> Block:
        block = Block()
        block.line, block.lines = line, {}
        return block

    def put(self, key: str, value: Any, line: int) -> None:
        self[key] = value
        self.lines[key] = line

    def merged(self, other: Block) -> Block:
        """This block overridden by `other`, nested mappings key by key."""
        result = Block.at(other.line)
        for source in (self, other):
            for key, value in source.items():
                mine = result.get(key)
                both = isinstance(mine, Block) and isinstance(value, Block)
                result.put(key, mine.merged(value) if both else value, source.lines[key])  # type: ignore[union-attr]
        return result


class Items(list[Any]):
    """A YAML list; `lines[i]` is the line of each item."""

    lines: list[int]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's floating-point numbers: PyYAML takes 1e-3 for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_yaml(path: Path) -> Block:
    """Read one YAML mapping. Raises `UserError` with the line for anything else, and for a key given twice."""
    try:
        node = yaml.compose(path.read_text(), Loader=_Loader)
    except FileNotFoundError:
        raise UserError(f"no file {path}; the sweeps that come with the suite are jobs/*.yaml") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not YAML: {error.problem}") from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}; name a YAML file, such as jobs/quickstart.yaml"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a YAML file: byte {error.start} is no text in UTF-8") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not a YAML file: {str(error).splitlines()[0]}") from None
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{path}:1: expected a mapping (key: value) at the top")
    block: Block = _construct(node, path)
    return block


def _construct(node: yaml.Node, path: Path) -> Any:
    line = node.start_mark.line + 1
    match node:
        case yaml.MappingNode():
            block = Block.at(line)
            for key, value in node.value:
                name, at = key.value, key.start_mark.line + 1
                if not isinstance(name, str):
                    raise UserError(f"{path}:{at}: a key must be a word; are there too many braces or brackets?")
                if name in block:
                    raise UserError(f"{path}:{at}: key {name!r} is given twice; remove one")
                block.put(name, _construct(value, path), at)
            return block
        case yaml.SequenceNode():
            items = Items(_construct(item, path) for item in node.value)
            items.lines = [item.start_mark.line + 1 for item in node.value]
            return items
        case _:
            return _scalar(node, path, line)


def _scalar(node: yaml.Node, path: Path, line: int) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:  # such as the 13th month of a date
        raise UserError(f"{path}:{line}: {error}") from None
    finally:
        loader.dispose()


def line_of(block: Any, location: tuple[str | int, ...]) -> int:
    """Line of the deepest part of `location` that exists."""
    line: int = getattr(block, "line", 1)
    for step in location:
        if isinstance(block, Block) and step in block.lines:
            line, block = block.lines[str(step)], block[str(step)]
        elif isinstance(block, Items) and isinstance(step, int) and step < len(block):
            line, block = block.lines[step], block[step]
    return line
