"""Writes a packed file tensor by tensor, so that no more than one has to be in memory at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from suite.pack.codebook import Codebook
from suite.pack.container import plain_entry, written_books
from suite.pack.distinct import coded_of
from suite.pack.errors import PackError
from suite.pack.header import MOST, Data, Described, Header, Kind, checksum
from suite.pack.raw import DTYPES, to_bytes
from suite.pack.streams import AUTO
from suite.pack.tensor import Draft
from suite.printable import printable
from suite.quant.coded import Coded

COPIED = 2**20  # bytes at a time


class Writer:
    """Sections wait in a scratch file: the header, which stands before them, has their lengths and checksums."""

    def __init__(self, scratch: BinaryIO, coder: str = AUTO) -> None:
        self._scratch, self._coder = scratch, coder
        self._tensors: list[Described] = []
        self._books: list[Codebook] = []
        self._numbers: dict[tuple[object, ...], int] = {}  # of the codebooks, by what is in them

    def add(self, name: str, load: Callable[[], Tensor]) -> None:
        """Code one more tensor, which `load` gives: as codebook and codes if it has few distinct values.

        Raises:
            PackError: if files cannot hold such a tensor.
        """
        if len(self._tensors) == MOST:
            raise PackError(f"there are more than {MOST:,} tensors")
        draft = self._draft(name, load)
        if draft is not None:
            self._put(name, "coded", draft.section(self._coder).written())
            return
        entry = plain_entry(name, load(), self._coder)
        self._put(name, entry.kind, entry.data, entry.dtype, entry.shape)

    def finish(self, file: BinaryIO, metadata: Mapping[str, str]) -> None:
        """Write the whole file: header, codebooks, and all that was added."""
        books = written_books(self._books)
        file.write(Header(tuple(self._tensors), len(books), checksum(books), metadata).written())
        file.write(books)
        self._scratch.seek(0)
        shutil.copyfileobj(self._scratch, file, COPIED)

    def _put(self, name: str, kind: Kind, data: Data, dtype: int = 0, shape: tuple[int, ...] = ()) -> None:
        self._scratch.write(data)
        self._tensors.append(Described(name, kind, len(data), checksum(data), dtype, shape))

    def _draft(self, name: str, load: Callable[[], Tensor]) -> Draft | None:
        """None for many distinct values. Numbers and codes are gone once it is there: symbols take as much, coding them more."""
        coded = coded_of(_fit(name, load()))
        if coded is None:
            return None
        number, places = self._book(coded)
        return Draft.of(coded, number, self._books[number], places)

    def _book(self, coded: Coded) -> tuple[int, NDArray[np.int64]]:
        """Its codebook's number, and where its entries are in it. Each codebook is stored once; all of its entries are used."""
        book, places = Codebook.of(coded.codebook, coded.dtype, np.ones(len(coded.codebook), dtype=np.bool_))
        key = (coded.dtype, to_bytes(book.values))
        if key not in self._numbers:
            self._numbers[key] = len(self._books)
            self._books.append(book)
        return self._numbers[key], places


def _fit(name: str, tensor: Tensor) -> Tensor:
    if tensor.dtype not in DTYPES:
        raise PackError(f"{printable(name)} is of {tensor.dtype}; possible: {', '.join(map(str, DTYPES))}")
    return tensor
