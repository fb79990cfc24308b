"""`slq pack`, `unpack`, `verify` and `inspect`: networks with few distinct weights as small files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.app import check_file, out
from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from suite.pack.container import Entry, Packed
    from suite.pack.contents import Line

GIBIBYTE = 2**30

PackedFile = Annotated[Path, typer.Argument(metavar="FILE", help="A packed network, such as a trial's model.slq.")]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")]
Limit = Annotated[float, typer.Option(help="GiB that the tensors may take: a small file can stand for large ones.")]


def pack(
    source: Annotated[Path, typer.Argument(metavar="IN", help="safetensors, or a state_dict saved by torch.")],
    target: Target,
    force: Force = False,
) -> None:
    """Pack tensors, bit by bit; those with few distinct values as codebook and codes, by the coder that is smallest."""
    from suite.pack.contents import by_coder
    from suite.pack.convert import pack

    _check_target(target, force)
    file = pack(source, target)
    before = source.stat().st_size
    out.print(
        f"{target}: {file.size:,} bytes, {before / file.size:.2f} times smaller than {source}",
        markup=False,
        soft_wrap=True,
    )
    if sizes := by_coder(file):
        codes = sum(section.code_bits + section.position_bits for section in map(file.section, _coded(file)))
        each = ", ".join(f"{name} {bits / 8:,.0f}" for name, bits in sorted(sizes.items(), key=lambda item: item[1]))
        out.print(
            f"codes take {codes / 8:,.0f} bytes; by one coder for all tensors: {each}", markup=False, soft_wrap=True
        )
    else:
        out.print("no tensor has few distinct values: nothing is coded")


def unpack(source: PackedFile, target: Target, force: Force = False, limit: Limit = 4) -> None:
    """Write a packed network's tensors as safetensors."""
    from suite.pack.convert import unpack

    _check_target(target, force)
    state = unpack(source, target, limit * GIBIBYTE)
    out.print(f"{target}: {_summary(state)}", markup=False, soft_wrap=True)


def verify(
    file: PackedFile,
    against: Annotated[Path | None, typer.Option(help="Tensors that must be the same, to the bit.")] = None,
    limit: Limit = 4,
) -> None:
    """Decode a packed network, comparing all checksums; exit 2 if it is damaged."""
    from suite.pack.convert import decode, difference, read_tensors

    state = decode(file, limit * GIBIBYTE)
    if against is not None and (found := difference(state, read_tensors(against))):
        raise UserError(f"{file} is not {against}: {found}")
    same = f", the same as {against}" if against else ""
    out.print(f"{file}: ok, {_summary(state)}{same}", markup=False, soft_wrap=True)


def inspect(file: PackedFile) -> None:
    """Show what a packed network holds and how, tensor by tensor; decodes nothing."""
    from rich.table import Table
    from rich.text import Text

    from suite.pack.convert import open_packed

    content = open_packed(file)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=False)
    grid.add_column("tensor", overflow="fold", ratio=1)
    for name in ("shape", "type", "stored as"):
        grid.add_column(name)
    for name in ("values", "bytes", "bits each"):
        grid.add_column(name, justify="right")
    for line in _lines(content, file):
        shape = "x".join(map(str, line.shape)) or "1"
        values = "" if line.entries is None else str(line.entries)
        grid.add_row(Text(line.name), shape, line.dtype, line.stored, values, f"{line.size:,}", f"{line.bits:.2f}")
    out.print(grid)
    rest = content.size - content.books_size - sum(len(entry.data) for entry in content.entries)
    out.print(f"{content.size:,} bytes, of which {content.books_size:,} codebooks, {rest:,} names and checksums")


def _lines(content: Packed, file: Path) -> list[Line]:
    from suite.pack.contents import contents
    from suite.pack.errors import PackError

    try:
        return contents(content)
    except PackError as error:
        raise UserError(f"{file} cannot be read: {error}") from None


def _coded(file: Packed) -> list[Entry]:
    return [entry for entry in file.entries if entry.kind == "coded"]


def _summary(state: dict[str, Tensor]) -> str:
    numbers = sum(tensor.numel() for tensor in state.values())
    return f"{len(state)} tensors, {numbers:,} numbers"


def _check_target(target: Path, force: bool) -> None:
    if not check_file(target).parent.is_dir():
        raise UserError(f"no folder {str(target.parent)!r}; make it, or name a file elsewhere")
    if target.exists() and not force:
        raise UserError(f"{target} is there already; name another file, or say --force")
