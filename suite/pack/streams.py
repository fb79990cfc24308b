"""Streams of symbols, and coded ones as they stand in a file: which coder, how many bytes, the bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from suite.pack.bits import Symbols
from suite.pack.coders import CODERS, Coder
from suite.pack.errors import PackError
from suite.pack.shape import LARGEST
from suite.pack.varint import Reader, varint

LONG = 2**17  # symbols; more of them are coded by quick coders only: Lempel-Ziv is slow and was never the shortest
MIXED = 2**20  # symbols; coding so many by mixing takes ten seconds, and so does decoding
QUICK = ("fixed", "huffman", "adaptive", "density")


def _longest(coder: Coder) -> int:
    """Symbols of the longest stream that this coder codes in a file."""
    if coder.name == "mixing":
        return MIXED
    return LARGEST - 1 if coder.name in QUICK else LONG


@dataclass(frozen=True)
class Stream:
    """A coded stream; `alphabet`, `count` and `row` are not in it: they follow from what stands before it."""

    coder: int
    data: bytes
    alphabet: int
    count: int
    row: int = 0  # symbols of a row, if they form a matrix

    def written(self) -> bytes:
        return varint(self.coder, len(self.data)) + self.data

    @staticmethod
    def read(reader: Reader, alphabet: int, count: int, row: int = 0) -> Stream:
        coder = reader.number(len(CODERS))
        return Stream(coder, reader.take(reader.number()), alphabet, count, row)

    @property
    def bits(self) -> int:
        return 8 * len(self.written())

    def symbols(self) -> Symbols:
        """Decoded. Raises `PackError`."""
        coder = CODERS[self.coder]
        if self.alphabet > coder.largest:
            raise PackError(f"{coder.name} cannot have coded an alphabet of {self.alphabet}")
        if self.count > _longest(coder):
            raise PackError(f"{self.count} symbols are too many to have been coded by {coder.name}")
        symbols = coder.decode(self.data, self.alphabet, self.count, self.row)
        if len(symbols) and int(symbols.max()) >= self.alphabet:
            raise PackError(f"symbol {int(symbols.max())} of a stream with an alphabet of {self.alphabet}")
        return symbols


@dataclass(frozen=True)
class Uncoded:
    """A stream before it is coded."""

    symbols: Symbols
    alphabet: int
    row: int = 0
    is_plane: bool = False  # all symbols of a matrix that has a null: what mixing is made for

    def smallest(self) -> Stream:
        """By the coder that makes it the shortest."""
        numbers = [number for number, coder in enumerate(CODERS) if self._is_worth(coder)]
        return min((self._coded(number) for number in numbers), key=lambda stream: len(stream.data))

    def by(self, name: str) -> Stream:
        """By the coder of this name."""
        (number,) = (number for number, coder in enumerate(CODERS) if coder.name == name)
        return self._coded(number)

    def _is_worth(self, coder: Coder) -> bool:
        """Whether a coder is tried for a file."""
        if self.alphabet > coder.largest or len(self.symbols) > _longest(coder):
            return False
        if coder.name == "mixing":
            nulls = int(np.bincount(self.symbols).max()) if len(self.symbols) else 0
            return self.is_plane and 2 * nulls > len(self.symbols)
        return True

    def _coded(self, number: int) -> Stream:
        data = CODERS[number].encode(self.symbols, self.alphabet, self.row)
        return Stream(number, data, self.alphabet, len(self.symbols), self.row)
