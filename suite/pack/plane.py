"""An array of symbols of which one, the null, may be very frequent: as it is, or as the positions and values of the others.

Layouts: "dense" has one stream of all symbols. "mask" has a bit for every symbol, set where it is not null, and a stream of
the symbols that are not. "gaps" has the differences between the positions of these, of a limited width, and their stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suite.pack.bits import ANY, Symbols
from suite.pack.coders import CODERS
from suite.pack.errors import PackError
from suite.pack.gaps import WIDTHS, best_width, limited, places
from suite.pack.streams import Stream, Uncoded
from suite.pack.varint import Reader, varint

LAYOUTS = ("dense", "mask", "gaps")


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
    def position_bits(self) -> int:
        """Bits of the positions' stream."""
        return 0 if self.positions is None else self.positions.bits

    def symbols(self) -> Symbols:
        """Decoded. Raises `PackError`."""
        if self.positions is None:
            return self.values.symbols()
        entries, values = self.positions.symbols(), self.values.symbols()
        if self.layout == "mask":
            at: NDArray[np.int64] = np.flatnonzero(entries)
            if len(at) != len(values):
                raise PackError(f"{len(at)} positions for {len(values)} values")
        else:
            real = values != self.alphabet - 1  # all but fillers
            at, values = places(entries, self.size)[real], values[real]
        symbols = np.full(self.size, self.null, dtype=np.uint32)
        symbols[at] = values + (values >= self.null)
        return symbols


@dataclass(frozen=True)
class Unit:
    """An array of symbols that is to become a plane."""

    symbols: Symbols
    alphabet: int
    null: int
    row: int  # symbols of a row, if they form a matrix; else 0

    def planes(self) -> list[Plane]:
        """In every layout, each stream by the coder that makes it the shortest."""
        return [self._plane(split, split.values.smallest()) for split in self._splits()]

    def _plane(self, split: _Split, values: Stream) -> Plane:
        positions = None if split.positions is None else split.positions.smallest()
        return Plane(split.layout, len(self.symbols), self.alphabet, self.null, values, positions, split.width)

    def bits_by_coder(self) -> dict[str, int]:
        """What the streams would take if one coder coded all of them, in the layout that suits it best.

        Only coders that know no more than the symbols: those of matrices are left out.
        """
        layouts = [[s for s in (split.values, split.positions) if s is not None] for split in self._splits()]
        names = [coder.name for coder in CODERS if coder.largest == ANY]
        return {name: min(sum(s.by(name).bits for s in streams) for streams in layouts) for name in names}

    def _splits(self) -> list[_Split]:
        splits = [_Split("dense", Uncoded(self.symbols, self.alphabet, self.row, is_plane=self.row > 0))]
        is_set = self.symbols != self.null
        at = np.flatnonzero(is_set)
        if self.alphabet < 2 or 2 * len(at) > len(self.symbols):
            return splits
        others = self.symbols[at]
        others = others - (others > self.null)
        values = Uncoded(others, self.alphabet - 1)
        splits.append(_Split("mask", values, Uncoded(is_set.astype(np.uint32), 2, self.row)))
        width = best_width(at, others)
        entries, real = limited(at, width)
        if not real.all():
            filled = np.full(len(entries), self.alphabet - 1, dtype=np.uint32)
            filled[real] = others
            values = Uncoded(filled, self.alphabet)
        return [*splits, _Split("gaps", values, Uncoded(entries, 1 << width), width)]


@dataclass(frozen=True)
class _Split:
    layout: str
    values: Uncoded
    positions: Uncoded | None = None
    width: int = 0
