"""Universal coders, which need no statistics: Burrows-Wheeler and Lempel-Ziv, without the headers of their containers.

Choi et al. 2018 (Universal DNN Compression) use bzip2 and variants of Lempel-Ziv in place of Huffman coding.
"""

from __future__ import annotations

import bz2
import lzma
from abc import ABC, abstractmethod

import numpy as np

from suite.pack.bits import ANY, Symbols
from suite.pack.deflate import deflate, inflate
from suite.pack.errors import PackError
from suite.pack.header import Data

_BZ2_START = b"BZh91AY&SY"  # format, level 9, mark of a block: every file but an empty one begins so
_LZMA = {"id": lzma.FILTER_LZMA1, "dict_size": 2**23, "lc": 0, "lp": 0, "pb": 0}
_THOROUGH, _FAST = 6, 1
_LONG = 2**21  # bytes; more of them are searched fast
_ZSTD_START = b"\x28\xb5\x2f\xfd"  # every file begins so
_ZSTD_THOROUGH, _ZSTD_FAST = 19, 3
_MOST_ZSTD = 2**16  # bytes that a byte of a zstd file can stand for: 2^15, and more for short files


class _OfBytes(ABC):
    """Symbols as bytes: one each up to an alphabet of 256, then the low bytes of all, then the higher ones."""

    def encode(self, symbols: Symbols, alphabet: int, row: int = 0) -> bytes:
        if not len(symbols):
            return b""
        planes = np.empty((_planes(alphabet), len(symbols)), dtype=np.uint8)
        for i, plane in enumerate(planes):
            np.right_shift(symbols, np.uint32(8 * i), out=plane, casting="unsafe")  # no wide copy of them all
        return self.shrink(planes.data.cast("B"))

    def decode(self, data: bytes, alphabet: int, count: int, row: int = 0) -> Symbols:
        planes = _planes(alphabet)
        raw = self.grow(data, count * planes) if count else data
        if len(raw) != count * planes:
            raise PackError(f"{self.name} makes {len(raw)} bytes where {count * planes} are announced")
        symbols = np.zeros(count, dtype=np.uint32)
        for plane in np.frombuffer(raw, dtype=np.uint8).reshape(planes, count)[::-1]:
            symbols <<= np.uint32(8)
            symbols |= plane
        return symbols

    name: str

    @abstractmethod
    def shrink(self, raw: Data) -> bytes: ...

    @abstractmethod
    def grow(self, data: bytes, size: int) -> bytes:
        """At most `size` + 1 bytes. Raises `PackError`."""


def _planes(alphabet: int) -> int:
    return max(1, ((alphabet - 1).bit_length() + 7) // 8)


class BurrowsWheeler(_OfBytes):
    """bzip2 at its largest block."""

    name, largest = "bz2", ANY

    def shrink(self, raw: Data) -> bytes:
        return bz2.compress(raw, 9).removeprefix(_BZ2_START)

    def grow(self, data: bytes, size: int) -> bytes:
        decompressor = bz2.BZ2Decompressor()
        try:
            raw = decompressor.decompress(_BZ2_START + data, size + 1)
        except (OSError, EOFError) as error:
            raise PackError(f"a bz2 stream is damaged: {error}") from None
        return _ended(raw, decompressor)


class Lzma(_OfBytes):
    """Lempel-Ziv with a range coder behind it: LZMA without container, literals without context of the position."""

    name, largest = "lzma", ANY

    def shrink(self, raw: Data) -> bytes:
        search = {"preset": _FAST if len(raw) > _LONG else _THOROUGH}
        return lzma.compress(raw, lzma.FORMAT_RAW, filters=[{**_LZMA, **search}])

    def grow(self, data: bytes, size: int) -> bytes:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[_LZMA])
        try:
            raw = decompressor.decompress(data, size + 1)
        except (lzma.LZMAError, EOFError) as error:
            raise PackError(f"an LZMA stream is damaged: {error}") from None
        return _ended(raw, decompressor)


def _ended(raw: bytes, decompressor: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> bytes:
    if not decompressor.eof or decompressor.unused_data:
        raise PackError("a compressed stream does not end where its piece of the file ends")
    return raw


class Deflate(_OfBytes):
    """Lempel-Ziv 1977 with Huffman coding: raw deflate."""

    name, largest = "deflate", ANY

    def shrink(self, raw: Data) -> bytes:
        return deflate(raw)

    def grow(self, data: bytes, size: int) -> bytes:
        return inflate(data, size)


class Zstandard(_OfBytes):
    """Lempel-Ziv with Huffman coding and tabled asymmetric numeral systems (RFC 8878); the size is in the file's own header."""

    name, largest = "zstd", ANY

    def shrink(self, raw: Data) -> bytes:
        import zstandard  # late, as below: small networks need it not

        level = _ZSTD_FAST if len(raw) > _LONG else _ZSTD_THOROUGH
        return zstandard.ZstdCompressor(level=level).compress(raw).removeprefix(_ZSTD_START)

    def grow(self, data: bytes, size: int) -> bytes:
        import zstandard

        try:
            announced = zstandard.get_frame_parameters(_ZSTD_START + data).content_size
            if announced != size or size > _MOST_ZSTD * len(data):
                raise PackError(f"a zstd stream announces {announced} bytes, not {size}, or more than it can hold")
            return zstandard.ZstdDecompressor().decompress(_ZSTD_START + data, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise PackError(f"a zstd stream is damaged: {error}") from None
