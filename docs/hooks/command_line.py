"""The reference of the command line, from the application itself."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from markdown_table import cell, code, table
from typer import Typer
from typer.main import get_command

from suite.cli import app

KINDS = {Path: "path", str: "text", int: "whole number", float: "number"}


@dataclass(frozen=True)
class Command:
    """A command by its whole name, as the parser and as Python know it."""

    name: str
    parsed: Any  # of click, which typer brings along or not
    function: Callable[..., None]


def all_commands() -> Iterator[Command]:
    """In the order of `slq --help`."""
    group = get_command(app)
    functions = dict(_functions(app, ""))
    for name, parsed in group.commands.items():  # type: ignore[attr-defined]
        for inner, single in getattr(parsed, "commands", {"": parsed}).items():
            whole = f"{name} {inner}".strip()
            yield Command(whole, single, functions[whole])


def _functions(application: Typer, prefix: str) -> Iterator[tuple[str, Callable[..., None]]]:
    for command in application.registered_commands:
        assert command.callback is not None
        yield prefix + (command.name or command.callback.__name__), command.callback
    for group in application.registered_groups:
        assert group.typer_instance is not None
        yield from _functions(group.typer_instance, f"{group.name} ")


def overview() -> str:
    """A line for each command."""
    rows = [
        [f"[{code(f'slq {command.name}')}](#{_anchor(command)})", cell(command.parsed.help.split("\n\n")[0])]
        for command in all_commands()
    ]
    return table(["command", "what it does"], rows)


def commands() -> str:
    """Each command with its arguments and options."""
    return "\n\n".join(map(_section, all_commands()))


def _anchor(command: Command) -> str:
    return "slq-" + command.name.replace(" ", "-")


def _section(command: Command) -> str:
    hints = get_type_hints(command.function, include_extras=True)
    arguments = [p for p in command.parsed.params if not p.opts[0].startswith("-")]
    options = [p for p in command.parsed.params if p.opts[0].startswith("-")]
    names = " ".join(_argument(p) for p in arguments)
    usage = f"slq {command.name} {names}".rstrip() + (" [OPTIONS]" if options else "")
    rows = [[code(_argument(p)), "", "", cell(p.help or "")] for p in arguments]
    rows += [_option(p, hints[p.name]) for p in options]
    parts = [f"## slq {command.name} {{ #{_anchor(command)} }}", command.parsed.help, f"```text\n{usage}\n```"]
    return "\n\n".join([*parts, table(["argument or option", "takes", "default", "what"], rows)] if rows else parts)


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any, hint: Any) -> list[str]:
    repeatable = ", repeatable" if parameter.multiple else ""
    variable = f" Environment: {code(parameter.envvar)}." if parameter.envvar else ""
    needed = "required" if parameter.required else _default(parameter)
    return [
        ", ".join(map(code, parameter.opts)),
        "" if parameter.is_flag else f"{_kind(hint)}{_bounds(hint)}{repeatable}",
        needed,
        cell(parameter.help or "") + variable,
    ]


def _default(parameter: Any) -> str:
    return "" if parameter.is_flag or parameter.default in (None, ()) else code(str(parameter.default))


def _kind(hint: Any) -> str:
    """What an option takes, in words."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _kind(get_args(hint)[0])
    if origin in (types.UnionType, Union):
        return _kind(next(kind for kind in get_args(hint) if kind is not type(None)))
    if origin is list:
        return _kind(get_args(hint)[0])
    if origin is Literal:
        return ", ".join(map(code, get_args(hint)))
    return KINDS[hint]


def _bounds(hint: Any) -> str:
    info = get_args(hint)[1]
    least, most = getattr(info, "min", None), getattr(info, "max", None)
    return (f", at least {least}" if least is not None else "") + (f", at most {most}" if most is not None else "")
