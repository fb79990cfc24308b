"""Commands that the README and the pages of the documentation show: found, and judged without running them.

Commands stand in blocks of ```console, a command a line, or in `back quotes` in the text. Blocks of other languages hold none, and
blocks that are only indented are not allowed, so that no command is overlooked.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from typer.main import get_command

from suite.cli import app

ROOT = Path(__file__).parents[1]
RUN = "<!-- run by the tests -->"  # on the line before a block
LANGUAGES = {"console", "text", "python", "yaml", "mermaid"}
INDENTED = {"format.md": "formulas"}  # pages whose indented blocks are something else
STAND_INS = {"N": "2", "K": "16", "SHARE": "0.5"}  # in place of numbers
CHECKED_ELSEWHERE = {  # programs of which no test knows the options
    "mlflow": "tests/track/test_model.py runs it",
}
HARMLESS = {"export", "source"}  # of the shell

CONSOLE = re.compile(r"```(?P<language>\S*)[^\n]*\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"(?<!`)`((?:slq|make|slurm/dev-cluster) [^`\n]+|--[a-z][^`\n]*)`(?!`)")
VARIABLE = re.compile(r"^[A-Z_]+=")


@dataclass(frozen=True)
class Shown:
    """A command line on a page."""

    page: str
    text: str
    runs: bool = False

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def pages() -> dict[str, str]:
    """The README and every page of the documentation: text by name."""
    docs = ROOT / "docs"
    found = {str(file.relative_to(docs)): file.read_text() for file in sorted(docs.rglob("*.md"))}
    return {"README.md": (ROOT / "README.md").read_text(), **found}


def blocks(text: str, language: str) -> list[str]:
    """What stands in the blocks of a language."""
    return [block["body"] for block in CONSOLE.finditer(text) if block["language"] == language]


def commands() -> Iterator[Shown]:
    """Every line of every block of commands."""
    for page, text in pages().items():
        for block in CONSOLE.finditer(text):
            if block["language"] == "console":
                runs = text[: block.start()].rstrip("\n").endswith(RUN)
                lines = (line.strip() for line in block["body"].splitlines())
                yield from (Shown(page, line, runs) for line in lines if line and not line.startswith("#"))


def mentioned() -> Iterator[Shown]:
    """Commands and options in the text, outside of blocks."""
    for page, text in pages().items():
        yield from (Shown(page, span) for span in SPAN.findall(CONSOLE.sub("", text)))


def words(text: str) -> list[str]:
    """A command line as the shell would split it, without comment, redirection and settings of the environment."""
    split = shlex.split(text, comments=True)
    if ">" in split:
        split = split[: split.index(">")]
    while split and VARIABLE.match(split[0]):
        split.pop(0)
    return split


def complaint(text: str) -> str:
    """Why the command cannot be right; "" if nothing is known against it."""
    program, *arguments = words(text) or ["export"]
    match program.rpartition("/")[2]:
        case "slq":
            return _slq(arguments)
        case "make":
            return _make(arguments)
        case "dev-cluster":
            return (
                "" if re.search(rf"^    {arguments[0]}\)", _text("slurm/dev-cluster"), re.MULTILINE) else "no such verb"
            )
        case "pytest" | "cp" | "cd":
            lost = [path for path in arguments if "/" in path and not (ROOT / path).parent.is_dir()]
            return f"no folder for {lost[0]}" if lost else ""
        case "python" if arguments[0] == "-m":
            module = arguments[1].replace(".", "/") + ".py"
            return "" if (ROOT / module).exists() else f"no module {module}"
        case "python":
            return "" if (ROOT / arguments[0]).exists() else f"no file {arguments[0]}"
        case name if name in CHECKED_ELSEWHERE or name in HARMLESS:
            return ""
        case name:
            return f"nothing checks {name!r}; say in tests/shown.py how, or why not"


def _slq(arguments: list[str]) -> str:
    """Parsed by the application itself, and not carried out."""
    command, rest = find(arguments)
    if command is None:
        return f"no command {' '.join(arguments[:2])!r}"
    try:
        command.make_context("slq", [STAND_INS.get(argument, argument) for argument in rest])
    except Exception as error:  # of click, which typer may bring along
        return str(error) or type(error).__name__
    return ""


@cache
def _application() -> Any:
    return get_command(app)


def find(arguments: list[str]) -> tuple[Any, list[str]]:
    """The command of `slq` that is named, None if there is none, and what follows its name."""
    command = _application()
    rest = list(arguments)
    while rest and hasattr(command, "commands"):
        command = command.commands.get(rest.pop(0))
    return (None if hasattr(command, "commands") else command), rest


def options_of(command: Any) -> set[str]:
    """Its options, "--workers" and the like; of those that come with a "--no-", the first."""
    return {option for parameter in command.params for option in parameter.opts if option.startswith("-")}


def all_options() -> set[str]:
    """Options of any command."""
    group = _application()
    single = [inner for c in group.commands.values() for inner in getattr(c, "commands", {"": c}).values()]
    return {"--help", "--install-completion"}.union(*map(options_of, single))


def _make(arguments: list[str]) -> str:
    makefile = _text("Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for argument in arguments:
        name, sets, _ = argument.partition("=")
        if sets and f"{name}" not in makefile:
            return f"the Makefile knows no {name}"
        if not sets and name not in targets:
            return f"no target {name}; there are {', '.join(sorted(targets))}"
    return ""


def _text(path: str) -> str:
    return (ROOT / path).read_text()
