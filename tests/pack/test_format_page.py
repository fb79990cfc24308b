"""The format page against the code: its examples decode to what it says, its tables name what there is by the right numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from suite.pack import bits, huffman, rans
from suite.pack.bits import Symbols
from suite.pack.coders import CODERS, Coder
from suite.pack.container import packed, unpacked
from suite.pack.header import KINDS, MOST
from suite.pack.plane import LAYOUTS
from suite.pack.raw import DTYPES
from suite.pack.streams import LONGEST
from suite.quant.lattice import LATTICES
from tests.pack.page_decoder import DECODERS

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
BOOK = torch.tensor([-0.5, -0.25, 0.25, 0.5, 0.75])


def block(name: str) -> str:
    found = re.search(rf"```{name}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_the_raw_example() -> None:
    data, bias = bytes.fromhex(block("hex raw")), torch.tensor([1, -2, 0.15625])
    content = unpacked(data)
    (entry,) = content.entries
    assert (entry.name, entry.kind) == ("fc.bias", "raw")
    assert torch.equal(content.tensor(entry), bias)
    assert packed({}, {"fc.bias": bias}) == data


def test_the_coded_example() -> None:
    data = bytes.fromhex(block("hex coded"))
    codes = torch.tensor([[int(code) for code in row.split()] for row in block("codes").splitlines()])
    content = unpacked(data)
    (entry,) = content.entries
    assert (entry.name, entry.kind) == ("fc.weight", "coded")
    assert torch.equal(content.tensor(entry), BOOK[codes])


@pytest.mark.parametrize("title", ["### A raw tensor", "### A coded tensor"])
def test_the_annotated_bytes_are_those_of_the_example(title: str) -> None:
    part = PAGE.split(title)[1].split("\n### ")[0]
    whole = re.findall(r"```hex \w+\n(.*?)```", part, re.DOTALL)[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", part, re.MULTILINE)
    assert bytes.fromhex("".join(cells).replace("`", "")) == bytes.fromhex(whole)


def symbols(alphabet: int) -> Symbols:
    """The 40 symbols of the page."""
    given = np.array([5 * i // 4 % 8 if i % 4 == 3 else 5 for i in range(40)], dtype=np.uint32)
    return (given != 5).astype(np.uint32) if alphabet == 2 else given


@pytest.mark.parametrize("coder", CODERS, ids=lambda coder: coder.name)
def test_the_example_of_every_coder(coder: Coder) -> None:
    """Also that neither NumPy nor constriction have changed what files rest on."""
    found = re.search(rf"^\| {coder.name} \| `([0-9a-f ]+)` \|$", PAGE, re.MULTILINE)
    assert found
    alphabet = min(8, coder.largest)
    decoded = coder.decode(bytes.fromhex(found[1]), alphabet, 40, 8)
    assert decoded.tolist() == symbols(alphabet).tolist()


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_written_from_the_page_decodes_the_example(name: str) -> None:
    found = re.search(rf"^\| {name} \| `([0-9a-f ]+)` \|$", PAGE, re.MULTILINE)
    assert found
    assert DECODERS[name](bytes.fromhex(found[1]), 8, 40) == symbols(8).tolist()


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize(("alphabet", "count"), [(2, 3000), (17, 5), (300, 9000), (31, 70_001)])
def test_a_decoder_written_from_the_page_decodes_what_is_written(
    name: str, alphabet: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several blocks, also, and the loops that are made for long streams."""
    for module, threshold in ((rans, "SMALLEST"), (bits, "FAST"), (huffman, "FAST")):
        monkeypatch.setattr(module, threshold, 16)
    monkeypatch.setattr(rans, "SHARE", 1.0)
    rng = np.random.default_rng(count)
    given = np.minimum(rng.random(count) ** 3 * alphabet, alphabet - 1).astype(np.uint32)
    (coder,) = (coder for coder in CODERS if coder.name == name)
    assert DECODERS[name](coder.encode(given, alphabet), alphabet, count) == given.tolist()


@pytest.mark.parametrize(
    "names",
    [
        [coder.name for coder in CODERS],
        [*KINDS],
        [*LAYOUTS],
        [*LATTICES],
        [str(dtype).removeprefix("torch.") for dtype in DTYPES],
    ],
    ids=["coders", "kinds", "layouts", "lattices", "types"],
)
def test_everything_is_on_the_page_with_its_number(names: list[str]) -> None:
    for number, name in enumerate(names):
        assert re.search(rf"\| {number} \| {name}\b", PAGE), f"{name} is not on the page as number {number}"


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("`T`: how many tensors, at most 2^16 ", MOST == 2**16),
        ("`M`, pairs of metadata, at most 2^16;", MOST == 2**16),
        ("A number k, at most 33,", huffman.WIDEST + 1 == 33),
        (f"Lengths are at most {huffman.LONGEST}", True),
        ("| 8 | mixing | 2^20 |", LONGEST["mixing"] == 2**20),
        ("| 9 | lzw | 2^17 |", LONGEST["lzw"] == 2**17),
    ],
)
def test_limits_are_those_on_the_page(words: str, limit: bool) -> None:
    assert words in PAGE
    assert limit
