"""Networks of all kinds through the file and back, to the bit; and what becomes of damaged files."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from suite.pack.container import packed, unpacked
from suite.pack.errors import PackError
from suite.pack.header import LABELLED, MAGIC
from suite.pack.raw import DTYPES
from suite.pack.store import load_state
from suite.pack.tensor import Section
from suite.pack.varint import Reader, varint
from suite.quant import dither
from suite.quant.coded import Coded
from suite.quant.dither import Dither
from suite.quant.lattice import LATTICES

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
quick = settings(max_examples=60, deadline=None)


def bits_of(tensor: Tensor) -> list[int]:
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


def back(coded: dict[str, Coded], plain: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    content = unpacked(packed(coded, plain or {}))
    return {entry.name: content.tensor(entry) for entry in content.entries}


@st.composite
def layers(draw: st.DrawFn) -> Coded:
    """Any layer: scalars or vectors, pruned or not, with zeros or not, few or many entries, scales, dither."""
    shape = torch.Size(draw(st.sampled_from([(7,), (5, 9), (4, 3, 3, 3), (6, 1, 5, 5), (1, 1), (40, 30)])))
    dtype = draw(st.sampled_from(FLOATS))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kept = draw(st.sampled_from([None, 1.0, 0.5, 0.1, 0.0]))
    live = None if kept is None else torch.rand(shape, generator=rng) < kept
    count = shape.numel() if live is None else int(live.sum())
    entries, width = draw(st.sampled_from([1, 2, 3, 17, 300, 5000])), draw(st.sampled_from([0, 0, 2, 3]))
    book = torch.randn((entries, width) if width else (entries,), generator=rng)
    book = draw(
        st.sampled_from([lambda b: b, lambda b: (b * 3).round() / 3, torch.zeros_like, lambda b: -b * (b > 0)])
    )(book)
    codes = (torch.rand(-(-count // max(width, 1)), generator=rng) ** 3 * entries).to(torch.int16)
    scale = torch.randn(shape[0], generator=rng).to(dtype).double() if draw(st.booleans()) else None
    dither = Dither(draw(st.integers(0, 2**64 - 1)), draw(st.floats(1e-3, 1.0))) if draw(st.booleans()) else None
    return Coded(shape, dtype, codes, book.to(dtype).double(), live, scale, dither)


@quick
@given(layers())
def test_any_layer_comes_back_to_the_bit(layer: Coded) -> None:
    stored = back({"w": layer})["w"]
    assert (stored.dtype, stored.shape) == (layer.dtype, layer.shape)
    assert bits_of(stored) == bits_of(layer.decoded())


def test_a_codebook_of_many_entries_is_stored_once_for_all_layers() -> None:
    book = torch.randn(3000, dtype=torch.float32).double()
    codes = torch.randint(3000, (400,), dtype=torch.int16)
    one = Coded(torch.Size((20, 20)), torch.float32, codes, book)
    alone, both = len(packed({"a": one}, {})), len(packed({"a": one, "b": one}, {}))
    assert both - alone < 400 * 12 / 8 + 80


def test_unused_entries_are_not_stored() -> None:
    codes = torch.tensor([7, 7, 3000, 7], dtype=torch.int16)
    layer = Coded(torch.Size((4,)), torch.float32, codes, torch.randn(5000).double())
    assert len(packed({"w": layer}, {})) < 60
    assert torch.equal(back({"w": layer})["w"], layer.decoded())


def test_a_layer_that_is_all_zeros_takes_almost_nothing() -> None:
    layer = Coded(
        torch.Size((1000, 1000)), torch.float32, torch.zeros(10**6, dtype=torch.int16), torch.zeros(1).double()
    )
    assert len(packed({"w": layer}, {})) < 60
    assert not back({"w": layer})["w"].any()


def test_signs_of_zeros_and_numbers_that_are_none_are_kept() -> None:
    book = torch.tensor([-0.0, 0.0, float("nan"), float("inf"), -1.0], dtype=torch.float64)
    layer = Coded(torch.Size((5,)), torch.float32, torch.arange(5, dtype=torch.int16), book)
    assert bits_of(back({"w": layer})["w"]) == bits_of(layer.decoded())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (200,)])
def test_other_tensors_come_back_with_their_type(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.arange(torch.Size(shape).numel()) % 2).reshape(shape).to(dtype)
    stored = back({}, {"a.very.long.name": tensor, "ünïcode": tensor})
    assert list(stored) == ["a.very.long.name", "ünïcode"]
    assert all((s.dtype, s.shape) == (dtype, tensor.shape) and torch.equal(s, tensor) for s in stored.values())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sparse_tensors_come_back(dtype: torch.dtype) -> None:
    tensor = torch.zeros(8, 3, 5, 5, dtype=dtype)
    tensor.reshape(-1)[[0, 100, 599]] = torch.tensor([1.5, float("nan"), -2.0], dtype=dtype)
    assert len(packed({}, {"w": tensor})) < 80
    assert bits_of(back({}, {"w": tensor})["w"]) == bits_of(tensor)
    tensor[3] *= -1  # makes -0
    assert bits_of(back({}, {"w": tensor})["w"]) == bits_of(tensor)


def test_an_empty_tensor_of_numpy_comes_back() -> None:
    """Its stride is 0, which not every operation likes."""
    tensor = torch.from_numpy(np.zeros(0, dtype=np.float32))
    assert back({}, {"w": tensor})["w"].shape == (0,)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match=r"complex64 cannot be packed; possible: torch.float32"):
        packed({}, {"w": torch.zeros(2, dtype=torch.complex64)})


def test_what_stands_around_the_numbers_is_small() -> None:
    """Five layers of LeNet's names, each with a weight and a bias: names, shapes, checksums, version."""
    layer = Coded(torch.Size((10,)), torch.float32, torch.zeros(10, dtype=torch.int16), torch.zeros(1).double())
    names = ["conv1", "conv2", "fc1", "fc2", "fc3"]
    data = packed({f"{n}.weight": layer for n in names}, {f"{n}.bias": torch.randn(2) for n in names})
    assert len(data) - 5 * 8 < 260


def example() -> bytes:
    rng = torch.Generator().manual_seed(0)
    live = torch.rand((12, 30), generator=rng) < 0.2
    codes = torch.randint(5, (int(live.sum()),), generator=rng).to(torch.int16)
    pruned = Coded(live.shape, torch.float32, codes, torch.randn(5, generator=rng).double(), live)
    blocks = Coded(
        torch.Size((4, 9)), torch.float16, torch.arange(18, dtype=torch.int16) % 4, torch.ones(4, 2).double()
    )
    return packed({"a.weight": pruned, "b.weight": blocks}, {"a.bias": torch.randn(12, generator=rng)})


EXAMPLE = example()


def read_all(data: bytes) -> None:
    content = unpacked(data)
    for entry in content.entries:
        content.tensor(entry)


def test_every_flipped_bit_is_noticed() -> None:
    for bit in range(8 * len(EXAMPLE)):
        damaged = bytearray(EXAMPLE)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PackError):
            read_all(bytes(damaged))


def test_every_cut_is_noticed() -> None:
    for length in range(len(EXAMPLE)):
        with pytest.raises(PackError):
            read_all(EXAMPLE[:length])


def test_bytes_behind_the_end_are_noticed() -> None:
    with pytest.raises(PackError, match="left over"):
        read_all(EXAMPLE + b"\0")


@quick
@given(st.binary(max_size=200))
def test_noise_is_no_network(noise: bytes) -> None:
    with pytest.raises(PackError):
        read_all(noise)
    with pytest.raises(PackError):
        read_all(EXAMPLE[:4] + noise)


def section(*shape: int, rest: bytes = b"") -> bytes:
    return varint(len(shape), *shape, 0, 0) + rest


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (section(2**40), "is too large"),
        (section(2**20, 2**20), "is too large"),
        (section(0, 2**40), "is too large"),
        (section(*[1] * 9), "below 9"),
        (varint(1, 4, 7), "below"),
        (section(4, rest=varint(9)), "below 3"),
        (section(4, rest=varint(0, 99, 0)), "below"),
        (section(4, rest=varint(0, 0, 2**50)), "announced"),
        (section(2**30, rest=varint(0, 0, 1) + b"\0"), "do not take"),
    ],
)
def test_impossible_numbers_are_refused_before_memory_is_taken(data: bytes, says: str) -> None:
    books = unpacked(EXAMPLE).books[:1]
    tracemalloc.start()
    try:
        with pytest.raises(PackError, match=says):
            Section.read(data, books).decoded(books)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def rewritten(change: Callable[[bytes], bytes]) -> bytes:
    """A file whose header was changed, with checksums that fit."""
    layer = Coded(torch.Size((1,)), torch.float32, torch.zeros(1, dtype=torch.int16), torch.zeros(1).double())
    data = packed({"w": layer}, {})
    reader = Reader(data)
    reader.take(4)
    size, deflated = reader.numbers(2)
    reader.take(4)
    assert not deflated
    header, sums = change(reader.take(size)), reader.take(8)
    crc = zlib.crc32(header + sums).to_bytes(4, "little")
    return data[:4] + varint(len(header), 0) + crc + header + sums + reader.rest()


def test_a_header_may_be_rewritten() -> None:
    read_all(rewritten(lambda header: header))


@pytest.mark.parametrize("count", [2, 100, 2**23, 2**40])
def test_a_wrong_number_of_tensors_is_refused(count: int) -> None:
    with pytest.raises(PackError):
        read_all(rewritten(lambda header: varint(count) + header[1:]))


def labelled(metadata: bytes) -> bytes:
    """A file without tensors, with these bytes for metadata."""
    body = varint(0, 0) + metadata + zlib.crc32(b"").to_bytes(4, "little")
    return MAGIC + bytes((LABELLED,)) + varint(len(body) - 4, 0) + zlib.crc32(body).to_bytes(4, "little") + body


def test_metadata_may_be_anything() -> None:
    assert unpacked(labelled(varint(1, 1, 2) + b"a\xffb")).metadata == {"a": "\ufffdb"}
    assert unpacked(labelled(varint(0))).metadata == {}


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        (b"", "announced"),
        (varint(2**40), "below"),
        (varint(2**16 + 1), "below 65537"),
        (varint(2**16), "announced"),
        (varint(1, 2**40, 0), "announced"),
        (varint(1, 1, 0), "announced"),
        (varint(2, 1, 0, 1, 0) + b"aa", "two keys of the metadata have the same name"),
        (varint(0, 0), "left over"),
    ],
)
def test_metadata_that_lie_are_refused(metadata: bytes, says: str) -> None:
    with pytest.raises(PackError, match=says):
        unpacked(labelled(metadata))


def test_another_version_is_named() -> None:
    newer = EXAMPLE[:3] + bytes((LABELLED + 1,)) + EXAMPLE[4:]
    with pytest.raises(PackError, match="version 3, this program reads 1 and 2; update"):
        read_all(newer)


@pytest.mark.parametrize("data", [b"", b"SL", b"PK\3\4 something else", b"\x80\x02}q\x00.", EXAMPLE[:50]])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.slq").write_bytes(data)
    with pytest.raises(PackError, match=r"m\.slq cannot be read"):
        load_state(tmp_path / "m.slq")


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_dither_is_drawn_in_pieces(lattice: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Dither(3, 0.1, lattice).values(1001)
    monkeypatch.setattr(dither, "PIECE", 64)
    assert bits_of(Dither(3, 0.1, lattice).values(1001, dtype)) == bits_of(whole.to(dtype))


def test_dither_takes_little_more_memory_than_its_numbers() -> None:
    tracemalloc.start()
    Dither(3, 0.1, "E8").values(2**21, torch.float32)
    peak = tracemalloc.get_traced_memory()[1]  # of NumPy; torch's is not counted
    tracemalloc.stop()
    assert peak < 2**21 * 4
