"""An array of symbols of which one, the null, may be very frequent: as it is, or as the positions and values of the others.

Layouts: "dense" has one stream of all symbols. "mask" has a bit for every symbol, set where it is not null, and a stream of
the symbols that are not. "gaps" has the differences between the positions of these, of a limited width, and their stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suite.pack.bits import Symbols
from suite.pack.errors import PackError
from suite.pack.gaps import WIDTHS, best_width, limited, places
from suite.pack.streams import AUTO, Stream, Uncoded
from suite.pack.varint import Reader, varint

LAYOUTS = ("dense", "mask", "gaps")
COMPARED = 2**20  # symbols of the longest stream that slow coders code only to compare; mixing codes none
SLOW = ("bz2", "lzma", "deflate", "lzw")


@dataclass(frozen=True)
class Plane:
    """Coded symbols in one of the layouts."""

    layout: str
    size: int  # symbols
    alphabet: int
    null: int
    values: Stream  # of all symbols, or of those that are not null
    positions: Stream | None = None
    width: int = 0  # of the gaps

    def written(self) -> bytes:
        head = varint(LAYOUTS.index(self.layout))
        if self.positions is None:
            return head + self.values.written()
        head += varint(self.null, self.values.count)
        if self.layout == "gaps":
            head += varint(2 * self.width + (self.values.alphabet == self.alphabet))
        return head + self.positions.written() + self.values.written()

    @staticmethod
    def read(reader: Reader, size: int, alphabet: int, row: int) -> Plane:
        """Raises `PackError`; decodes nothing yet."""
        layout = LAYOUTS[reader.number(len(LAYOUTS))]
        if layout == "dense":
            return Plane(layout, size, alphabet, 0, Stream.read(reader, alphabet, size, row))
        null, count = reader.number(alphabet), reader.number(size + 1)
        if layout == "mask":
            positions = Stream.read(reader, 2, size, row)
            return Plane(layout, size, alphabet, null, Stream.read(reader, alphabet - 1, count), positions)
        width, filled = divmod(reader.number(2 * WIDTHS.stop), 2)
        positions = Stream.read(reader, 1 << width, count)
        values = Stream.read(reader, alphabet - 1 + filled, count)
        return Plane(layout, size, alphabet, null, values, positions, width)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Of positions, if they are apart, and of values."""
        return (self.values,) if self.positions is None else (self.positions, self.values)

    @property
    def position_bits(self) -> int:
        """Bits of the positions' stream."""
        return 0 if self.positions is None else self.positions.bits

    def symbols(self) -> Symbols:
        """Decoded. Raises `PackError`."""
        if self.positions is None:
            return self.values.symbols()
        at = self._places(self.positions.symbols())
        values = self.values.symbols()
        if len(at) != len(values):
            raise PackError(f"{len(at)} positions for {len(values)} values")
        if self.values.alphabet == self.alphabet:
            real = values != self.alphabet - 1  # all but fillers
            at = at[real]
            values = values[real]
        values += values >= self.null
        symbols = np.full(self.size, self.null, dtype=np.uint32)
        symbols[at] = values
        return symbols

    def _places(self, entries: Symbols) -> NDArray[np.int64]:
        """Where the values belong, of a mask or of gaps."""
        return np.flatnonzero(entries) if self.layout == "mask" else places(entries, self.size)


@dataclass(frozen=True)
class Alone:
    """What streams would take if one coder alone coded them all, in the layout that suits it best."""

    bits: int | None  # None: it is unable, or was spared the time
    able: bool
    tried: bool  # by "auto", on every one of the streams that it can code

    def __add__(self, other: Alone) -> Alone:
        bits = None if self.bits is None or other.bits is None else self.bits + other.bits
        return Alone(bits, self.able and other.able, self.tried and other.tried)


@dataclass(frozen=True)
class Unit:
    """An array of symbols that is to become a plane."""

    symbols: Symbols
    alphabet: int
    null: int
    row: int  # symbols of a row, if they form a matrix; else 0

    def planes(self, coder: str = AUTO) -> list[Plane]:
        """In every layout, each stream coded as `Uncoded.coded` says."""
        splits = self._splits()
        coded = {stream: stream.coded(coder) for stream in _distinct(split.streams for split in splits)}
        return [self._plane(split, coded) for split in splits]

    def _plane(self, split: _Split, coded: Mapping[Uncoded, Stream]) -> Plane:
        positions = None if split.positions is None else coded[split.positions]
        return Plane(
            split.layout, len(self.symbols), self.alphabet, self.null, coded[split.values], positions, split.width
        )

    def alone(self, names: Sequence[str]) -> dict[str, Alone]:
        """What the streams would take by each of these coders, if that does not take long to find out."""
        layouts = [split.streams for split in self._splits()]
        return {name: _alone(name, layouts) for name in names}

    def _splits(self) -> list[_Split]:
        dense = Uncoded(self.symbols, self.alphabet, self.row, is_plane=self.row > 0)
        splits = [_Split("dense", dense)]
        is_set = self.symbols != self.null
        if self.alphabet < 2 or 2 * int(np.count_nonzero(is_set)) > len(self.symbols):
            return splits
        at = np.flatnonzero(is_set)
        others = self.symbols[at]
        others = others - (others > self.null)
        values = Uncoded(others, self.alphabet - 1)
        is_own_mask = (self.alphabet, self.null) == (2, 0)
        mask = dense if is_own_mask else Uncoded(is_set.astype(np.uint32), 2, self.row)
        splits.append(_Split("mask", values, mask))
        width = best_width(at, others)
        entries, real = limited(at, width)
        if not real.all():
            filled = np.full(len(entries), self.alphabet - 1, dtype=np.uint32)
            filled[real] = others
            values = Uncoded(filled, self.alphabet)
        return [*splits, _Split("gaps", values, Uncoded(entries, 1 << width), width)]


def _distinct(layouts: Iterable[Sequence[Uncoded]]) -> list[Uncoded]:
    """Their streams, each once: two layouts can share one."""
    return list(dict.fromkeys(stream for streams in layouts for stream in streams))


def _alone(name: str, layouts: Sequence[Sequence[Uncoded]]) -> Alone:
    able = [streams for streams in layouts if all(stream.can(name) for stream in streams)]
    soon = [streams for streams in able if _is_soon(name, streams)]
    sizes = {stream: stream.by(name).bits for stream in _distinct(soon)}
    bits = min((sum(sizes[stream] for stream in streams) for streams in soon), default=None)
    tried = all(stream.is_worth(name) for streams in layouts for stream in streams if stream.can(name))
    return Alone(bits, bool(able), tried)


def _is_soon(name: str, streams: Sequence[Uncoded]) -> bool:
    return name != "mixing" and (name not in SLOW or all(len(stream.symbols) <= COMPARED for stream in streams))


@dataclass(frozen=True)
class _Split:
    layout: str
    values: Uncoded
    positions: Uncoded | None = None
    width: int = 0

    @property
    def streams(self) -> tuple[Uncoded, ...]:
        return (self.values,) if self.positions is None else (self.positions, self.values)
