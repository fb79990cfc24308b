"""Packed files changed at random, by the million: every one must end in `PackError` or in tensors, soon, and in little memory.

    python -m tests.pack.fuzz --seconds 600 --seed 1         as many as there is time for
    python -m tests.pack.fuzz --first 123456 --cases 1       one of them again
    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=/tmp/checked python -m tests.pack.fuzz --compiled

The last has compiled loops, which are for long streams, read the short ones, too, and check every index, which is dear.

Where it starts: small files of all coders, layouts and kinds of tensors. What it does to them: bits flipped, bytes changed, cut,
repeated, moved between files, numbers made huge, streams given to other coders. In most cases all lengths and checksums fit again
afterwards, so that what is behind them is reached; the rest is changed as a damaged disk would. A case is known by seed and number.
What is read in pieces is read in small ones, so that short streams have several, unless compiled loops read it.

A failure is any other error, weights that are others once they stay compressed, more than 5 s of processor time, or more than
128 MiB beyond what the process had when it began (the system refuses them). Tensors may take 128 KiB: files that announce more are
not decoded. Files that fail are kept. A call into a library that does not come back ends the process after two minutes with a
traceback.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import resource
import signal
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import FrameType
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from suite.pack import bits, huffman, rans
from suite.pack.codebook import Codebook
from suite.pack.coders import CODERS
from suite.pack.compressed import CompressedWeight
from suite.pack.container import Packed, packed, unpacked, written_books
from suite.pack.contents import contents
from suite.pack.deflate import deflate
from suite.pack.errors import PackError
from suite.pack.header import LABELLED, MAGIC, VERSION, Described, Header
from suite.pack.plane import Unit
from suite.pack.raw import dtype_number, to_bytes
from suite.pack.shape import row_of
from suite.pack.tensor import Section, units_of
from suite.pack.varint import Reader, varint
from suite.quant import dither
from suite.quant.coded import Coded
from suite.quant.dither import Dither

LIMIT = 2**17  # bytes that all tensors of a file may take
SECONDS = 5.0  # of the processor, for a file
MEMORY = 2**27  # bytes beyond what the process has at the start
STUCK = 120  # seconds for a thousand files, beyond which the process ends
NUMBERS = [*range(len(CODERS) + 1), 127, 255, 256] + [
    2**k + d for k in (14, 15, 16, 20, 24, 31, 32, 40, 62, 63, 64) for d in (-1, 0, 1)
]
METADATA = {"network": "lenet5", "é": ""}


@dataclass(frozen=True)
class Parts:
    """A file taken apart."""

    header: Header
    books: bytes
    sections: tuple[bytes, ...]
    streams: tuple[tuple[int, int, int], ...]  # of each the section, and where in it the stream begins and ends

    @staticmethod
    def of(data: bytes) -> Parts:
        content, reader = unpacked(data), Reader(data)
        header = Header.read(reader)
        sections = tuple(bytes(entry.data) for entry in content.entries)
        return Parts(header, reader.take(header.books_size), sections, tuple(_streams(content)))

    def joined(self, change_header: Callable[[bytes], bytes] = lambda body: body, is_deflated: bool = False) -> bytes:
        """With all lengths and checksums right, but for what is changed of the header."""
        kept = zip(self.header.tensors, self.sections, strict=True)
        tensors = tuple(replace(one, size=len(section)) for one, section in kept)
        body = change_header(replace(self.header, tensors=tensors, books_size=len(self.books)).body())
        pieces = (self.books, *self.sections)
        checked = body + b"".join(_crc(piece) for piece in pieces)
        version = LABELLED if self.header.metadata else VERSION
        short = deflate(body) if is_deflated else b""
        head = (MAGIC, bytes((version,)), varint(len(body), len(short)), _crc(checked), short or body)
        return b"".join((*head, checked[len(body) :], *pieces))


def _streams(content: Packed) -> Iterator[tuple[int, int, int]]:
    """From the end of a section, or from the numbers behind the positions of a sparse one: nothing else is behind streams."""
    for which, entry in enumerate(content.entries):
        planes = content.planes(entry)
        end = len(entry.data) if entry.kind == "coded" else sum(len(plane.written()) for plane in planes)
        for plane in reversed(planes):
            start = end - len(plane.written())
            for stream in reversed(plane.streams):
                size = len(stream.written())
                yield which, end - size, end
                end -= size
            end = start


def _crc(piece: bytes) -> bytes:
    return zlib.crc32(piece).to_bytes(4, "little")


def starts() -> list[Parts]:
    """Files of a tensor or two, so that most of the time goes into what was changed: every coder with every kind of tensor."""
    files = [packed({}, plain) for plain in _plain()]
    for coder in CODERS:
        files += [file for layer in _layers() for file in _coded(layer, coder.name)]
        files += [file for sparse in _sparse() for file in _written_sparse(sparse, coder.name)]
    files += [*_coded(_deep(), "huffman"), *_several_blocks()]
    both = packed({"a": _layers()[0], "c": _layers()[1]}, _plain()[0])
    parts = [Parts.of(file) for file in dict.fromkeys((*files, both))]
    return [*parts, replace(parts[-1], header=replace(parts[-1].header, metadata=METADATA))]


def _coded(layer: Coded, coder: str) -> Iterator[bytes]:
    """A file of a layer in each layout."""
    book, places = Codebook.of(layer.codebook, layer.dtype, np.ones(len(layer.codebook), dtype=np.bool_))
    scale = None if layer.scale is None else layer.scale.to(layer.dtype)
    units, pruned = units_of(layer, book, places)
    for planes in product(*(unit.planes(coder) for unit in units)):
        section = Section(tuple(layer.shape), 0, pruned, scale, layer.dither, planes).written()
        yield _alone(Described("w", "coded", 0, 0), written_books([book]), section)


def _written_sparse(tensor: Tensor, coder: str) -> Iterator[bytes]:
    """A file of a sparse tensor in each layout."""
    flat, shape = tensor.flatten(), tuple(tensor.shape)
    unit = Unit((flat != 0).numpy().astype(np.uint32), 2, 0, row_of(shape))
    described = Described("s", "sparse", 0, 0, dtype_number(tensor.dtype), shape)
    for plane in unit.planes(coder):
        yield _alone(described, b"", plane.written() + to_bytes(flat[flat != 0]))


def _alone(tensor: Described, books: bytes, section: bytes) -> bytes:
    return Parts(Header((tensor,), 0, 0), books, (section,), ()).joined()


def _layers() -> list[Coded]:
    """Pruned and whole ones, of scalars and vectors, of all types and lattices, stepped and other codebooks, and small extremes."""
    rng = torch.Generator().manual_seed(0)

    def layer(
        shape: tuple[int, ...],
        entries: int,
        width: int = 1,
        kept: float = 1.0,
        dtype: torch.dtype = torch.float32,
        lattice: str = "",
        step: float = 0.0,
    ) -> Coded:
        size = torch.Size(shape)
        live = torch.rand(size, generator=rng) < kept if kept < 1 else None
        count = size.numel() if live is None else int(live.sum())
        codes = (torch.rand(-(-count // width), generator=rng) ** 2 * entries).to(torch.int16)
        book = torch.randn((entries, width) if width > 1 else (entries,), generator=rng)
        book = (book / step).round() * step + 0.0 if step else book  # -0 is no multiple
        scale = torch.randn(shape[0], generator=rng).to(dtype).double() if lattice else None
        dither = Dither(3, 0.1, lattice) if lattice else None
        return Coded(size, dtype, codes, book.to(dtype).double(), live, scale, dither)

    return [
        layer((5, 3, 2, 2), 9),
        layer((6, 11), 17, dtype=torch.bfloat16, step=0.25),
        layer((8, 10), 5, kept=0.2, lattice="Z"),
        layer((9, 20), 3, kept=0.04, dtype=torch.float16, step=0.5),
        layer((4, 15), 7, width=2, kept=0.4),
        layer((4, 15), 7, width=4, lattice="E8", dtype=torch.float64),
        layer((40, 50), 33, kept=0.05, step=0.125),
        layer((3, 7), 5, width=2, kept=0.5, lattice="A2"),
        layer((3, 300), 4, lattice="D4"),  # its dither is drawn in pieces
        layer((20, 20), 300),
        layer((3, 4), 1),
        layer((4, 5), 0, kept=0.0),
        layer((0, 3), 2),
        _filled_up(),
    ]


def _filled_up() -> Coded:
    """Gaps are the same but for one twice as long, which is cheaper as two of them."""
    live = torch.zeros(400, dtype=torch.bool)
    live[3:100:4] = live[107::4] = True
    codes = torch.arange(int(live.sum())).to(torch.int16) % 3
    return Coded(torch.Size((2, 200)), torch.float32, codes, torch.tensor([-1.0, 1, 2]).double(), live.view(2, 200))


def _deep() -> Coded:
    """Some code words of Huffman's have more bits than are looked up at once: as often as Fibonacci's numbers say."""
    often = [1, 1]
    while len(often) < 19:
        often.append(often[-1] + often[-2])
    codes = torch.repeat_interleave(torch.arange(19), torch.tensor(often))
    codes = codes[torch.randperm(len(codes), generator=torch.Generator().manual_seed(0))].to(torch.int16)
    return Coded(codes.shape, torch.float16, codes, torch.arange(19).double())


def _sparse() -> list[Tensor]:
    sparse = torch.zeros(8, 20)
    sparse[::3, ::7] = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    return [sparse, (sparse.view(4, 5, 2, 4) > 0.5).to(torch.bool)]


def _several_blocks() -> Iterator[bytes]:
    """Numeral systems in blocks as short as they may be: a stream has two of them where it becomes sparser."""
    rng = torch.Generator().manual_seed(0)
    dense, thin = (torch.rand(300, 150, generator=rng) < share for share in (0.4, 0.01))
    with patch.object(rans, "SMALLEST", rans.BLOCKS.start):
        yield from _written_sparse(torch.cat((dense, thin)).to(torch.int8), "rans")


def _plain() -> list[dict[str, Tensor]]:
    return [
        {"b": torch.arange(7) ** 0.5, "n": torch.tensor(3)},
        {"ö": torch.ones(60, dtype=torch.bool), "e": torch.zeros(0, 3, dtype=torch.int8)},
        {"d": torch.arange(300).double()},
    ]


Random = random.Random


def changed(data: bytes, draw: Random, others: list[bytes]) -> bytes:
    """The bytes with something else in one place; more often near the start, where the numbers stand."""
    at = draw.randrange(min(len(data), 24) + 1) if draw.random() < 0.4 else draw.randrange(len(data) + 1)
    how = draw.randrange(10)
    length = draw.choice((1, 1, 2, 3, 8, 40))
    if how == 0:
        return data[:at] + bytes((byte ^ 1 << draw.randrange(8)) for byte in data[at : at + 1]) + data[at + 1 :]
    if how == 1:
        return data[:at] + draw.choice((b"\0", b"\1", b"\x7f", b"\x80", b"\xff")) + data[at + 1 :]
    if how == 2:
        return data[:at]
    if how == 3:
        return data[:at] + data[at + length :]
    if how == 4:
        return data[: at + length] + data[at:]
    if how == 5:
        return data[:at] + draw.randbytes(length) + data[at + draw.choice((0, length)) :]
    if how in (6, 7):
        return data[:at] + varint(draw.choice(NUMBERS)) + data[at + draw.randrange(3) :]
    if how == 8:
        other = draw.choice(others)
        return data[:at] + other[draw.randrange(len(other) + 1) :]
    return data[:at] + bytes(length) * draw.choice((1, 30)) + data[at + length :]


def case(files: list[Parts], seed: int, number: int) -> tuple[str, bytes]:
    """What was changed, and the file."""
    draw = Random(f"{seed}/{number}")
    file = draw.choice(files)
    times = draw.choice((1, 1, 1, 2, 4))
    where = draw.choices(("disk", "header", "books", "section", "stream", "moved"), (10, 15, 15, 25, 30, 5))[0]
    other = draw.choice(files)
    if where == "disk":
        return where, _often(file.joined(is_deflated=draw.random() < 0.5), draw, times, [other.joined()])
    if where == "header":
        return where, file.joined(lambda body: _often(body, draw, times, [other.header.body()]))
    if where == "books":
        books = other.books if draw.random() < 0.1 else _often(file.books, draw, times, [other.books])
        return where, replace(file, books=books).joined()
    sections, which = list(file.sections), draw.randrange(len(file.sections))
    if where == "moved":
        sections[which] = draw.choice(other.sections)
    elif where == "stream" and file.streams:
        which, start, end = draw.choice(file.streams)
        section = sections[which]
        stream = _other_stream(section[start:end], draw, times, list(other.sections))
        sections[which] = section[:start] + stream + section[end:]
    else:
        sections[which] = _often(sections[which], draw, times, list(other.sections))
    return where, replace(file, sections=tuple(sections)).joined()


def _other_stream(stream: bytes, draw: Random, times: int, others: list[bytes]) -> bytes:
    """Its length is right, its data or its coder is not."""
    reader = Reader(stream)
    coder, data = reader.number(), reader.take(reader.number())
    if draw.random() < 0.1:
        coder = draw.randrange(len(CODERS))
    else:
        data = _often(data, draw, times, others)
    return varint(coder, len(data)) + data


def _often(data: bytes, draw: Random, times: int, others: list[bytes]) -> bytes:
    for _ in range(times):
        data = changed(data, draw, others)
    return data


def outcome(data: bytes) -> str:
    """How reading a file ends, in a word."""
    checked = "refused at once"
    try:
        content = unpacked(data)
        checked = "refused, checksums being right"
        lines = contents(content)
        if sum(content.bytes_of(entry) for entry in content.entries) > LIMIT:
            return "too large"
        for line, entry in zip(lines, content.entries, strict=True):
            content.planes(entry)  # what a reader knows before it decodes
            coded = content.coded(entry) if entry.kind == "coded" else None
            tensor = content.tensor(entry) if coded is None else coded.decoded()
            assert (tuple(tensor.shape), tensor.dtype) == (line.shape, content.dtype(entry))
            if coded is not None:
                assert torch.allclose(CompressedWeight(coded).weight(), tensor, rtol=0, atol=0, equal_nan=True)
    except PackError:
        return checked
    return "read"


class TooSlow(BaseException):
    """A file took more time than it may."""


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow(f"more than {SECONDS:g} s of the processor")


@contextmanager
def limits() -> Iterator[None]:
    """Of memory for all, of time for each file once a timer is set."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line)
    resource.setrlimit(resource.RLIMIT_AS, (1024 * size + MEMORY, before[1]))
    signal.signal(signal.SIGVTALRM, _too_slow)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@dataclass
class Told:
    """What came of the files so far."""

    outcomes: Counter[str]
    failures: int = 0
    slowest: float = 0.0  # seconds of the processor

    def line(self, seconds: float) -> str:
        count = sum(self.outcomes.values())
        each = ", ".join(f"{what} {number:,}" for what, number in sorted(self.outcomes.items()))
        return f"{count:,} files in {seconds:.0f} s ({count / seconds:,.0f} a second): {each}; slowest {self.slowest:.2f} s"


def tried(data: bytes, told: Told) -> str | None:
    """Why a file fails, None if it does not."""
    began = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        told.outcomes[outcome(data)] += 1
        return None
    except (Exception, TooSlow):
        told.outcomes["FAILED"] += 1
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        told.slowest = max(told.slowest, time.process_time() - began)


def run(seed: int, first: int, cases: int, seconds: float, kept: Path) -> int:
    """Exit code: 1 if a file failed."""
    torch.set_num_threads(1)
    files = starts()
    for file in files:
        assert outcome(file.joined()) == "read"
    told, began, said, number = Told(Counter()), time.monotonic(), 0.0, first
    with limits():
        while number < first + cases and (spent := time.monotonic() - began) < seconds:
            if (number - first) % 1000 == 0:
                faulthandler.dump_traceback_later(STUCK, exit=True)
            where, data = case(files, seed, number)
            if failure := tried(data, told):
                told.failures += 1
                kept.mkdir(parents=True, exist_ok=True)
                (kept / f"{seed}-{number}.slq").write_bytes(data)
                print(f"case {number} of seed {seed} ({where}), {len(data)} bytes:\n{failure}", flush=True)
            if spent - said > 30:
                said = spent
                print(told.line(spent), flush=True)
            number += 1
    faulthandler.cancel_dump_traceback_later()
    print(
        told.line(time.monotonic() - began) + f"; {told.failures} failures; seed {seed}, cases {first} to {number - 1}"
    )
    return 1 if told.failures else 0


def main() -> None:
    options = argparse.ArgumentParser(description="Read packed files that were changed at random.")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--first", type=int, default=0, help="number of the first file")
    options.add_argument("--cases", type=int, default=sys.maxsize, help="how many files")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--compiled", action="store_true", help="short streams, too, are read by the compiled loops")
    options.add_argument("--kept", type=Path, default=Path("fuzz-failures"), help="folder for files that fail")
    given = options.parse_args()
    if given.compiled:
        bits.FAST = huffman.FAST = 0
    else:
        bits.BLOCK, huffman.BLOCK, dither.PIECE = 2**9, 2**12, 2**9
    sys.exit(run(given.seed, given.first, given.cases, given.seconds, given.kept))


if __name__ == "__main__":
    main()
