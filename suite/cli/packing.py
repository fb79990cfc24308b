"""`slq pack`, `unpack`, `verify`, `inspect` and `export`: networks with few distinct weights as small files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.app import check_file, out
from suite.errors import UserError
from suite.printable import printable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from suite.pack.container import Entry, Packed
    from suite.pack.convert import Summary

GIBIBYTE = 2**30
PACKED, CONFIG = "model.slq", "config.json"  # in the folder of a trial

PackedFile = Annotated[Path, typer.Argument(metavar="FILE", help="A packed network, such as a trial's model.slq.")]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")]
Limit = Annotated[float, typer.Option(help="GiB that the tensors may take: a small file can stand for large ones.")]


def pack(
    source: Annotated[Path, typer.Argument(metavar="IN", help="safetensors, or a state_dict saved by torch.")],
    target: Target,
    force: Force = False,
    coder: Annotated[
        str,
        typer.Option(
            help="Codes all streams that it can. smallest: for each the one that makes it the smallest, which may take many "
            "minutes. auto: the same of those that are quick on so many symbols and likely to win; it tells which it did not try."
        ),
    ] = "auto",
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="What the file shall say of itself; may be given more than once."),
    ] = None,
) -> None:
    """Pack tensors, bit by bit; those with few distinct values as codebook and codes, by the coders that make them small."""
    from suite.pack.convert import pack

    _check_target(target, force)
    before = source.stat().st_size if source.is_file() else 0
    file = pack(source, target, coder, _pairs(metadata or []))
    out.print(
        f"{target}: {file.size:,} bytes, {before / file.size:.2f} times smaller than {source}",
        markup=False,
        soft_wrap=True,
    )
    _tell_coders(file, coder)


def unpack(source: PackedFile, target: Target, force: Force = False, limit: Limit = 4) -> None:
    """Write a packed network's tensors as safetensors."""
    from suite.pack.convert import unpack

    _check_target(target, force)
    summary = unpack(source, target, limit * GIBIBYTE)
    out.print(f"{target}: {_told(summary)}", markup=False, soft_wrap=True)


def verify(
    file: PackedFile,
    against: Annotated[Path | None, typer.Option(help="Tensors that must be the same, to the bit.")] = None,
    limit: Limit = 4,
) -> None:
    """Decode a packed network, comparing all checksums; exit 2 if it is damaged."""
    from suite.pack.convert import verify

    summary = verify(file, against, limit * GIBIBYTE)
    same = f", the same as {against}" if against else ""
    out.print(f"{file}: ok, {_told(summary)}{same}", markup=False, soft_wrap=True)


def inspect(file: PackedFile) -> None:
    """Show what a packed network holds and how, tensor by tensor; decodes nothing."""
    from rich.table import Table
    from rich.text import Text

    from suite.pack.convert import inspect

    found = inspect(file)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=False)
    grid.add_column("tensor", overflow="fold", ratio=1)
    for name in ("shape", "type", "stored as"):
        grid.add_column(name)
    for name in ("values", "bytes", "bits each"):
        grid.add_column(name, justify="right")
    for line in found.lines:
        shape = "x".join(map(str, line.shape)) or "1"
        values = "" if line.entries is None else str(line.entries)
        grid.add_row(
            Text(printable(line.name)), shape, line.dtype, line.stored, values, f"{line.size:,}", f"{line.bits:.2f}"
        )
    out.print(grid)
    for key, value in found.metadata.items():
        out.print(f"{printable(key)}: {printable(value)}", markup=False, soft_wrap=True)
    out.print(f"{found.size:,} bytes, of which {found.books_size:,} codebooks, {found.rest:,} names and checksums")


def export(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A packed network, or the folder of a trial.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write, *.onnx.")],
    network: Annotated[
        str | None, typer.Option(help="Its architecture; needed where no trial's settings tell it.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="The data set whose images it takes; likewise.")] = None,
    force: Force = False,
) -> None:
    """Write a packed network as ONNX: images as they were in training, normalised, to logits. Codes stay codes."""
    from suite.pack.onnx_file import export_onnx

    _check_target(target, force)
    if target.suffix != ".onnx":
        raise UserError(f"{target} does not end with .onnx, which is all that is exported; for safetensors: slq unpack")
    file = source / PACKED if source.is_dir() else source
    model, images = _architecture(file, network, data)
    try:
        export_onnx(file, model, images, target)
    except ValueError as error:
        raise UserError(str(error)) from None
    out.print(f"{target}: {target.stat().st_size:,} bytes", markup=False, soft_wrap=True)


def _architecture(file: Path, network: str | None, data: str | None) -> tuple[nn.Module, Tensor]:
    """A network and two images for it: as asked for, or as the settings of the trial say, or the file's metadata."""
    import torch

    from suite.data.registry import find_data
    from suite.nets import build_network
    from suite.pack.convert import open_packed

    known = {**open_packed(file).metadata, **_settings(file.with_name(CONFIG))}
    given = {"network": network or known.get("network"), "data": data or known.get("data")}
    for name, value in given.items():
        if value is None:
            raise UserError(f"{file} does not say its {name}; add --{name} NAME")
    info = find_data(str(given["data"]))
    model = build_network(str(given["network"]), info.channels, info.size, info.classes, seed=0)
    return model, torch.zeros(2, info.channels, info.size, info.size)


def _settings(config: Path) -> dict[str, object]:
    """Of the trial beside whose network this file lies; {} if it is somebody else's, or not there."""
    from suite.files import read_json

    try:
        settings = read_json(config)
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = dict(one.split("=", 1) for one in given if "=" in one)
    for one in given:
        if "=" not in one:
            raise UserError(f"--metadata {one!r} is not of the form KEY=VALUE, such as network=lenet5")
    return pairs


def _coded(file: Packed) -> list[Entry]:
    return [entry for entry in file.entries if entry.kind == "coded"]


def _tell_coders(file: Packed, chosen: str) -> None:
    """What each coder would have given, and which were spared, by the comparison and by "auto"."""
    from suite.pack.contents import ALL, by_coder
    from suite.pack.streams import AUTO

    found = by_coder(file, ALL)
    if not found:
        out.print("no tensor has few distinct values: nothing is coded")
        return
    codes = sum(section.code_bits + section.position_bits for section in map(file.section, _coded(file)))
    sizes = sorted((one.bits, name) for name, one in found.items() if one.bits is not None)
    told = {
        f"codes take {codes / 8:,.0f} bytes; by one coder for all tensors": [
            f"{n} {bits / 8:,.0f}" for bits, n in sizes
        ],
        "too many symbols, or too large an alphabet, for": [name for name, one in found.items() if not one.able],
        "not compared, as they take long": [name for name, one in found.items() if one.able and one.bits is None],
        "auto did not try on every stream; --coder smallest does, however long it takes": [
            name for name, one in found.items() if chosen == AUTO and not one.tried
        ],
    }
    for what, names in told.items():
        if names:
            out.print(f"{what}: {', '.join(names)}", markup=False, soft_wrap=True)


def _told(summary: Summary) -> str:
    return f"{summary.tensors} tensors, {summary.numbers:,} numbers"


def _check_target(target: Path, force: bool) -> None:
    if check_file(target).exists() and not force:
        raise UserError(f"{target} is there already; name another file, or say --force")
