"""What a packed file says of itself before its codebooks and tensors: names, kinds, lengths, checksums, and metadata if it has any.

"SLQ" and the version, a byte: 1, or 2 if there are metadata
the header's length, and its length deflated (0: it is not); a CRC32 of it and of all checksums; the header:
    number of tensors, length of the codebooks
    for each tensor the length of its name; the names; for each its kind, length and, unless it is coded, type and shape
    of version 2: number of pairs of metadata; for each pair the lengths of key and value; keys and values in turn
the CRC32s of the codebooks and of each tensor
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from suite.pack.deflate import deflate, inflate
from suite.pack.errors import PackError
from suite.pack.raw import DTYPES
from suite.pack.shape import DIMENSIONS
from suite.pack.varint import Reader, varint

MAGIC = b"SLQ"
VERSION, LABELLED = 1, 2  # of a file without metadata, and with; a reader knows both
CRC = 4  # bytes
LARGEST_HEADER = 2**24  # bytes; a name takes a few dozen
MOST = 2**16  # tensors, or pairs of metadata: a few bytes announce one, in memory it takes hundreds

Kind = Literal["raw", "deflated", "sparse", "coded"]
KINDS: tuple[Kind, ...] = ("raw", "deflated", "sparse", "coded")

Data = bytes | memoryview


@dataclass(frozen=True)
class Described:
    """What the header says of a tensor."""

    name: str
    kind: Kind
    size: int  # bytes of its section
    checksum: int  # CRC32 of its section
    dtype: int = 0  # place in `DTYPES`; like the shape, of tensors that are not coded
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Header:
    """All tensors in the order of their sections, and what stands before these."""

    tensors: tuple[Described, ...]
    books_size: int  # bytes of the codebooks
    books_checksum: int
    metadata: Mapping[str, str] = field(default_factory=dict)

    def written(self) -> bytes:
        """From the mark to the last checksum. What is alike in all tensors stands together, so that it deflates well.

        Raises `PackError` for more tensors, or metadata, than files may have.
        """
        if max(len(self.tensors), len(self.metadata)) > MOST:
            raise PackError(f"there are more than {MOST} tensors, or pairs of metadata")
        raw = self.body()
        deflated = deflate(raw)
        small = len(deflated) < len(raw)
        sums = (self.books_checksum, *(one.checksum for one in self.tensors))
        body = (deflated if small else raw) + b"".join(map(_crc, sums))
        version = LABELLED if self.metadata else VERSION
        lengths = varint(len(raw), len(deflated) if small else 0)
        return b"".join((MAGIC, bytes((version,)), lengths, _crc(checksum(body)), body))

    def body(self) -> bytes:
        """What the lengths and the checksum before it are of, as it is before it may be deflated."""
        names = [one.name.encode() for one in self.tensors]
        parts = [varint(len(names), self.books_size, *map(len, names)), *names]
        for one in self.tensors:
            parts.append(varint(KINDS.index(one.kind), one.size))
            if one.kind != "coded":
                parts.append(varint(one.dtype, len(one.shape), *one.shape))
        if self.metadata:
            texts = [text.encode() for pair in self.metadata.items() for text in pair]
            parts += [varint(len(self.metadata), *map(len, texts)), *texts]
        return b"".join(parts)

    @staticmethod
    def read(reader: Reader) -> Header:
        """Raises `PackError`."""
        if reader.left < len(MAGIC) or reader.take(len(MAGIC)) != MAGIC:
            raise PackError('this is no packed network, which begins with "SLQ"')
        (version,) = reader.take(1)
        if version not in (VERSION, LABELLED):
            raise PackError(f"the file has version {version}, this program reads {VERSION} and {LABELLED}; update slq")
        size, deflated = reader.number(LARGEST_HEADER), reader.number(LARGEST_HEADER)
        expected = int.from_bytes(reader.take(CRC), "little")
        body = reader.take(deflated or size)
        header = Reader(inflate(body, size) if deflated else body)
        count, books_size = header.number(MOST + 1), header.number()
        sums = reader.take(CRC * (count + 1))
        if checksum(body + sums) != expected:
            raise PackError("the header does not have its checksum: the file is damaged")
        names = _unlike([_text(header, length) for length in header.numbers(count)], "tensors of the file")
        facts = [_read_facts(header) for _ in names]
        metadata = _read_metadata(header) if version == LABELLED else {}
        header.end()
        books_checksum, *checksums = np.frombuffer(sums, dtype="<u4").tolist()
        tensors = (
            Described(name, kind, length, checksum, dtype, shape)
            for name, (kind, length, dtype, shape), checksum in zip(names, facts, checksums, strict=True)
        )
        return Header(tuple(tensors), books_size, books_checksum, metadata)


def _read_facts(header: Reader) -> tuple[Kind, int, int, tuple[int, ...]]:
    kind, length = KINDS[header.number(len(KINDS))], header.number()
    if kind == "coded":
        return kind, length, 0, ()
    return kind, length, header.number(len(DTYPES)), tuple(header.numbers(header.number(DIMENSIONS + 1)))


def _read_metadata(header: Reader) -> dict[str, str]:
    lengths = header.numbers(2 * header.number(MOST + 1))
    texts = [_text(header, length) for length in lengths]
    keys = _unlike(texts[::2], "keys of the metadata")
    return dict(zip(keys, texts[1::2], strict=True))


def _text(header: Reader, length: int) -> str:
    return header.take(length).decode(errors="replace")


def _unlike(names: list[str], what: str) -> list[str]:
    if len(set(names)) != len(names):
        raise PackError(f"two {what} have the same name")
    return names


def _crc(checksum: int) -> bytes:
    return checksum.to_bytes(CRC, "little")


def checksum(data: Data) -> int:
    """CRC32."""
    return zlib.crc32(data)
