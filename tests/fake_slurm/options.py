"""Command lines as Slurm's commands read them: `--name value`, `--name=value`, `-n value`, `-nvalue`, bundled flags."""

from __future__ import annotations


class RefusedError(Exception):
    """The command prints `message` on its standard error and exits with `status`."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.message, self.status = message, status


Options = dict[str, str]  # flags have the value ""


def parse(
    program: str, arguments: list[str], known: str, *, in_order: bool = False, status: int = 1
) -> tuple[Options, list[str]]:
    """Split arguments into options and operands; with `in_order` the first operand ends the options.

    `known` is a word for each option: its name, `:` and a letter if it has one, `=` if it takes a value, `?` if it may.
    """
    words = known.split()
    kinds = {word.rstrip("=?").partition(":")[0]: word[-1] if word[-1] in "=?" else "" for word in words}
    letters = {word.partition(":")[2][0]: word.partition(":")[0] for word in words if ":" in word}
    found: Options = {}
    operands: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return found, operands + rest
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            if name not in kinds:
                raise unrecognized(program, argument, status)
            if kinds[name] == "=" and not equals:
                value = _value(program, f"'--{name}'", rest, status)
            found[name] = value
        elif argument.startswith("-") and len(argument) > 1:
            bundle = argument[1:]
            while bundle:
                letter, bundle = bundle[0], bundle[1:]
                if letter not in letters:
                    raise RefusedError(f"{program}: invalid option -- '{letter}'{hint(program)}", status)
                name = letters[letter]
                found[name] = ""
                if kinds[name] == "=":
                    found[name] = bundle or _value(program, f"-- '{letter}'", rest, status)
                    bundle = ""
        elif in_order:
            return found, [argument, *rest]
        else:
            operands.append(argument)
    return found, operands


def _value(program: str, name: str, rest: list[str], status: int) -> str:
    if not rest:
        raise RefusedError(f"{program}: option {name} requires an argument{hint(program)}", status)
    return rest.pop(0)


def unrecognized(program: str, argument: str, status: int) -> RefusedError:
    return RefusedError(f"{program}: unrecognized option '{argument}'{hint(program)}", status)


def hint(program: str) -> str:
    return "" if program == "sacct" else f'\nTry "{program} --help" for more information'
