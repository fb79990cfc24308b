"""One quantized weight tensor as bytes: shape, scales, dither, and the codes of its weights; the codebook stands elsewhere."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.pack.bits import Symbols
from suite.pack.codebook import Codebook
from suite.pack.counts import counts_of
from suite.pack.errors import PackError
from suite.pack.plane import Plane, Unit
from suite.pack.raw import from_bytes, to_bytes
from suite.pack.shape import DIMENSIONS, numel, row_of
from suite.pack.streams import AUTO
from suite.pack.varint import Reader, varint
from suite.quant.coded import PIECE, Coded
from suite.quant.dither import Dither
from suite.quant.lattice import LATTICES
from suite.quant.layer import CODES

_PRUNED, _SCALE, _DITHER = 1, 2, 4
_DITHER_FORMAT = "<QdB"  # seed, step, number of the lattice


@dataclass(frozen=True)
class Section:
    """A tensor as it stands in a file.

    Scalar codes and pruned weights are one plane: "pruned" is the codebook's zero, or a symbol of its own between the negative
    and the positive entries if there is no zero, or if zeros have dither taken off and so are none. Codes of vectors are a
    plane of blocks; which weights are pruned is then a plane of bits before it.
    """

    shape: tuple[int, ...]
    book: int  # which of the file's codebooks
    pruned: bool  # there are pruned weights that are no entry of the codebook
    scale: Tensor | None
    dither: Dither | None
    planes: tuple[Plane, ...]

    def written(self) -> bytes:
        flags = _PRUNED * self.pruned | _SCALE * (self.scale is not None) | _DITHER * (self.dither is not None)
        head = varint(len(self.shape), *self.shape, self.book, flags)
        if self.scale is not None:
            head += to_bytes(self.scale)
        if self.dither is not None:
            head += struct.pack(
                _DITHER_FORMAT, self.dither.seed, self.dither.step, list(LATTICES).index(self.dither.lattice)
            )
        if len(self.planes) > 1:
            head += varint(self.planes[-1].size)
        return head + b"".join(plane.written() for plane in self.planes)

    def units(self, book: Codebook) -> list[Unit]:
        """The planes decoded. Raises `PackError`."""
        row = row_of(self.shape) if book.values.dim() == 1 else 0
        rows = [row] if len(self.planes) == 1 else [row_of(self.shape), 0]
        return [
            Unit(symbols := plane.symbols(), plane.alphabet, _most_frequent(symbols), length)
            for plane, length in zip(self.planes, rows, strict=True)
        ]

    @staticmethod
    def read(data: bytes | memoryview, books: Sequence[Codebook]) -> Section:
        """Raises `PackError`; decodes nothing yet."""
        reader = Reader(data)
        shape = tuple(reader.numbers(reader.number(DIMENSIONS + 1)))
        size = numel(shape)
        number = reader.number(len(books))
        values, flags = books[number].values, reader.number(8)
        scale = _read_scale(reader, shape, values.dtype) if flags & _SCALE else None
        dither = _dither(reader) if flags & _DITHER else None
        pruned = bool(flags & _PRUNED)
        read = _read_planes(reader, size, row_of(shape), values, pruned)
        reader.end()
        return Section(shape, number, pruned, scale, dither, read)

    @property
    def position_bits(self) -> int:
        """Bits of the streams that say where weights are, not which value they have."""
        masks, last = self.planes[:-1], self.planes[-1]
        return last.position_bits + sum(plane.position_bits + plane.values.bits for plane in masks)

    @property
    def code_bits(self) -> int:
        """Bits of the stream of codes."""
        return self.planes[-1].values.bits

    def decoded(self, books: Sequence[Codebook]) -> Tensor:
        """The weights. Raises `PackError`."""
        return self.coded(books[self.book].values).decoded()

    def coded(self, values: Tensor) -> Coded:
        """The description of the layer, with the codebook `values`."""
        planes = [plane.symbols() for plane in self.planes]
        live = None
        if values.dim() > 1:
            (codes,) = planes[-1:]
            if self.pruned:
                live = planes[0] != 0
                if len(codes) != -(-int(live.sum()) // values.shape[1]):
                    raise PackError(f"{len(codes)} blocks of {values.shape[1]} for {int(live.sum())} weights")
        else:
            (codes,) = planes
            if self.pruned:
                null = _pruned(values)
                live = codes != null
                codes = codes[live]
                codes = codes - (codes > null)
        if len(codes) and not len(values):
            raise PackError(f"{len(codes)} codes of a codebook without entries")
        mask = None if live is None else torch.from_numpy(live).reshape(self.shape)
        numbers = torch.from_numpy(codes.astype(np.int16)).to(CODES)
        scale = None if self.scale is None else self.scale.double()
        return Coded(torch.Size(self.shape), values.dtype, numbers, values.double(), mask, scale, self.dither)


@dataclass(frozen=True)
class Draft:
    """A tensor whose symbols are not coded yet. It keeps no codes of the layer it is made of: they take half of what symbols do."""

    shape: tuple[int, ...]
    book: int  # which of the file's codebooks
    pruned: bool  # there are pruned weights that are no entry of the codebook
    scale: Tensor | None
    dither: Dither | None
    units: tuple[Unit, ...]

    @staticmethod
    def of(coded: Coded, number: int, book: Codebook, places: NDArray[np.int64]) -> Draft:
        """Of a layer; entry i of its codebook is entry `places[i]` of codebook `number`."""
        scale = None if coded.scale is None else coded.scale.to(coded.dtype)
        units, pruned = units_of(coded, book, places)
        return Draft(tuple(coded.shape), number, pruned, scale, coded.dither, tuple(units))

    def section(self, coder: str = AUTO) -> Section:
        """The smallest there is, with streams coded by `coder` as `Uncoded.coded` says."""
        chosen = (min(unit.planes(coder), key=lambda plane: len(plane.written())) for unit in self.units)
        return Section(self.shape, self.book, self.pruned, self.scale, self.dither, tuple(chosen))


def _dither(reader: Reader) -> Dither:
    seed, step, number = struct.unpack(_DITHER_FORMAT, reader.take(struct.calcsize(_DITHER_FORMAT)))
    if number >= len(LATTICES):
        raise PackError(f"lattice {number} is unknown; this version knows 0 to {len(LATTICES) - 1}")
    return Dither(seed, step, list(LATTICES)[number])


def units_of(coded: Coded, book: Codebook, places: NDArray[np.int64]) -> tuple[list[Unit], bool]:
    """What become the planes of a layer, and whether there are pruned weights that are no entry of the codebook."""
    codes = _moved(places.astype(np.uint32), coded.codes.cpu().numpy())
    entries, row = len(book.values), row_of(tuple(coded.shape))
    live = None if coded.live is None else coded.live.cpu().numpy().reshape(-1)
    if book.values.dim() > 1:
        blocks = Unit(codes, _alphabet(entries), _most_frequent(codes), 0)
        pruned = live is not None and not live.all()
        return ([Unit(live.astype(np.uint32), 2, 0, row), blocks] if pruned and live is not None else [blocks]), pruned
    zero = book.zero if coded.dither is None else None
    if live is None or live.all():
        return [Unit(codes, _alphabet(entries), _most_frequent(codes) if zero is None else zero, row)], False
    pruned = zero is None
    null = _pruned(book.values) if zero is None else zero
    symbols = np.full(len(live), null, dtype=np.uint32)
    symbols[live] = codes + (pruned & (codes >= null))
    return [Unit(symbols, _alphabet(entries + pruned), null, row)], pruned


def _moved(places: NDArray[np.uint32], codes: NDArray[np.int16]) -> Symbols:
    """places[codes]; NumPy would turn all codes into wide ones before."""
    moved = np.empty(len(codes), dtype=np.uint32)
    for start in range(0, len(codes), PIECE):
        moved[start : start + PIECE] = places[codes[start : start + PIECE]]
    return moved


def _pruned(values: Tensor) -> int:
    """The symbol of pruned weights where it is no entry of the codebook: between the negative and the positive entries."""
    return int((values < 0).sum())


def _most_frequent(symbols: Symbols) -> int:
    return int(counts_of(symbols, int(symbols.max(initial=0)) + 1).argmax())


def _read_scale(reader: Reader, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    if not shape:
        raise PackError("a single number has no filters to scale")
    return from_bytes(reader.take(shape[0] * dtype.itemsize), dtype, shape[:1])


def _read_planes(reader: Reader, size: int, row: int, values: Tensor, pruned: bool) -> tuple[Plane, ...]:
    if values.dim() == 1:
        return (Plane.read(reader, size, _alphabet(len(values) + pruned), row),)
    blocks = -(-size // values.shape[1])
    if not pruned:
        return (Plane.read(reader, blocks, _alphabet(len(values)), 0),)
    blocks = reader.number(blocks + 1)
    return (Plane.read(reader, size, 2, row), Plane.read(reader, blocks, _alphabet(len(values)), 0))


def _alphabet(size: int) -> int:
    return max(1, size)
