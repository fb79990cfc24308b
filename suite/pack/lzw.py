"""Lempel-Ziv-Welch (Welch 1984): numbers of phrases, each of which is a phrase seen before and one symbol more.

Choi et al. 2018 (Universal DNN Compression) name it among their universal coders. The dictionary begins with the alphabet, grows
to 2^16 phrases and then stays; a number is as wide as the dictionary is large at that moment.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from suite.pack.bits import ANY, Symbols, pack, unpack, width_of
from suite.pack.errors import PackError
from suite.pack.varint import Reader, varint

PHRASES = 2**16  # at most, beside the alphabet


class Lzw:
    """How many numbers, then the numbers; those of the same width end on a byte."""

    name, largest = "lzw", ANY

    def encode(self, symbols: Symbols, alphabet: int, row: int = 0) -> bytes:
        if not len(symbols):
            return b""
        numbers = np.array(_phrases(symbols.tolist(), alphabet), dtype=np.uint32)
        pieces = (pack(numbers[start:stop], width) for start, stop, width in _widths(len(numbers), alphabet))
        return varint(len(numbers)) + b"".join(pieces)

    def decode(self, data: bytes, alphabet: int, count: int, row: int = 0) -> Symbols:
        reader = Reader(data)
        if not count:
            reader.end()
            return np.zeros(0, dtype=np.uint32)
        pieces = [
            unpack(reader.take(((stop - start) * width + 7) // 8), width, stop - start)
            for start, stop, width in _widths(reader.number(count + 1), alphabet)
        ]
        reader.end()
        symbols = _spelt([number for piece in pieces for number in piece.tolist()], alphabet, count)
        if len(symbols) != count:
            raise PackError(f"phrases of {len(symbols)} symbols where {count} are announced")
        return np.array(symbols, dtype=np.uint32)


def _widths(numbers: int, alphabet: int) -> Iterator[tuple[int, int, int]]:
    """From which number to which one has what width: number i is below the alphabet's size plus i."""
    start = 0
    while start < numbers:
        width = width_of(alphabet + min(start, PHRASES))
        stop = min(numbers, (1 << width) - alphabet + 1) if start < PHRASES else numbers
        yield start, stop, width
        start = stop


def _phrases(symbols: list[int], alphabet: int) -> list[int]:
    known: dict[tuple[int, int], int] = {}
    numbers, phrase = [], symbols[0]
    for symbol in symbols[1:]:
        longer = known.get((phrase, symbol))
        if longer is not None:
            phrase = longer
            continue
        numbers.append(phrase)
        if len(known) < PHRASES:
            known[phrase, symbol] = alphabet + len(known)
        phrase = symbol
    return [*numbers, phrase]


def _spelt(numbers: list[int], alphabet: int, count: int) -> list[int]:
    """The symbols, or somewhat more than `count` of them if the numbers stand for too many."""
    known: list[tuple[int, ...]] = [(symbol,) for symbol in range(alphabet)]
    symbols: list[int] = []
    last: tuple[int, ...] = ()
    for number in numbers:
        if number > len(known) or (number == len(known) and not last):
            raise PackError(f"phrase {number} of {len(known)}")
        phrase = known[number] if number < len(known) else (*last, last[0])
        if last and len(known) < alphabet + PHRASES:
            known.append((*last, phrase[0]))
        symbols += phrase
        if len(symbols) > count:
            break
        last = phrase
    return symbols
