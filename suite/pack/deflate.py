"""Raw deflate, without zlib's header and checksum."""

from __future__ import annotations

import zlib

from suite.pack.errors import PackError


def deflate(data: bytes | memoryview) -> bytes:
    """As small as zlib makes it."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    return compressor.compress(data) + compressor.flush()


def inflate(data: bytes | memoryview, size: int) -> bytes:
    """The inverse, to exactly `size` bytes and never more. Raises `PackError`."""
    inflater = zlib.decompressobj(-15)
    try:
        raw = inflater.decompress(data, size + 1)
    except zlib.error as error:
        raise PackError(f"a deflated piece is damaged: {error}") from None
    if len(raw) != size or not inflater.eof or inflater.unused_data:
        raise PackError(f"a deflated piece does not hold the {size} bytes that are announced")
    return raw
