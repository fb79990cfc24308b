"""`slq pack`, `unpack`, `verify` and `inspect`: networks with few distinct weights as small files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.app import out
from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from suite.pack.container import Entry, Packed

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

    _refuse_to_replace(target, force)
    file = pack(source, target)
    before = source.stat().st_size
    out.print(f"{target}: {file.size:,} bytes, {before / file.size:.2f} times smaller than {source}", soft_wrap=True)
    if sizes := by_coder(file):
        codes = sum(section.code_bits + section.position_bits for section in map(file.section, _coded(file)))
        each = ", ".join(f"{name} {bits / 8:,.0f}" for name, bits in sorted(sizes.items(), key=lambda item: item[1]))
        out.print(f"codes take {codes / 8:,.0f} bytes; by one coder for all tensors: {each}", soft_wrap=True)
    else:
        out.print("no tensor has few distinct values: nothing is coded")


def unpack(source: PackedFile, target: Target, force: Force = False, limit: Limit = 4) -> None:
    """Write a packed network's tensors as safetensors."""
    from suite.pack.convert import unpack

    _refuse_to_replace(target, force)
    state = unpack(source, target, _bytes(limit))
    out.print(f"{target}: {_summary(state)}", soft_wrap=True)


def verify(
    file: PackedFile,
    against: Annotated[Path | None, typer.Option(help="Tensors that must be the same, to the bit.")] = None,
    limit: Limit = 4,
) -> None:
    """Decode a packed network, comparing all checksums; exit 2 if it is damaged."""
    from suite.pack.convert import decode, difference, read_tensors

    state = decode(file, _bytes(limit))
    if against is not None and (found := difference(state, read_tensors(against))):
        raise UserError(f"{file} is not {against}: {found}")
    same = f", the same as {against}" if against else ""
    out.print(f"{file}: ok, {_summary(state)}{same}", soft_wrap=True)


def inspect(file: PackedFile) -> None:
    """Show what a packed network holds and how, tensor by tensor; decodes nothing."""
    from rich.table import Table

    from suite.pack.contents import contents
    from suite.pack.convert import open_packed

    content = open_packed(file)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=False)
    grid.add_column("tensor", overflow="fold", ratio=1)
    for name in ("shape", "type", "stored as"):
        grid.add_column(name)
    for name in ("values", "bytes", "bits each"):
        grid.add_column(name, justify="right")
    for line in contents(content):
        shape = "x".join(map(str, line.shape)) or "1"
        values = "" if line.entries is None else str(line.entries)
        grid.add_row(line.name, shape, line.dtype, line.stored, values, f"{line.size:,}", f"{line.bits:.2f}")
    out.print(grid)
    rest = content.size - content.books_size - sum(len(entry.data) for entry in content.entries)
    out.print(f"{content.size:,} bytes, of which {content.books_size:,} codebooks, {rest:,} names and checksums")


def _coded(file: Packed) -> list[Entry]:
    return [entry for entry in file.entries if entry.kind == "coded"]


def _summary(state: dict[str, Tensor]) -> str:
    numbers = sum(tensor.numel() for tensor in state.values())
    return f"{len(state)} tensors, {numbers:,} numbers"


def _bytes(limit: float) -> int:
    return round(limit * GIBIBYTE)


def _refuse_to_replace(target: Path, force: bool) -> None:
    if target.exists() and not force:
        raise UserError(f"{target} is there already; name another file, or say --force")
