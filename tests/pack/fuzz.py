"""Packed files changed at random, by the million: every one must end in `PackError` or in tensors, soon, and in little memory.

    python -m tests.pack.fuzz --seconds 600 --seed 1         as many as there is time for
    python -m tests.pack.fuzz --first 123456 --cases 1       one of them again
    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=/tmp/checked python -m tests.pack.fuzz --compiled

The last has compiled loops, which are for long streams, read the short ones, too, and check every index, which is dear.

Where it starts: small files of all coders, layouts and kinds of tensors. What it does to them: bits flipped, bytes changed, cut,
repeated, moved between files, numbers made huge. In most cases all lengths and checksums fit again afterwards, so that what is
behind them is reached; the rest is changed as a damaged disk would. A case is known by seed and number.

A failure is any other error, more than 5 s of processor time, or more than 128 MiB beyond what the process had when it began (the
system refuses them). Tensors may take 128 KiB: files that announce more are not decoded. Files that fail are kept. A call into
a library that does not come back ends the process after two minutes with a traceback.
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
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from suite.pack import bits, huffman
from suite.pack.coders import CODERS
from suite.pack.compressed import CompressedWeight
from suite.pack.container import packed, unpacked
from suite.pack.contents import contents
from suite.pack.errors import PackError
from suite.pack.header import LABELLED, MAGIC, VERSION, Header
from suite.pack.varint import Reader, varint
from suite.quant.coded import Coded
from suite.quant.dither import Dither

LIMIT = 2**17  # bytes that all tensors of a file may take
SECONDS = 5.0  # of the processor, for a file
MEMORY = 2**27  # bytes beyond what the process has at the start
STUCK = 120  # seconds for a thousand files, beyond which the process ends
NUMBERS = [0, 1, 2, 3, 7, 127, 255, 256] + [
    2**k + d for k in (14, 15, 16, 20, 24, 31, 32, 40, 62, 63, 64) for d in (-1, 0, 1)
]


METADATA = {"network": "lenet5", "é": ""}


@dataclass(frozen=True)
class Parts:
    """A file taken apart."""

    header: Header
    books: bytes
    sections: tuple[bytes, ...]

    @staticmethod
    def of(data: bytes) -> Parts:
        content, reader = unpacked(data), Reader(data)
        header = Header.read(reader)
        return Parts(header, reader.take(header.books_size), tuple(bytes(entry.data) for entry in content.entries))

    def joined(self, change_header: Callable[[bytes], bytes] = lambda body: body) -> bytes:
        """With all lengths and checksums right, but for what is changed of the header."""
        kept = zip(self.header.tensors, self.sections, strict=True)
        tensors = tuple(replace(one, size=len(section)) for one, section in kept)
        body = change_header(replace(self.header, tensors=tensors, books_size=len(self.books)).body())
        pieces = (self.books, *self.sections)
        checked = body + b"".join(_crc(piece) for piece in pieces)
        version = LABELLED if self.header.metadata else VERSION
        return b"".join((MAGIC, bytes((version,)), varint(len(body), 0), _crc(checked), checked, *pieces))


def _crc(piece: bytes) -> bytes:
    return zlib.crc32(piece).to_bytes(4, "little")


def starts() -> list[Parts]:
    """Files of a tensor or two, so that most of the time goes into what was changed: every coder with every kind of tensor."""
    files = [Parts.of(packed({}, plain)) for plain in _plain()]
    for coder in CODERS:
        files += [Parts.of(packed({"w": layer}, {}, coder.name)) for layer in _layers()]
        files.append(Parts.of(packed({}, {"s": _sparse()}, coder.name)))
    both = packed({"a": _layers()[0], "c": _layers()[1]}, _plain()[0])
    return [*files, Parts.of(both), replace(Parts.of(both), header=replace(Parts.of(both).header, metadata=METADATA))]


def _layers() -> list[Coded]:
    """Pruned and whole ones, of scalars and vectors, of all types and lattices, with stepped codebooks and others."""
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
        book = (book / step).round() * step if step else book
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
    ]


def _sparse() -> Tensor:
    sparse = torch.zeros(8, 20)
    sparse[::3, ::7] = 1.5
    return sparse


def _plain() -> list[dict[str, Tensor]]:
    return [
        {"b": torch.randn(7), "n": torch.tensor(3)},
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
    where = draw.choices(("disk", "header", "books", "section", "moved"), (15, 20, 15, 45, 5))[0]
    if where == "disk":
        return where, _often(file.joined(), draw, times, [draw.choice(files).joined()])
    if where == "header":
        return where, file.joined(lambda body: _often(body, draw, times, [draw.choice(files).header.body()]))
    if where == "books":
        books = _often(file.books, draw, times, [draw.choice(files).books])
        return where, replace(file, books=books).joined()
    sections, other, which = list(file.sections), draw.choice(files), draw.randrange(len(file.sections))
    if where == "moved":
        sections[which] = draw.choice(other.sections)
    else:
        sections[which] = _often(sections[which], draw, times, list(other.sections))
    return where, replace(file, sections=tuple(sections)).joined()


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
            tensor = content.tensor(entry)
            assert (tuple(tensor.shape), tensor.dtype) == (line.shape, content.dtype(entry))
        coded = [entry for entry in content.entries if entry.kind == "coded"]
        for entry in coded[:1]:
            CompressedWeight(content.coded(entry)).weight()
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
    sys.exit(run(given.seed, given.first, given.cases, given.seconds, given.kept))


if __name__ == "__main__":
    main()
