"""What is in a packed file, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from suite.pack.coders import CODERS
from suite.pack.container import Entry, Packed
from suite.pack.plane import Alone
from suite.pack.raw import DTYPES
from suite.pack.shape import numel
from suite.pack.streams import FAST

ALL = tuple(coder.name for coder in CODERS)
RECORDED = tuple(name for name in ALL if name not in ("density", "mixing", *FAST))  # their sizes stand in results


@dataclass(frozen=True)
class Line:
    """A tensor of a file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: str  # how: "raw", "deflated", "sparse", or layout and coder of the codes, such as "gaps, huffman"
    entries: int | None  # of its codebook; None if it has none
    size: int  # bytes in the file, without codebook and header

    @property
    def bits(self) -> float:
        """Per number of the tensor; 0 for an empty one."""
        return 8 * self.size / max(numel(self.shape), 1)


def contents(file: Packed) -> list[Line]:
    """In the order of the file. Raises `PackError`; decodes nothing."""
    return [_coded(file, entry) if entry.kind == "coded" else _plain(entry) for entry in file.entries]


def _plain(entry: Entry) -> Line:
    return Line(entry.name, entry.shape, _short(entry.dtype), entry.kind, None, len(entry.data))


def _coded(file: Packed, entry: Entry) -> Line:
    section = file.section(entry)
    values = file.books[section.book].values
    plane = section.planes[-1]
    extras = [what for what, there in (("scales", section.scale), ("dither", section.dither)) if there is not None]
    vectors = [f"vectors of {values.shape[1]}"] if values.dim() > 1 else []
    stored = ", ".join([plane.layout, CODERS[plane.values.coder].name, *vectors, *extras])
    return Line(entry.name, section.shape, _short(DTYPES.index(values.dtype)), stored, len(values), len(entry.data))


def _short(dtype: int) -> str:
    return str(DTYPES[dtype]).removeprefix("torch.")


def by_coder(file: Packed, names: Sequence[str]) -> dict[str, Alone]:
    """What all codes and positions would take if one coder alone coded them, by its name; empty if nothing is coded.

    What takes long is not found out. Decodes all; raises `PackError`.
    """
    each = [one for entry in file.entries if entry.kind == "coded" for one in _alone(file, entry, names)]
    return {name: reduce(add, (one[name] for one in each)) for name in names} if each else {}


def _alone(file: Packed, entry: Entry, names: Sequence[str]) -> list[dict[str, Alone]]:
    """Of a tensor, whose symbols are gone before those of the next one are decoded."""
    section = file.section(entry)
    return [unit.alone(names) for unit in section.units(file.books[section.book])]
