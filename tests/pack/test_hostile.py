"""Files that somebody wrote on purpose: every checksum is right, and every number in them may be wrong."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from suite.pack.coders import CODERS
from suite.pack.container import packed, unpacked
from suite.pack.convert import SYMBOL
from suite.pack.deflate import deflate
from suite.pack.errors import PackError
from suite.pack.header import MAGIC, MOST, VERSION, Described, Header
from suite.pack.raw import from_bytes
from suite.pack.sparse import read_sparse
from suite.pack.store import load_network, load_state
from suite.pack.streams import LONGEST, Stream
from suite.pack.varint import varint
from suite.quant.coded import Coded
from suite.quant.dither import Dither
from tests.pack.fuzz import Parts

HUGE = 2**31 - 1  # numbers of the largest tensor


class Tiny(nn.Module):
    """A parameter of every kind that a file holds."""

    def __init__(self) -> None:
        super().__init__()
        for name, shape in {"pruned": (12, 30), "blocks": (4, 9), "plain": (12,), "sparse": (9, 20)}.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))


def example(scale: bool, coder: str) -> bytes:
    rng = torch.Generator().manual_seed(0)
    live = torch.rand((12, 30), generator=rng) < 0.2
    codes = torch.randint(5, (int(live.sum()),), generator=rng).to(torch.int16)
    scales, dither = (torch.randn(12, generator=rng).double(), Dither(7, 0.1, "Z")) if scale else (None, None)
    book = torch.randn(5, generator=rng).double()
    pruned = Coded(live.shape, torch.float32, codes, book, live, scales, dither)
    mask = torch.arange(36).view(4, 9) % 2 == 0
    blocks = Coded(
        torch.Size((4, 9)), torch.float32, torch.arange(9, dtype=torch.int16) % 4, torch.eye(4, 2).double(), mask
    )
    plain = {"plain": torch.randn(12, generator=rng), "sparse": torch.eye(9, 20)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("suite.pack.streams.Uncoded.is_worth", lambda stream, name: name == used(stream.alphabet, coder))
        return packed({"pruned": pruned, "blocks": blocks}, plain)


def used(alphabet: int, coder: str) -> str:
    (largest,) = (one.largest for one in CODERS if one.name == coder)
    return coder if alphabet <= largest else "adaptive"


def complaint(path: Path) -> str:
    try:
        load_network(path, Tiny())
    except PackError:
        return "damaged"
    except ValueError as error:
        return "another network" if "belongs to another network" in str(error) else str(error)
    return ""


def checksum(piece: bytes) -> bytes:
    return zlib.crc32(piece).to_bytes(4, "little")


EXAMPLES = tuple(Parts.of(example(scale, coder.name)) for coder in CODERS for scale in (False, True))

Change = Callable[[bytes], bytes]


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Something else in place of a few bytes anywhere, more often near the start, where the numbers stand."""
    at = draw(st.integers(0, 12) | st.integers(0, 4000))
    removed = draw(st.integers(0, 3))
    number = st.integers(0, 300) | st.sampled_from(
        [2**k + d for k in (14, 16, 21, 24, 31, 32, 40, 63, 70) for d in (-1, 0)]
    )
    put = draw(st.binary(max_size=4) | number.map(varint))
    cut = draw(st.sampled_from([False] * 7 + [True]))
    return lambda data: data[: at % (len(data) + 1)] + put + (b"" if cut else data[at % (len(data) + 1) + removed :])


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(EXAMPLES),
    st.sampled_from(["header", "books", "tensor", "books and tensor"]),
    st.integers(0, 3),
    st.lists(changes(), min_size=1, max_size=3),
)
def test_every_change_ends_in_pack_error_or_in_weights(
    tmp_path_factory: pytest.TempPathFactory, parts: Parts, where: str, which: int, edits: list[Change]
) -> None:
    def edited(data: bytes) -> bytes:
        return reduce(lambda piece, edit: edit(piece), edits, data)

    if "books" in where:
        parts = replace(parts, books=edited(parts.books))
    if "tensor" in where:
        sections = (edited(piece) if number == which else piece for number, piece in enumerate(parts.sections))
        parts = replace(parts, sections=tuple(sections))
    path = tmp_path_factory.getbasetemp() / "hostile.slq"
    path.write_bytes(parts.joined(edited) if where == "header" else parts.joined())
    assert complaint(path) in ("", "damaged", "another network")


@pytest.mark.parametrize("parts", EXAMPLES)
def test_the_examples_can_be_read(tmp_path: Path, parts: Parts) -> None:
    (tmp_path / "m.slq").write_bytes(parts.joined())
    load_network(tmp_path / "m.slq", Tiny())


def peak_of(action: Callable[[], object]) -> int:
    """Bytes that were taken at most."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_small_file_of_a_huge_tensor_takes_no_memory(tmp_path: Path) -> None:
    """2^31 - 1 zeros, Huffman coded: correct, but not what the network has."""
    content = varint(1, HUGE, 0, 0) + varint(0) + varint(1, 2) + varint(0, 0)
    zeros = Coded(torch.Size((1,)), torch.float32, torch.zeros(1, dtype=torch.int16), torch.zeros(1).double())
    parts = Parts.of(packed({"plain": zeros}, {}))
    (tmp_path / "m.slq").write_bytes(replace(parts, sections=(content,)).joined())
    model = nn.Module()
    model.register_parameter("plain", nn.Parameter(torch.zeros(12)))

    def refused() -> None:
        with pytest.raises(ValueError, match=rf"has plain in the shape \[{HUGE}\], not \[12\]"):
            load_network(tmp_path / "m.slq", model)

    assert peak_of(refused) < 2**20


def test_a_header_of_more_tensors_than_the_file_has_checksums_takes_no_memory() -> None:
    """Empty names deflate to next to nothing."""
    count = MOST
    raw = varint(count, 0) + bytes(3 * count)
    body = deflate(raw)
    data = b"".join((MAGIC, bytes((VERSION,)), varint(len(raw), len(body)), bytes(4), body))

    def refused() -> None:
        with pytest.raises(PackError, match="announced"):
            unpacked(data)

    assert len(data) < 2**15
    assert peak_of(refused) < 4 * len(raw)


def test_codes_of_a_codebook_without_entries_are_refused(tmp_path: Path) -> None:
    layer = Coded(torch.Size((4,)), torch.float32, torch.zeros(4, dtype=torch.int16), torch.ones(1).double())
    empty = replace(Parts.of(packed({"w": layer}, {})), books=varint(1, 0, 0))
    (tmp_path / "m.slq").write_bytes(empty.joined())
    with pytest.raises(PackError, match="4 codes of a codebook without entries"):
        load_state(tmp_path / "m.slq")


def test_an_empty_tensor_with_absurd_lengths_is_refused() -> None:
    parts = Parts.of(packed({}, {"w": torch.zeros(0)}))
    data = parts.joined(lambda body: body.removesuffix(varint(1, 0)) + varint(4, 0, 2**30, 2**30, 2**30))
    content = unpacked(data)
    with pytest.raises(PackError, match="is too large"):
        content.tensor(content.entries[0])


@pytest.mark.parametrize("name", [*LONGEST])
def test_slow_coders_are_held_to_the_length_of_stream_that_they_code(name: str) -> None:
    (number,) = (number for number, coder in enumerate(CODERS) if coder.name == name)
    data = CODERS[number].encode(np.array([0, 1], dtype=np.uint32), 2)
    longest = LONGEST[name]
    with pytest.raises(PackError, match=f"too many to have been coded by {name}"):
        Stream(number, data, 2, longest + 1).symbols()
    assert Stream(number, data, 2, 2).symbols().tolist() == [0, 1]


def test_more_tensors_than_files_may_have_are_neither_read_nor_written() -> None:
    """Hundreds of bytes of memory each, for seven in the file."""
    raw = varint(MOST + 1, 0) + bytes(3 * (MOST + 1))
    body = raw + bytes(4 * (MOST + 2))
    data = b"".join((MAGIC, bytes((VERSION,)), varint(len(raw), 0), checksum(body), body))
    with pytest.raises(PackError, match="65537 is too large"):
        unpacked(data)
    empty = Described("", "raw", 0, 0)
    with pytest.raises(PackError, match="more than 65536 tensors"):
        Header((empty,) * (MOST + 1), 0, 0).written()
    with pytest.raises(PackError, match="more than 65536 tensors, or pairs of metadata"):
        Header((), 0, 0, {str(number): "" for number in range(MOST + 1)}).written()


ALL, LAST = varint(1, 2, 0, 0), varint(1, 2, 0, 1)  # streams of huffman: only symbol 0, only symbol 1
PLANES = {
    "fillers": varint(2, 0, 10**6, 2 * 4 + 1) + ALL + LAST,
    "gaps": varint(2, 0, 10**6, 2 * 4 + 1) + ALL + ALL,
    "mask": varint(1, 0, 10**6) + LAST + ALL,
    "dense": varint(0) + LAST,
}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("dtype", [torch.int8, torch.float64])
@pytest.mark.parametrize("is_right", [False, True])
def test_a_tensor_takes_no_more_memory_than_the_pages_say(plane: str, dtype: torch.dtype, is_right: bool) -> None:
    """Seven times what it counts, at least four bytes a number (docs/howto/pack.md)."""
    numbers = bytes(10**6 * dtype.itemsize if plane != "fillers" else 0) if is_right else b"1"

    def read() -> None:
        with nullcontext() if is_right else pytest.raises(PackError, match="1 bytes for"):
            read_sparse(PLANES[plane] + numbers, dtype, (10**6,))

    assert (
        peak_of(read) < 7 * 10**6 * max(dtype.itemsize, SYMBOL) - 10**6 * dtype.itemsize
    )  # what torch has is not counted


@pytest.mark.parametrize("values", [b"\0\1", b"\2\0"])
def test_truth_values_are_true_or_false(values: bytes) -> None:
    if max(values) > 1:
        with pytest.raises(PackError, match="holds others"):
            from_bytes(values, torch.bool, (2,))
    else:
        assert from_bytes(memoryview(values), torch.bool, (2,)).tolist() == [False, True]
