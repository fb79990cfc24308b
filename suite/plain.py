"""Rich renderables as plain text: as wide as it needs to be, without colours, for pipes and files."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

WIDE = 1000  # columns: nothing is wrapped or cut


def plain(*parts: RenderableType) -> str:
    """The parts below each other, without trailing spaces."""
    console = Console(file=io.StringIO(), width=WIDE, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def print_table(console: Console, table: RenderableType) -> None:
    """On a terminal as it fits, elsewhere plain."""
    if console.is_terminal:
        console.print(table)
    else:
        console.print(plain(table), markup=False, soft_wrap=True)
