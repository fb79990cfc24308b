"""All coders of streams of symbols, by name. Their order is the number under which a file names them."""

from __future__ import annotations

from typing import Protocol

from suite.pack.arithmetic import Adaptive, Static
from suite.pack.bits import ANY, Symbols, pack, unpack, width_of
from suite.pack.density import Density
from suite.pack.huffman import Huffman
from suite.pack.lzw import Lzw
from suite.pack.mixing import Mixing
from suite.pack.rans import Rans
from suite.pack.universal import BurrowsWheeler, Deflate, Lzma, Zstandard


class Coder(Protocol):
    """Codes non-negative integers below `alphabet`, the size of their alphabet, at most `largest`.

    `row` is how many symbols make a row of a matrix, 0 if unknown: symbols of one column tend to be alike.
    """

    @property
    def name(self) -> str: ...

    @property
    def largest(self) -> int: ...

    def encode(self, symbols: Symbols, alphabet: int, row: int = 0) -> bytes: ...

    def decode(self, data: bytes, alphabet: int, count: int, row: int = 0) -> Symbols:
        """The `count` symbols, each below `alphabet` if the data are what `encode` made.

        Raises:
            PackError: if the data are not of that kind and length.
        """


class FixedWidth:
    """The shortest width that all symbols of the alphabet fit in."""

    name, largest = "fixed", ANY

    def encode(self, symbols: Symbols, alphabet: int, row: int = 0) -> bytes:
        return pack(symbols, width_of(alphabet))

    def decode(self, data: bytes, alphabet: int, count: int, row: int = 0) -> Symbols:
        return unpack(data, width_of(alphabet), count)


# New coders go to the end: files name a coder by its place here.
CODERS: tuple[Coder, ...] = (
    FixedWidth(),
    Huffman(),
    BurrowsWheeler(),
    Lzma(),
    Deflate(),
    Static(),
    Adaptive(),
    Density(),
    Mixing(),
    Lzw(),
    Rans(),
    Zstandard(),
)
