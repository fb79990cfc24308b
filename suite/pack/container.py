"""The file of a quantized network: a mark, a header, then the codebooks and every tensor, each with a checksum.

    "SLQ" and the version, a byte
    the header's length and whether it is deflated; its CRC32; the header:
        number of tensors, and the length and CRC32 of the codebooks' section
        for each tensor its name, kind, length, CRC32, and, unless it is quantized, type and shape
    the codebooks of all quantized tensors, each once
    the tensors

What is not quantized is raw, deflated, or, if it is pruned, sparse. Integers are of variable length except checksums. A file
is never trusted: every length is held against what is there, and memory is taken for a tensor only once its checksum is right.
A few bytes can still stand for a large tensor, as they do for one that is all zeros: who knows the network compares shapes first.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from suite.pack.codebook import Codebook
from suite.pack.deflate import deflate, inflate
from suite.pack.errors import PackError
from suite.pack.raw import DTYPES, dtype_number, from_bytes, to_bytes
from suite.pack.shape import DIMENSIONS, numel
from suite.pack.sparse import is_sparse, read_sparse, sparse
from suite.pack.tensor import Section
from suite.pack.varint import Reader, varint
from suite.quant.coded import Coded

MAGIC, VERSION = b"SLQ", 1
CRC = 4  # bytes
LARGEST_HEADER = 2**24  # bytes; a name takes a few dozen
MOST_DEFLATED = 1100  # bytes that a byte of deflate can stand for: 1032, and a little for short pieces

Kind = Literal["raw", "deflated", "sparse", "coded"]
KINDS: tuple[Kind, ...] = ("raw", "deflated", "sparse", "coded")


@dataclass(frozen=True)
class Entry:
    """What the header says of a tensor, and its section."""

    name: str
    kind: Kind
    data: bytes
    dtype: int = 0  # place in `DTYPES`; like the shape, of tensors that are not quantized
    shape: tuple[int, ...] = ()

    def plain(self) -> Tensor:
        """A tensor that is not quantized. Raises `PackError`."""
        dtype = DTYPES[self.dtype]
        if self.kind == "sparse":
            return read_sparse(self.data, dtype, self.shape)
        size = numel(self.shape) * dtype.itemsize
        if self.kind == "deflated" and size > MOST_DEFLATED * len(self.data):
            raise PackError(f"{self.name} would be {size} bytes, more than {len(self.data)} can stand for")
        return from_bytes(inflate(self.data, size) if self.kind == "deflated" else self.data, dtype, self.shape)


@dataclass(frozen=True)
class Packed:
    """A file's content, checked but not decoded."""

    entries: tuple[Entry, ...]
    books: tuple[Codebook, ...]
    size: int  # bytes of the file
    books_size: int  # bytes of the codebooks in it

    def tensor(self, entry: Entry) -> Tensor:
        """Decoded. Raises `PackError`."""
        return self.section(entry).decoded(self.books) if entry.kind == "coded" else entry.plain()

    def shape(self, entry: Entry) -> tuple[int, ...]:
        """Of the tensor, before it is decoded. Raises `PackError`."""
        return self.section(entry).shape if entry.kind == "coded" else entry.shape

    def bytes_of(self, entry: Entry) -> int:
        """What the decoded tensor takes. Raises `PackError`."""
        dtype = self.books[self.section(entry).book].values.dtype if entry.kind == "coded" else DTYPES[entry.dtype]
        return numel(self.shape(entry)) * dtype.itemsize

    def section(self, entry: Entry) -> Section:
        """Of a quantized tensor. Raises `PackError`."""
        return Section.read(entry.data, self.books)


def packed(coded: Mapping[str, Coded], plain: Mapping[str, Tensor]) -> bytes:
    """The file of a network's quantized and other tensors, by their names in its state_dict."""
    books, numbers, places = _codebooks(coded)
    entries = [Entry(name, "coded", _section(coded[name], numbers[name], books, places)) for name in coded]
    entries += [_plain(name, tensor) for name, tensor in plain.items()]
    shelf = b"".join((varint(len(books)), *(book.written() for book in books))) if books else b""
    head = _header(entries, shelf)
    return b"".join((MAGIC, bytes((VERSION,)), head, shelf, *(entry.data for entry in entries)))


def is_packed(data: bytes) -> bool:
    """Whether a file begins like one of these."""
    return data.startswith(MAGIC)


def unpacked(data: bytes) -> Packed:
    """Read a file's structure and compare all checksums. Raises `PackError`."""
    reader = Reader(data)
    if reader.take(len(MAGIC)) != MAGIC:
        raise PackError("this is no packed network: it does not begin with its mark")
    (version,) = reader.take(1)
    if version != VERSION:
        raise PackError(f"the file has version {version}, this program reads {VERSION}; update slq")
    described, shelf_size, shelf_sum = _read_header(reader)
    shelf = _checked(reader, shelf_size, shelf_sum, "the codebooks")
    entries = [
        Entry(name, kind, _checked(reader, length, checksum, name), dtype, shape)
        for name, kind, length, checksum, dtype, shape in described
    ]
    reader.end()
    return Packed(tuple(entries), _read_books(shelf), len(data), len(shelf))


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


def _section(coded: Coded, number: int, books: list[Codebook], places: list[NDArray[np.int64]]) -> bytes:
    return Section.of(coded, number, books[number], places[number]).written()


def _plain(name: str, tensor: Tensor) -> Entry:
    raw = to_bytes(tensor)
    ways: dict[Kind, bytes] = {"raw": raw, "deflated": deflate(raw)}
    if is_sparse(tensor):
        ways["sparse"] = sparse(tensor)
    kind = min(ways, key=lambda kind: len(ways[kind]))
    return Entry(name, kind, ways[kind], dtype_number(tensor.dtype), tuple(tensor.shape))


def _header(entries: list[Entry], shelf: bytes) -> bytes:
    """What is alike in all tensors stands together, so that it deflates well."""
    names = [entry.name.encode() for entry in entries]
    raw = varint(len(entries), len(shelf)) + b"".join(varint(len(name)) for name in names) + b"".join(names)
    for entry in entries:
        raw += varint(KINDS.index(entry.kind), len(entry.data))
        if entry.kind != "coded":
            raw += varint(entry.dtype, len(entry.shape), *entry.shape)
    deflated = deflate(raw)
    small = len(deflated) < len(raw)
    body = (deflated if small else raw) + _sums([shelf, *(entry.data for entry in entries)])
    return varint(len(raw), len(deflated) if small else 0) + _sums([body]) + body


def _sums(pieces: Iterable[bytes]) -> bytes:
    return b"".join(zlib.crc32(piece).to_bytes(CRC, "little") for piece in pieces)


_Described = tuple[str, Kind, int, int, int, tuple[int, ...]]


def _read_header(reader: Reader) -> tuple[list[_Described], int, int]:
    """For each tensor name, kind, length, checksum, type, shape; then length and checksum of the codebooks."""
    size, deflated = reader.number(LARGEST_HEADER), reader.number(LARGEST_HEADER)
    expected = int.from_bytes(reader.take(CRC), "little")
    body = reader.take(deflated or size)
    header = Reader(inflate(body, size) if deflated else body)
    count, shelf_size = header.number(LARGEST_HEADER), header.number()
    sums = reader.take(CRC * (count + 1))
    if zlib.crc32(body + sums) != expected:
        raise PackError("the header does not have its checksum: the file is damaged")
    names = [header.take(length).decode(errors="replace") for length in header.numbers(count)]
    facts = [_read_facts(header) for _ in names]
    header.end()
    if len(set(names)) != count:
        raise PackError("two tensors of the file have the same name")
    shelf_sum, *checksums = np.frombuffer(sums, dtype="<u4").tolist()
    joined = zip(names, facts, checksums, strict=True)
    return (
        [(name, kind, size, crc, dtype, shape) for name, (kind, size, dtype, shape), crc in joined],
        shelf_size,
        shelf_sum,
    )


def _read_facts(header: Reader) -> tuple[Kind, int, int, tuple[int, ...]]:
    kind, length = KINDS[header.number(len(KINDS))], header.number()
    if kind == "coded":
        return kind, length, 0, ()
    return kind, length, header.number(len(DTYPES)), tuple(header.numbers(header.number(DIMENSIONS + 1)))


def _checked(reader: Reader, size: int, expected: int, what: str) -> bytes:
    data = reader.take(size)
    if zlib.crc32(data) != expected:
        raise PackError(f"{what}: the checksum is wrong, the file is damaged")
    return data


def _read_books(shelf: bytes) -> tuple[Codebook, ...]:
    if not shelf:
        return ()
    reader = Reader(shelf)
    count = reader.number(len(shelf))
    books = tuple(Codebook.read(reader) for _ in range(count))
    reader.end()
    return books
