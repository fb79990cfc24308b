"""The file of a quantized network: its header, then the codebooks and every tensor, each with a checksum.

    the header (`suite.pack.header`)
    the codebooks of all quantized tensors, each once
    the tensors

What is not quantized is raw, deflated, or, if it is pruned, sparse. Integers are of variable length except checksums. A file
is never trusted: every length is held against what is there, and memory is taken for a tensor only once its checksum is right.
A few bytes can still stand for a large tensor, as they do for one that is all zeros: who knows the network compares shapes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.pack.codebook import Codebook
from suite.pack.deflate import deflate, inflate
from suite.pack.errors import PackError
from suite.pack.header import MAGIC, Data, Described, Header, Kind, checksum
from suite.pack.plane import Plane
from suite.pack.raw import DTYPES, dtype_number, from_bytes, to_bytes, view_of
from suite.pack.shape import numel
from suite.pack.sparse import is_sparse, positions, read_sparse, sparse
from suite.pack.streams import AUTO
from suite.pack.tensor import Draft, Section
from suite.pack.varint import Reader, varint
from suite.printable import printable
from suite.quant.coded import Coded

MOST_DEFLATED = 1100  # bytes that a byte of deflate can stand for: 1032, and a little for short pieces


@dataclass(frozen=True)
class Entry:
    """What the header says of a tensor, and its section."""

    name: str
    kind: Kind
    data: Data
    dtype: int = 0  # place in `DTYPES`; like the shape, of tensors that are not quantized
    shape: tuple[int, ...] = ()

    def described(self) -> Described:
        """What the header says of it."""
        return Described(self.name, self.kind, len(self.data), checksum(self.data), self.dtype, self.shape)

    def plain(self) -> Tensor:
        """A tensor that is not quantized. Raises `PackError`."""
        dtype = DTYPES[self.dtype]
        if self.kind == "sparse":
            return read_sparse(self.data, dtype, self.shape)
        size = numel(self.shape) * dtype.itemsize
        if self.kind == "deflated" and size > MOST_DEFLATED * len(self.data):
            raise PackError(f"{printable(self.name)} would be {size} bytes, more than {len(self.data)} can stand for")
        return from_bytes(inflate(self.data, size) if self.kind == "deflated" else self.data, dtype, self.shape)


@dataclass(frozen=True)
class Packed:
    """A file's content, checked but not decoded."""

    entries: tuple[Entry, ...]
    books: tuple[Codebook, ...]
    size: int  # bytes of the file
    books_size: int  # bytes of the codebooks in it
    metadata: Mapping[str, str] = field(default_factory=dict)  # what its maker says of it; nothing here relies on it

    def tensor(self, entry: Entry) -> Tensor:
        """Decoded. Raises `PackError`."""
        return self.section(entry).decoded(self.books) if entry.kind == "coded" else entry.plain()

    def shape(self, entry: Entry) -> tuple[int, ...]:
        """Of the tensor, before it is decoded. Raises `PackError`."""
        return self.section(entry).shape if entry.kind == "coded" else entry.shape

    def dtype(self, entry: Entry) -> torch.dtype:
        """Of the tensor, before it is decoded. Raises `PackError`."""
        return self.books[self.section(entry).book].values.dtype if entry.kind == "coded" else DTYPES[entry.dtype]

    def bytes_of(self, entry: Entry) -> int:
        """What the decoded tensor takes. Raises `PackError`."""
        return numel(self.shape(entry)) * self.dtype(entry).itemsize

    def planes(self, entry: Entry) -> tuple[Plane, ...]:
        """What has to be decoded symbol by symbol; nothing of tensors that are raw or deflated. Raises `PackError`."""
        if entry.kind == "coded":
            return self.section(entry).planes
        return (positions(Reader(entry.data), entry.shape),) if entry.kind == "sparse" else ()

    def coded(self, entry: Entry) -> Coded:
        """Codes and codebook of a quantized tensor, and whatever else makes its weights. Raises `PackError`."""
        section = self.section(entry)
        return section.coded(self.books[section.book].values)

    def section(self, entry: Entry) -> Section:
        """Of a quantized tensor. Raises `PackError`."""
        return Section.read(entry.data, self.books)


def packed(coded: Mapping[str, Coded], plain: Mapping[str, Tensor], coder: str = AUTO) -> bytes:
    """The file of a network's quantized and other tensors, by their names in its state_dict.

    Streams are coded by `coder`, as `Uncoded.coded` says.
    """
    books, numbers, places = _codebooks(coded)
    entries = [Entry(name, "coded", _section(coded[name], numbers[name], books, places, coder)) for name in coded]
    entries += [plain_entry(name, tensor, coder) for name, tensor in plain.items()]
    shelf = written_books(books)
    described = tuple(entry.described() for entry in entries)
    head = Header(described, len(shelf), checksum(shelf)).written()
    return b"".join((head, shelf, *(entry.data for entry in entries)))


def written_books(books: Sequence[Codebook]) -> bytes:
    """All codebooks of a file."""
    return b"".join((varint(len(books)), *(book.written() for book in books))) if books else b""


def is_packed(data: bytes) -> bool:
    """Whether a file begins like one of these."""
    return data.startswith(MAGIC)


def unpacked(data: bytes) -> Packed:
    """Read a file's structure and compare all checksums. Raises `PackError`."""
    reader = Reader(data)
    header = Header.read(reader)
    shelf = _checked(reader, header.books_size, header.books_checksum, "the codebooks")
    entries = [
        Entry(one.name, one.kind, _checked(reader, one.size, one.checksum, printable(one.name)), one.dtype, one.shape)
        for one in header.tensors
    ]
    reader.end()
    return Packed(tuple(entries), _read_books(shelf), len(data), len(shelf), header.metadata)


def _codebooks(
    coded: Mapping[str, Coded],
) -> tuple[list[Codebook], dict[str, int], list[NDArray[np.int64]]]:
    """Each distinct codebook once, reduced to what all its layers use; each layer's number; where the entries went."""
    used: dict[tuple[object, ...], NDArray[np.bool_]] = {}
    names: dict[tuple[object, ...], list[str]] = {}
    for name, layer in coded.items():
        key: tuple[object, ...] = (layer.dtype, tuple(layer.codebook.shape), to_bytes(layer.codebook))
        mask = used.setdefault(key, np.zeros(len(layer.codebook), dtype=np.bool_))
        mask[np.unique(layer.codes.cpu().numpy())] = True
        names.setdefault(key, []).append(name)
    books: list[Codebook] = []
    numbers: dict[str, int] = {}
    places: list[NDArray[np.int64]] = []
    for number, (key, mask) in enumerate(used.items()):
        layer = coded[names[key][0]]
        book, place = Codebook.of(layer.codebook, layer.dtype, mask)
        books.append(book)
        places.append(place)
        numbers |= dict.fromkeys(names[key], number)
    return books, numbers, places


def _section(coded: Coded, number: int, books: list[Codebook], places: list[NDArray[np.int64]], coder: str) -> bytes:
    return Draft.of(coded, number, books[number], places[number]).section(coder).written()


def plain_entry(name: str, tensor: Tensor, coder: str) -> Entry:
    """A tensor as it is, deflated, or only its numbers that are not zero: whichever is shortest."""
    raw = view_of(tensor)
    ways: dict[Kind, Data] = {"raw": raw, "deflated": deflate(raw)}
    if is_sparse(tensor):
        ways["sparse"] = sparse(tensor, coder)
    kind = min(ways, key=lambda kind: len(ways[kind]))
    return Entry(name, kind, ways[kind], dtype_number(tensor.dtype), tuple(tensor.shape))


def _checked(reader: Reader, size: int, expected: int, what: str) -> memoryview:
    data = reader.view(size)
    if checksum(data) != expected:
        raise PackError(f"{what}: the checksum is wrong, the file is damaged")
    return data


def _read_books(shelf: Data) -> tuple[Codebook, ...]:
    if not shelf:
        return ()
    reader = Reader(shelf)
    count = reader.number(len(shelf))
    books = tuple(Codebook.read(reader) for _ in range(count))
    reader.end()
    return books
