"""Canonical Huffman coding (Huffman 1952): the code lengths are stored, the code words follow from them.

Deep Compression (Han et al. 2016) codes its weights and its index differences so.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from suite.pack.bits import ANY, Symbols, pack, unpack, width_of
from suite.pack.counts import Counts, counts_of
from suite.pack.deflate import deflate, inflate
from suite.pack.errors import PackError
from suite.pack.varint import Reader, varint

LONGEST = 56  # bits of a code word; a 64-bit window holds so many at any bit of a byte
WIDEST = 32  # bits of a length in a table of lengths that is not deflated
LOOK = 16  # bits that the decoder looks up at once, at most
FAST = 2**20  # symbols; longer streams are worth the second that numba takes to be imported
BLOCK = 2**22  # bits that are read or written at a time; a multiple of 8

Lengths = NDArray[np.uint8]


def code_lengths(counts: Counts) -> Lengths:
    """Bits of each symbol's code word in an optimal prefix code for these counts.

    Zero for a symbol that does not occur, and for one that is the only one.
    """
    used = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), dtype=np.uint8)
    if len(used) > 1:
        lengths[used] = _depths(counts[used])
    return lengths


def _depths(weights: Counts) -> Lengths:
    """Depth of every leaf of the tree that joins the two lightest nodes until one is left."""
    leaves = len(weights)
    heap = [(weight, node) for node, weight in enumerate(weights.tolist())]
    heapq.heapify(heap)
    parents = [0] * (2 * leaves - 1)
    for node in range(leaves, 2 * leaves - 1):
        lightest, child = heapq.heappop(heap)
        weight, other = heap[0]
        parents[child] = parents[other] = node
        heapq.heapreplace(heap, (lightest + weight, node))
    depths = [0] * (2 * leaves - 1)
    for node in range(2 * leaves - 3, -1, -1):
        depths[node] = depths[parents[node]] + 1
    if max(depths) > LONGEST:
        raise ValueError(f"a code word of {max(depths)} bits is longer than {LONGEST}")
    return np.array(depths[:leaves], dtype=np.uint8)


def code_bits(counts: Counts) -> int:
    """Bits of a stream with these counts, without the table of code lengths."""
    return int((code_lengths(counts).astype(np.int64) * counts).sum())


class Huffman:
    """The table of code lengths, then the code words."""

    name, largest = "huffman", ANY

    def encode(self, symbols: Symbols, alphabet: int, row: int = 0) -> bytes:
        if not len(symbols):
            return b""
        lengths = code_lengths(_counts(symbols, alphabet))
        if not lengths.any():
            return varint(0, int(symbols[0]))
        return _pack_lengths(lengths) + _write(symbols, lengths)

    def decode(self, data: bytes, alphabet: int, count: int, row: int = 0) -> Symbols:
        reader = Reader(data)
        if not count:
            reader.end()
            return np.zeros(0, dtype=np.uint32)
        kind = reader.number(WIDEST + 2)
        if kind == 0:
            only = reader.number(alphabet)
            reader.end()
            return np.full(count, only, dtype=np.uint32)
        lengths = _unpack_lengths(reader, kind, alphabet)
        return _read(reader.rest(), lengths, count)


def _counts(symbols: Symbols, alphabet: int) -> Counts:
    if len(symbols) <= FAST:
        return counts_of(symbols, alphabet)
    from suite.pack import counts_fast

    counts: Counts = counts_fast.counts(symbols, alphabet, BLOCK).sum(axis=0)
    return counts


def _pack_lengths(lengths: Lengths) -> bytes:
    """As numbers of a fixed width, or deflated if that is shorter."""
    width = width_of(int(lengths.max()) + 1)
    fixed, deflated = pack(lengths.astype(np.uint32), width), deflate(lengths.tobytes())
    short = varint(1, len(deflated)) + deflated
    long = varint(1 + width) + fixed
    return min(short, long, key=len)


def _unpack_lengths(reader: Reader, kind: int, alphabet: int) -> Lengths:
    if kind == 1:
        lengths = np.frombuffer(inflate(reader.take(reader.number()), alphabet), dtype=np.uint8)
    else:
        width = kind - 1
        lengths = unpack(reader.take((alphabet * width + 7) // 8), width, alphabet).clip(max=255).astype(np.uint8)
    counts = np.bincount(lengths[lengths > 0], minlength=1).tolist()  # Python's integers, which do not wrap around
    words = sum(count << (LONGEST - length) for length, count in enumerate(counts) if length <= LONGEST)
    if len(counts) > LONGEST + 1 or words != 1 << LONGEST:
        raise PackError("a table of Huffman code lengths is no complete prefix code")
    return lengths


def _canonical(lengths: Lengths) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Symbols in the order of their code words, and the code words, followed by zeros to `LONGEST` bits."""
    used = np.flatnonzero(lengths)
    order = used[np.argsort(lengths[used], kind="stable")]
    steps = np.uint64(1 << LONGEST) >> lengths[order].astype(np.uint64)
    return order, np.cumsum(steps) - steps


def _write(symbols: Symbols, lengths: Lengths) -> bytes:
    order, words = _canonical(lengths)
    codes = np.zeros(len(lengths), dtype=np.uint64)
    codes[order] = words >> (np.uint64(LONGEST) - lengths[order].astype(np.uint64))
    if _is_fast(len(symbols), lengths):
        from suite.pack import huffman_fast

        return huffman_fast.write(symbols, codes, lengths)
    written, rest = [], np.zeros(0, dtype=np.uint8)
    for i in range(0, len(symbols), BLOCK // 8):
        block = symbols[i : i + BLOCK // 8]
        bits = np.concatenate((rest, _bits(codes[block], lengths[block])))
        whole = len(bits) // 8 * 8
        written.append(np.packbits(bits[:whole]).tobytes())
        rest = bits[whole:]
    return b"".join([*written, np.packbits(rest).tobytes()])


def _bits(codes: NDArray[np.uint64], lengths: Lengths) -> NDArray[np.uint8]:
    """The bits of these code words, one a byte. The last bit of every word is written at once, then the last but one, ..."""
    places = np.cumsum(lengths, dtype=np.int64) - 1
    bits = np.empty(int(places[-1]) + 1, dtype=np.uint8)
    while len(places):
        bits[places] = codes & np.uint64(1)
        more = lengths > 1
        places, codes, lengths = places[more] - 1, codes[more] >> np.uint64(1), lengths[more] - 1
    return bits


def _read(data: bytes, lengths: Lengths, count: int) -> Symbols:
    if int(lengths[lengths > 0].min()) * count > 8 * len(data):
        raise PackError(f"{len(data)} bytes are too few for {count} Huffman code words")
    if _is_fast(count, lengths):
        from suite.pack import huffman_fast

        found = huffman_fast.read(data, lengths, *_canonical(lengths), count)
    else:
        symbols = _Decoder(lengths, data).read(count)
        found = symbols if (int(lengths[symbols].sum(dtype=np.int64)) + 7) // 8 == len(data) else None
    if found is None:
        raise PackError(f"{count} Huffman code words do not take {len(data)} bytes")
    return found


def _is_fast(count: int, lengths: Lengths) -> bool:
    """Whether the compiled loops are worth it, and code words are such as they know."""
    return count > FAST and len(lengths) <= 2**16 and int(lengths.max()) <= 32


class _Decoder:
    """Reads every code word that ends within the next bits, 16 in a long stream, at one look into a table.

    What a look finds and how far it goes is found for all bits of a block at once; only the chain of looks is followed
    one by one. Longer code words are rare (less than one in 2^16 at the time of coding) and read by a search. A stream of fewer
    than 2^16 bits has looks of as many bits as count its own: a table of more entries takes longer to make than it saves.
    """

    def __init__(self, lengths: Lengths, data: bytes) -> None:
        self._lengths, self._data = lengths, np.frombuffer(data + bytes(16), dtype=np.uint8)
        self._bits = 8 * len(data)
        self._look = min(LOOK, self._bits.bit_length())
        self._order, self._words = _canonical(lengths)
        self._tabulate()

    def _tabulate(self) -> None:
        size = 1 << self._look
        looks = np.arange(size, dtype=np.uint32)
        first = self._order[self._at_or_before(looks.astype(np.uint64) << np.uint64(LONGEST - self._look))]
        length = self._lengths[first].astype(np.int64)
        self._advance, self._found = np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=np.uint8)
        columns, going = [], looks
        while len(going):
            shifted = (going << self._advance[going]) & np.uint32(size - 1)
            fits = self._advance[going] + length[shifted] <= self._look
            going, shifted = going[fits], shifted[fits]
            column = np.zeros(size, dtype=np.uint32)
            column[going] = first[shifted]
            columns.append(column)
            self._advance[going] += length[shifted].astype(np.uint8)
            self._found[going] += 1
        self._table = np.stack(columns, axis=1)

    def _at_or_before(self, windows: NDArray[np.uint64]) -> NDArray[np.int64]:
        return np.searchsorted(self._words, windows, side="right") - 1

    def read(self, count: int) -> Symbols:
        parts, have, at = [], 0, 0
        while have < count and at < self._bits:
            part, at = self._block(at)
            parts.append(part)
            have += len(part)
        if have < count:
            raise PackError(f"a Huffman stream holds {have} of {count} code words")
        return np.concatenate(parts)[:count]

    def _block(self, at: int) -> tuple[Symbols, int]:
        """The symbols of the looks that begin within the next block, and the bit where the next look begins."""
        first = at // 8
        size = min(BLOCK // 8, (self._bits - 8 * first + 7) // 8)
        looks = self._looks(first, size)
        jumps = self._advance[looks].tobytes()
        bit, end = at - 8 * first, min(8 * size, self._bits - 8 * first)
        starts: list[int] = []
        long: list[tuple[int, int]] = []
        while bit < end:
            jump = jumps[bit]
            if not jump:
                symbol, jump = self._long(8 * first + bit)
                long.append((len(starts), symbol))
            starts.append(bit)
            bit += jump
        seen = looks[starts]
        found, symbols = self._found[seen], self._table[seen]
        for place, symbol in long:
            found[place], symbols[place, 0] = 1, symbol
        return symbols[np.arange(symbols.shape[1]) < found[:, None]], 8 * first + bit

    def _looks(self, first: int, size: int) -> NDArray[np.uint16]:
        """The bits to look up at each bit of these bytes."""
        piece = self._data[first : first + size + 2].astype(np.uint32)
        wide = piece[:-2] << 16 | piece[1:-1] << 8 | piece[2:]
        looks = np.stack([(wide >> np.uint32(8 - bit)).astype(np.uint16) for bit in range(8)], axis=1).reshape(-1)
        looks >>= np.uint16(LOOK - self._look)
        return looks

    def _long(self, bit: int) -> tuple[int, int]:
        """Symbol and length of the code word at this bit."""
        window = int.from_bytes(self._data[bit // 8 : bit // 8 + 8].tobytes(), "big") << bit % 8
        word = np.uint64(window >> (64 - LONGEST) & ((1 << LONGEST) - 1))
        symbol = int(self._order[self._at_or_before(np.array([word]))[0]])
        return symbol, int(self._lengths[symbol])
