"""Streams of symbols, and coded ones as they stand in a file: which coder, how many bytes, the bytes."""

from __future__ import annotations

from dataclasses import dataclass

from suite.errors import UserError
from suite.pack.bits import Symbols
from suite.pack.coders import CODERS, Coder
from suite.pack.counts import counts_of
from suite.pack.errors import PackError
from suite.pack.shape import LARGEST
from suite.pack.varint import Reader, varint

# In place of a coder's name, for each stream the one that makes it the shortest: of those worth their time, or of all.
AUTO, SMALLEST = "auto", "smallest"
LONG = 2**17  # symbols; of more of them, Lempel-Ziv, Burrows-Wheeler and static frequencies were never the shortest
MIXED = 2**20  # symbols; coding so many by mixing takes ten seconds to minutes and up to a GB, and decoding as long
LONGEST = {"lzw": LONG, "mixing": MIXED}  # symbols of the longest stream that is coded by a slow coder; others code any
ALWAYS = ("fixed", "huffman", "adaptive", "density")  # tried on streams of any length
FAST = (
    "rans",
    "zstd",
)  # tried on streams of more than `MIXED` symbols, so that smaller networks' files stay what they were


def check_coder(name: str) -> None:
    """Raises `UserError` unless a coder, "auto" or "smallest" is called so."""
    names = [AUTO, SMALLEST, *(coder.name for coder in CODERS)]
    if name not in names:
        raise UserError(f"no coder {name!r}; possible: {', '.join(names)}")


def longest(coder: Coder) -> int:
    """Symbols of the longest stream that this coder codes in a file."""
    return LONGEST.get(coder.name, LARGEST - 1)


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
    def is_slow(self) -> bool:
        """Whether decoding it takes microseconds a symbol."""
        return CODERS[self.coder].name in LONGEST

    @property
    def bits(self) -> int:
        return 8 * len(self.written())

    def symbols(self) -> Symbols:
        """Decoded. Raises `PackError`."""
        coder = CODERS[self.coder]
        if self.alphabet > coder.largest:
            raise PackError(f"{coder.name} cannot have coded an alphabet of {self.alphabet}")
        if self.count > longest(coder):
            raise PackError(f"{self.count} symbols are too many to have been coded by {coder.name}")
        symbols = coder.decode(self.data, self.alphabet, self.count, self.row)
        if len(symbols) and int(symbols.max()) >= self.alphabet:
            raise PackError(f"symbol {int(symbols.max())} of a stream with an alphabet of {self.alphabet}")
        return symbols


@dataclass(frozen=True, eq=False)
class Uncoded:
    """A stream before it is coded. Equal to itself only, so that what is found of it can be looked up."""

    symbols: Symbols
    alphabet: int
    row: int = 0
    is_plane: bool = False  # all symbols of a matrix that has a null: what mixing is made for

    def coded(self, coder: str = AUTO) -> Stream:
        """By the coder of this name. By the one that makes it the shortest for "smallest"; for "auto", or where the named one
        cannot, by the one of those that are worth their time.
        """
        if coder not in (AUTO, SMALLEST) and self.can(coder):
            return self.by(coder)
        tried = self.can if coder == SMALLEST else self.is_worth
        names = [coder.name for coder in CODERS if tried(coder.name)]
        return min((self.by(name) for name in names), key=lambda stream: len(stream.data))

    def by(self, name: str) -> Stream:
        """By the coder of this name, which must be able to."""
        number = _number(name)
        data = CODERS[number].encode(self.symbols, self.alphabet, self.row)
        return Stream(number, data, self.alphabet, len(self.symbols), self.row)

    def can(self, name: str) -> bool:
        """Whether the coder of this name codes so many symbols of such an alphabet."""
        coder = CODERS[_number(name)]
        return self.alphabet <= coder.largest and len(self.symbols) <= longest(coder)

    def is_worth(self, name: str) -> bool:
        """Whether "auto" tries the coder of this name."""
        count = len(self.symbols)
        if not self.can(name):
            return False
        if name == "mixing":
            return self.is_plane and count > 0 and 2 * int(counts_of(self.symbols, self.alphabet).max()) > count
        if name in FAST:
            return count > MIXED
        return name in ALWAYS or count <= LONG


def _number(name: str) -> int:
    """Place of a coder, under which files know it."""
    return next(number for number, coder in enumerate(CODERS) if coder.name == name)
