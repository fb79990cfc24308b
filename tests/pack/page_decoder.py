"""Decoders of streams written from docs/format.md alone: nothing of the suite is imported, nothing is fast."""

from __future__ import annotations

import zlib
from itertools import accumulate

import zstandard


class Bytes:
    """A stream that is read from its start."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        assert self.at + count <= len(self.data)
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def little(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def fields(self, count: int, width: int) -> list[int]:
        bits = "".join(f"{byte:08b}" for byte in self.take((count * width + 7) // 8))
        return [int(bits[i * width : (i + 1) * width], 2) for i in range(count)]


def fixed(data: bytes, alphabet: int, count: int) -> list[int]:
    stream = Bytes(data)
    symbols = stream.fields(count, (alphabet - 1).bit_length())
    assert stream.at == len(data)
    return symbols


def huffman(data: bytes, alphabet: int, count: int) -> list[int]:
    """Not for streams of one symbol only, k = 0."""
    stream = Bytes(data)
    kind = stream.number()
    inflated = zlib.decompress(stream.take(stream.number()), -15) if kind == 1 else b""
    lengths = list(inflated) or stream.fields(alphabet, kind - 1)
    codes, word, before = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        word = word + 1 << length - before if codes else 0
        codes[length, word], before = symbol, length
    rest = stream.take(len(data) - stream.at)
    bits = "".join(f"{byte:08b}" for byte in rest)
    symbols, at = [], 0
    while len(symbols) < count:
        end = at + 1
        while (end - at, int(bits[at:end], 2)) not in codes:
            end += 1
        symbols.append(codes[end - at, int(bits[at:end], 2)])
        at = end
    assert (at + 7) // 8 == len(rest)
    return symbols


def rans(data: bytes, alphabet: int, count: int) -> list[int]:
    stream = Bytes(data)
    scale, power = stream.number(), stream.number()
    blocks = -(-count // 2**power)
    frequencies = stream.fields(blocks * alphabet, scale + 1)
    words = [stream.number() for _ in range(blocks)]
    states = [[stream.little(4) for _ in range(8)] for _ in range(blocks)]
    symbols: list[int] = []
    for block in range(blocks):
        own = frequencies[block * alphabet : (block + 1) * alphabet]
        assert sum(own) == 1 << scale
        before = [0, *accumulate(own)]
        names = [symbol for symbol, frequency in enumerate(own) for _ in range(frequency)]
        x, left = states[block], words[block]
        for i in range(min(1 << power, count - (block << power))):
            slot = x[i % 8] & (1 << scale) - 1
            symbol = names[slot]
            x[i % 8] = own[symbol] * (x[i % 8] >> scale) + slot - before[symbol]
            if x[i % 8] < 1 << 16:
                x[i % 8] = (x[i % 8] << 16) + stream.little(2)
                left -= 1
            symbols.append(symbol)
        assert (left, x) == (0, [1 << 16] * 8)
    assert stream.at == len(data)
    return symbols


def zstd(data: bytes, alphabet: int, count: int) -> list[int]:
    planes = max(1, -(-(alphabet - 1).bit_length() // 8))
    raw = zstandard.ZstdDecompressor().decompress(b"\x28\xb5\x2f\xfd" + data)
    assert len(raw) == count * planes
    return [sum(raw[plane * count + i] << 8 * plane for plane in range(planes)) for i in range(count)]


DECODERS = {"fixed": fixed, "huffman": huffman, "rans": rans, "zstd": zstd}
