"""`slq pack --coder`: one coder for all streams, or the smallest for each, and what each would have given."""

from __future__ import annotations

import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from suite.pack.bits import Symbols
from suite.pack.codebook import Codebook
from suite.pack.coders import CODERS
from suite.pack.contents import ALL, by_coder
from suite.pack.convert import open_packed, pack
from suite.pack.mixing import Mixing
from suite.pack.plane import SLOW, Plane, Unit
from suite.pack.streams import FAST, Uncoded
from suite.pack.tensor import Section
from tests.conftest import Slq


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = torch.Generator().manual_seed(0)
    few = torch.randint(-8, 9, (40, 50), generator=rng) * 0.25
    pruned = torch.where(torch.rand(60, 40, generator=rng) < 0.9, 0.0, 0.5)
    save_file({"few": few, "pruned": pruned, "bias": torch.randn(7, generator=rng)}, tmp_path / "in.safetensors")
    return tmp_path / "in.safetensors"


def planes(file: Path) -> list[Plane]:
    content = open_packed(file)
    return [plane for entry in content.entries if entry.kind == "coded" for plane in content.section(entry).planes]


@pytest.mark.parametrize("name", ["fixed", "bz2", "rans", "zstd"])
def test_a_named_coder_codes_all_streams(slq: Slq, source: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "out.slq"
    assert slq("pack", source, target, "--coder", name).code == 0
    streams = [stream for plane in planes(target) for stream in (plane.values, plane.positions) if stream is not None]
    able = [stream for stream in streams if CODERS[stream.coder].largest >= stream.alphabet]
    assert streams
    assert {CODERS[stream.coder].name for stream in able} == {name}
    assert slq("unpack", target, tmp_path / "back.safetensors").code == 0
    found, given = load_file(tmp_path / "back.safetensors"), load_file(source)
    assert all(torch.equal(found[key], given[key]) for key in given)


def test_auto_is_never_larger_than_a_coder_that_it_tries(slq: Slq, source: Path, tmp_path: Path) -> None:
    """Mixing it does not try for all streams, rANS and zstd only for long ones."""
    sizes = {}
    for name in ("auto", *(coder.name for coder in CODERS if coder.name not in ("mixing", *FAST))):
        assert slq("pack", source, tmp_path / name, "--coder", name).code == 0
        sizes[name] = (tmp_path / name).stat().st_size
    assert sizes["auto"] == min(sizes.values())


def test_an_unknown_coder_is_a_mistake(slq: Slq, source: Path, tmp_path: Path) -> None:
    ended = slq("pack", source, tmp_path / "out.slq", "--coder", "gzip")
    assert ended.code == 2
    assert "no coder 'gzip'" in ended.err
    assert "zstd" in ended.err
    assert not (tmp_path / "out.slq").exists()


def test_smallest_is_never_larger_than_any_coder(slq: Slq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here what repeats is too long for "auto" to try the coders that see it."""
    monkeypatch.setattr("suite.pack.streams.LONG", 1000)
    source = tmp_path / "in.safetensors"
    save_file({"w": torch.randint(0, 9, (1, 50)).float().repeat(40, 1)}, source)
    sizes = {}
    for name in ("smallest", "auto", *ALL):
        assert slq("pack", source, tmp_path / name, "--coder", name).code == 0
        sizes[name] = (tmp_path / name).stat().st_size
    assert sizes["smallest"] == min(sizes.values()) < sizes["auto"]


def test_smallest_tries_every_coder_that_can() -> None:
    tried = []
    with pytest.MonkeyPatch.context() as patch:
        by = Uncoded.by
        patch.setattr(Uncoded, "by", lambda stream, name: tried.append(name) or by(stream, name))
        Uncoded(np.arange(200, dtype=np.uint32) % 2, 2).coded("smallest")
    assert tried == [*ALL]


def lines_of(out: str) -> dict[str, list[str]]:
    """What is printed before the last colon of each line, and the names behind it."""
    parts = (line.rpartition(": ") for line in out.splitlines())
    return {what.rpartition("; ")[2]: [word.split()[0] for word in names.split(", ")] for what, _, names in parts}


COMPARED, UNABLE = "by one coder for all tensors", "too many symbols, or too large an alphabet, for"
SPARED, UNTRIED = "not compared, as they take long", "--coder smallest does, however long it takes"


def test_what_each_coder_would_have_given(
    slq: Slq, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = lines_of(slq("pack", source, tmp_path / "out.slq").out)
    assert {*told[COMPARED]} == {*ALL} - {"density", "mixing"}
    assert (told[UNABLE], told[SPARED], told[UNTRIED]) == (["density"], ["mixing"], ["mixing", "rans", "zstd"])
    monkeypatch.setattr("suite.pack.plane.COMPARED", 1000)
    monkeypatch.setattr("suite.pack.streams.LONG", 1000)
    told = lines_of(slq("pack", source, tmp_path / "out.slq", "--force").out)
    assert told[SPARED] == ["bz2", "lzma", "deflate", "mixing", "lzw"]
    assert told[UNTRIED] == ["bz2", "lzma", "deflate", "arithmetic", "mixing", "lzw", "rans", "zstd"]
    assert "rans" in told[COMPARED]
    told = lines_of(slq("pack", source, tmp_path / "out.slq", "--force", "--coder", "smallest").out)
    assert told[SPARED] == ["bz2", "lzma", "deflate", "mixing", "lzw"]
    assert {*told[COMPARED]} == {*ALL} - {"density", *told[SPARED]}
    assert UNTRIED not in told
    assert UNTRIED not in lines_of(slq("pack", source, tmp_path / "out.slq", "--force", "--coder", "rans").out)


def test_a_coder_that_a_long_stream_was_spared_was_not_tried_on_all(
    slq: Slq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.pack.streams.LONG", 1000)
    short, long = (torch.randint(0, 9, (rows, 50)).float() for rows in (10, 40))
    save_file({"a": short, "b": long, "c": short.clone()}, tmp_path / "in.safetensors")
    told = lines_of(slq("pack", tmp_path / "in.safetensors", tmp_path / "out.slq").out)
    assert told[UNTRIED] == ["bz2", "lzma", "deflate", "arithmetic", "mixing", "lzw", "rans", "zstd"]


def test_smallest_mixes_no_stream_twice(
    slq: Slq, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes minutes, and comparing is not worth as many again."""
    mixed: list[bytes] = []
    encode = Mixing.encode

    def noted(coder: Mixing, symbols: Symbols, alphabet: int, row: int = 0) -> bytes:
        mixed.append(symbols.tobytes())
        return encode(coder, symbols, alphabet, row)

    monkeypatch.setattr(Mixing, "encode", noted)
    told = lines_of(slq("pack", source, tmp_path / "out.slq", "--coder", "smallest").out)
    assert mixed
    assert len(mixed) == len(set(mixed))
    assert told[SPARED] == ["mixing"]


def test_comparing_holds_the_symbols_of_one_tensor_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[weakref.ref[Symbols]] = []
    units = Section.units

    def noted(section: Section, book: Codebook) -> list[Unit]:
        assert [one() for one in kept if one() is not None] == []
        found = units(section, book)
        kept.extend(weakref.ref(unit.symbols) for unit in found)
        return found

    monkeypatch.setattr(Section, "units", noted)
    content = pack({name: torch.randint(0, 9, (40, 50)).float() for name in "abc"}, tmp_path / "m.slq")
    assert by_coder(content, ["fixed"])["fixed"].able
    assert len(kept) == 3


def test_what_each_coder_would_have_given_is_what_it_gives(slq: Slq, tmp_path: Path) -> None:
    save_file({"w": torch.randint(0, 9, (40, 50)).float()}, tmp_path / "in.safetensors")
    out = slq("pack", tmp_path / "in.safetensors", tmp_path / "out.slq", "--coder", "smallest").out
    sizes = dict(pair.split() for pair in out.split(f"{COMPARED}: ")[1].splitlines()[0].split(", "))
    assert sizes.keys() == {*ALL} - {"density", "mixing"}
    for name, size in sizes.items():
        out = slq("pack", tmp_path / "in.safetensors", tmp_path / "out.slq", "--force", "--coder", name).out
        assert f"codes take {size} bytes" in out


@pytest.mark.parametrize("name", [name for name in ALL if name not in (*SLOW, "density", "mixing")])
def test_no_coder_of_long_streams_copies_them(name: str) -> None:
    """The command codes each layer by all of these to compare them; a layer's symbols are as large as its weights."""
    symbols = np.tile(np.array([0, 1, 0, 2, 0, 1, 0, 3], dtype=np.uint32), 2**18)
    (coder,) = (coder for coder in CODERS if coder.name == name)
    data = coder.encode(symbols, 4)  # compiled now, if it was not
    tracemalloc.start()
    assert coder.encode(symbols, 4) == data
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.75 * symbols.nbytes
    assert np.array_equal(coder.decode(data, 4, len(symbols)), symbols)
