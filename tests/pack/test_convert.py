"""`slq pack`, `unpack`, `verify`, `inspect`: anybody's tensors through the file and back, to the bit."""

from __future__ import annotations

import io
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from suite.errors import UserError
from suite.pack import streamed
from suite.pack.container import Packed, packed, unpacked
from suite.pack.contents import contents
from suite.pack.convert import SLOW, decode, inspect, pack, pack_tensors, unpack, verify
from suite.pack.distinct import coded_of
from suite.pack.errors import PackError
from suite.pack.header import LABELLED, VERSION
from suite.pack.memory import enough_memory
from suite.pack.raw import DTYPES, to_bytes
from suite.pack.store import load_state
from suite.pack.tensor import Draft, Section
from suite.pack.writer import Writer
from suite.quant.coded import Coded
from tests.conftest import Slq

GIBIBYTE = 2**30


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any type; few values or many; zeros of both signs, infinities, NaN; empty ones, single numbers, matrices."""
    shape = draw(st.sampled_from([(), (0,), (3,), (5, 0), (40, 30), (6, 3, 3, 3)]))
    dtype = draw(st.sampled_from(DTYPES))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    values = torch.randn(shape, generator=rng) * 3
    if draw(st.booleans()):
        values = values.round()  # makes -0, too
    if draw(st.booleans()):
        values = torch.where(torch.rand(shape, generator=rng) < 0.8, 0.0, values)
    tensor = values.to(dtype)
    if dtype.is_floating_point and tensor.numel() and draw(st.booleans()):
        special = draw(st.sampled_from([float("nan"), float("inf"), -0.0]))
        tensor.view(-1)[0] = special
    return tensor


def exact(state: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, torch.Size, bytes]]:
    """What is equal for the same tensors only, to the bit."""
    return {name: (tensor.dtype, tensor.shape, to_bytes(tensor)) for name, tensor in state.items()}


@given(st.dictionaries(st.text(min_size=1, max_size=8), tensors(), max_size=4))
@settings(max_examples=150, deadline=None)
def test_every_bit_comes_back(state: dict[str, Tensor]) -> None:
    content = unpacked(pack_tensors(state))
    assert exact({entry.name: content.tensor(entry) for entry in content.entries}) == exact(state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_few_values_are_coded(dtype: torch.dtype) -> None:
    few = torch.randint(-2, 3, (64, 50)).to(dtype) / 8
    coded = coded_of(few)
    assert coded is not None
    assert len(coded.codebook) == 5
    assert torch.equal(coded.decoded(), few)


@pytest.mark.parametrize("tensor", [torch.rand(64, 50), torch.rand(50).double(), torch.arange(50), torch.tensor(1.0)])
def test_many_values_and_what_is_no_weight_are_not(tensor: Tensor) -> None:
    assert coded_of(tensor) is None


def test_size_is_near_the_entropy() -> None:
    weights = torch.randn(400, 300, generator=torch.Generator().manual_seed(0)).mul(2).round().div(2)
    coded = coded_of(weights)
    assert coded is not None
    counts = torch.bincount(coded.codes.long()).double()
    ideal = float((counts * (counts.sum() / counts).log2()).sum()) / 8
    assert len(pack_tensors({"w": weights})) < 1.01 * ideal + 200  # codebook, header


def test_what_verify_sees(tmp_path: Path) -> None:
    ours = {"a": torch.tensor([0.0, 1.0]), "b": torch.ones(2)}
    pack(ours, tmp_path / "m.slq")
    assert verify(tmp_path / "m.slq", ours).numbers == 4
    for theirs, words in (
        ({"a": ours["a"]}, "b is in one of them only"),
        (ours | {"a": torch.tensor([-0.0, 1.0])}, "the numbers of a differ"),
        (ours | {"b": torch.ones(2).double()}, r"b is torch.float32 \[2\], not torch.float64 \[2\]"),
        (ours | {"b": torch.ones(3)}, r"b is torch.float32 \[2\], not torch.float32 \[3\]"),
        (ours | {"b": torch.ones(2, dtype=torch.complex64).conj()}, "b is torch.float32 .* not torch.complex64"),
        (ours | {"c": torch.ones(2, device="meta")}, "c is in one of them only"),
        (cast(dict[str, Tensor], ours | {"c": 3}), "c is in one of them only"),
    ):
        with pytest.raises(UserError, match=words):
            verify(tmp_path / "m.slq", theirs)


@pytest.mark.parametrize("step", [2, 3])
def test_tensors_whose_numbers_lie_apart(slq: Slq, tmp_path: Path, step: int) -> None:
    """They stay so in what torch saves."""
    many, few = torch.randn(400, step), torch.randint(3, (400, step)).float()
    state = {"many": many.view(-1)[::step], "column": many[:, 0], "few": few[:, 1], "turned": many.T}
    torch.save(state, tmp_path / "m.pt")
    assert slq("pack", tmp_path / "m.pt", tmp_path / "m.slq").code == 0
    assert slq("verify", tmp_path / "m.slq", "--against", tmp_path / "m.pt").code == 0
    assert exact(decode(tmp_path / "m.slq")) == exact(state)


def test_pack_verify_inspect_unpack(slq: Slq, tmp_path: Path) -> None:
    state = {"conv.weight": torch.randint(0, 3, (32, 16, 3, 3)).float(), "conv.bias": torch.randn(32)}
    source, target, again = tmp_path / "m.safetensors", tmp_path / "m.slq", tmp_path / "again.safetensors"
    save_file(state, source)
    assert "times smaller" in slq("pack", source, target).out
    assert target.stat().st_size < source.stat().st_size / 10
    assert "ok, 2 tensors, 4,640 numbers, the same as" in slq("verify", target, "--against", source).out
    rows = [line.split() for line in slq("inspect", target).out.splitlines()]
    assert ["conv.weight", "32x16x3x3", "float32"] in [row[:3] for row in rows]
    assert slq("unpack", target, again).code == 0
    assert exact(load_file(again)) == exact(state)
    assert again.stat().st_mode & 0o777 == target.stat().st_mode & 0o777  # not for the owner's eyes only


def test_a_state_dict_of_torch(slq: Slq, tmp_path: Path) -> None:
    model = torch.nn.Linear(30, 20)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    assert slq("pack", tmp_path / "m.pt", tmp_path / "m.slq").code == 0
    assert exact(decode(tmp_path / "m.slq", GIBIBYTE)) == exact(model.state_dict())


def test_inspect_tells_coders_layouts_and_extras() -> None:
    codes = (torch.rand(40, 50, generator=torch.Generator().manual_seed(1)) < 0.02).to(torch.int16).flatten()
    sparse = Coded(torch.Size((40, 50)), torch.float32, codes, torch.tensor([0.0, 1.5]).double())
    vectors = Coded(torch.Size((4, 4)), torch.float32, torch.arange(8, dtype=torch.int16), torch.randn(8, 2).double())
    scale = torch.tensor([1.0, 2.0]).double()
    scaled = Coded(torch.Size((2, 50)), torch.float32, codes[:100], sparse.codebook, scale=scale)
    lines = contents(unpacked(packed({"a": sparse, "b": vectors, "c": scaled}, {"d": torch.ones(3)})))
    assert [(line.name, line.entries) for line in lines] == [("a", 2), ("b", 8), ("c", 2), ("d", None)]
    assert lines[1].stored.endswith("vectors of 2")
    assert lines[2].stored.endswith("scales")
    assert lines[3].stored in ("raw", "deflated")
    assert 0 < lines[0].bits < 1


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda path: None, "no file"),
    "text": (lambda path: path.write_text("hello"), "is no state_dict that torch saved"),
    "a pickle that would run code": (lambda path: torch.save(torch.nn.Linear(2, 2), path), "is no state_dict"),
    "nested": (
        lambda path: torch.save({"epoch": 3, "model": {}}, path),
        "it has epoch, model; save model.state_dict()",
    ),
    "no names": (lambda path: torch.save({0: torch.ones(2)}, path), "has not a dense tensor under each name"),
    "sparse": (
        lambda path: torch.save({"w": torch.eye(3).to_sparse()}, path),
        "has not a dense tensor under each name",
    ),
    "nine dimensions": (lambda path: torch.save({"w": torch.ones([1] * 9)}, path), "cannot be packed"),
    "a name that is no text": (lambda path: torch.save({"w\ud800": torch.ones(2)}, path), "cannot be packed"),
    "complex": (lambda path: torch.save({"w": torch.ones(2) * 1j}, path), "w is of torch.complex64"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_cannot_be_packed(slq: Slq, kind: str, tmp_path: Path) -> None:
    make, words = UNFIT[kind]
    make(tmp_path / "m.pt")
    ended = slq("pack", tmp_path / "m.pt", tmp_path / "m.slq")
    assert ended.code == 2
    assert words in ended.err
    assert not (tmp_path / "m.slq").exists()


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_damaged_files(slq: Slq, command: str, tmp_path: Path) -> None:
    data = pack_tensors({"w": torch.randint(0, 3, (50, 60)).float()})
    file = tmp_path / "m.slq"
    long = 8 * b"\xff" + b"{"  # no safetensors: the header would be longer than the file
    for damaged in (data[:-5], data[:40] + bytes([data[40] ^ 1]) + data[41:], b"hello", b"", long):
        file.write_bytes(damaged)
        ended = slq(command, file)
        assert ended.code == 2
        assert "m.slq cannot be read" in ended.err


@pytest.mark.parametrize("command", [("verify",), ("inspect",), ("unpack", "x.safetensors"), ("export", "x.onnx")])
def test_safetensors_are_not_taken_for_damage(slq: Slq, command: tuple[str, ...], tmp_path: Path) -> None:
    """A trial's model.slq is, if nothing in it is quantized."""
    file, packed = tmp_path / "my model.slq", tmp_path / "packed.slq"
    save_file({"w": torch.randn(4, 5)}, file)
    what, *others = command
    ended = slq(what, file, *(tmp_path / other for other in others))
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert f"{file} is not packed but plain safetensors; pack it first: slq pack '{file}' NAME.slq" in ended.err
    assert slq("pack", file, packed).code == 0
    assert slq("verify", packed, "--against", file).code == 0


def test_metadata(slq: Slq, tmp_path: Path) -> None:
    source, target, again = tmp_path / "m.safetensors", tmp_path / "m.slq", tmp_path / "again.safetensors"
    save_file({"w": torch.ones(4)}, source)
    given = ("--metadata", "network=lenet5", "--metadata", "method=slq [3 bits], a=b")
    assert slq("pack", source, target, *given).code == 0
    assert inspect(target).metadata == {"network": "lenet5", "method": "slq [3 bits], a=b"}
    lines = slq("inspect", target).out.splitlines()
    assert "network: lenet5" in lines
    assert "method: slq [3 bits], a=b" in lines
    assert slq("unpack", target, again).code == 0
    with safe_open(again, framework="pt") as file:
        assert file.metadata() == {"network": "lenet5", "method": "slq [3 bits], a=b"}
    ended = slq("pack", source, target, "--force", "--metadata", "lenet5")
    assert (ended.code, "'lenet5' is not of the form KEY=VALUE" in ended.err) == (2, True)


def test_metadata_of_safetensors_are_kept(tmp_path: Path) -> None:
    """Loaders need them: transformers looks for the format."""
    source, target, back = tmp_path / "w.safetensors", tmp_path / "w.slq", tmp_path / "back.safetensors"
    save_file({"w": torch.ones(4)}, source, metadata={"format": "pt", "network": "theirs"})
    pack(source, target, metadata={"network": "ours"})
    unpack(target, back)
    with safe_open(back, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "network": "ours"}


@given(st.dictionaries(st.text(max_size=6), st.text(max_size=20), max_size=4))
@settings(max_examples=50, deadline=None)
def test_metadata_of_any_text_come_back(metadata: dict[str, str]) -> None:
    data = pack_tensors({"w": torch.ones(4)}, metadata=metadata)
    assert unpacked(data).metadata == metadata
    assert data[3] == (LABELLED if metadata else VERSION)  # files without are what they were before there were metadata


@given(st.dictionaries(st.text(min_size=1, max_size=8), tensors(), max_size=5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_unpacked_files_are_safetensors(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Tensor], has_metadata: bool
) -> None:
    """As the library that defines them reads them."""
    folder = tmp_path_factory.getbasetemp()
    pack(state, folder / "m.slq", metadata={"ü": "…"} if has_metadata else None)
    unpack(folder / "m.slq", folder / "m.safetensors")
    assert exact(load_file(folder / "m.safetensors")) == exact(state)


def test_a_name_that_safetensors_keep_for_themselves(slq: Slq, tmp_path: Path) -> None:
    pack({"__metadata__": torch.ones(3)}, tmp_path / "m.slq")
    ended = slq("unpack", tmp_path / "m.slq", tmp_path / "m.safetensors")
    assert (ended.code, "cannot be called '__metadata__'" in ended.err) == (2, True)
    assert not (tmp_path / "m.safetensors").exists()


def test_one_tensor_is_in_memory_at_a_time() -> None:
    """By the system's count, in a process of its own: twelve tensors take hardly more memory than one."""
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, check=True, text=True)
    packing, unpacking, whole = map(int, done.stdout.split())
    assert packing < whole / 4
    assert unpacking < whole / 4


PEAKS = """
import tempfile, torch
from pathlib import Path
from suite.pack.convert import pack, unpack
from suite.pack.streamed import Facts, write_each

def number(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return 1024 * int(line.split()[1])

def peak(action, *files):
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = number("VmRSS")
    action(*files)
    return number("VmHWM") - before

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder:
    source, packed, again = (Path(folder) / name for name in ("m.safetensors", "m.slq", "again.safetensors"))
    for count in (1, 12):
        values = torch.randn(16)[torch.randint(16, (2**21,), dtype=torch.int32)]
        facts = [Facts(str(number), torch.float32, (2**21,)) for number in range(count)]
        with source.open("wb") as file:
            write_each(file, facts, lambda name: values, {})
        peaks = [peak(lambda *files: pack(*files, coder="fixed"), source, packed), peak(unpack, packed, again)]
    print(*peaks, source.stat().st_size)
"""


def test_nothing_is_kept_of_a_layer_whose_symbols_are_coded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbols and what coding them takes are the peak: numbers and codes would be half as much again."""
    kept: list[weakref.ref[Tensor]] = []
    section = Draft.section

    def load() -> Tensor:
        kept.append(weakref.ref(tensor := torch.arange(5000.0) % 7))
        return tensor

    def coded(tensor: Tensor) -> Coded | None:
        found = coded_of(tensor)
        assert found is not None
        kept.append(weakref.ref(found.codes))
        return found

    def noted(draft: Draft, coder: str) -> Section:
        assert [one() for one in kept] == [None, None]
        return section(draft, coder)

    monkeypatch.setattr("suite.pack.writer.coded_of", coded)
    monkeypatch.setattr(Draft, "section", noted)
    Writer(io.BytesIO()).add("w", load)
    assert len(kept) == 2


@pytest.mark.parametrize("is_compared", [False, True])
def test_verifying_holds_one_tensor_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_compared: bool
) -> None:
    """Of both files together."""
    state = {name: torch.randn(50) for name in "abc"}
    save_file(state, tmp_path / "m.safetensors")
    pack(state, tmp_path / "m.slq")
    kept: list[weakref.ref[Tensor]] = []

    def noted(load: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def loaded(*given: object) -> Tensor:
            assert [one() for one in kept if one() is not None] == []
            kept.append(weakref.ref(tensor := load(*given)))
            return tensor

        return loaded

    monkeypatch.setattr(Packed, "tensor", noted(Packed.tensor))
    monkeypatch.setattr(streamed, "_read", noted(streamed._read))
    verify(tmp_path / "m.slq", tmp_path / "m.safetensors" if is_compared else None)
    assert len(kept) == (6 if is_compared else 3)


def test_a_tensor_too_many_is_not_even_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.pack.writer.MOST", 3)
    writer = Writer(io.BytesIO())
    for name in "abc":
        writer.add(name, lambda: torch.ones(2))
    with pytest.raises(PackError, match="more than 3 tensors"):
        writer.add("d", lambda: pytest.fail("it was loaded"))


def test_large_tensors_need_trust(slq: Slq, tmp_path: Path) -> None:
    """A hundred bytes that stand for millions are not decoded unless that was asked for."""
    file = tmp_path / "m.slq"
    book, codes = torch.zeros(1).double(), torch.zeros(10**6, dtype=torch.int16)
    file.write_bytes(packed({"w": Coded(torch.Size((1000, 1000)), torch.float32, codes, book)}, {}))
    assert file.stat().st_size < 100
    refused = slq("verify", file, "--limit", "0.001")
    assert (refused.code, "raise --limit" in refused.err) == (2, True)
    assert "1,000,000 numbers" in slq("verify", file, "--limit", "0.01").out


def test_nothing_is_replaced_unasked(slq: Slq, tmp_path: Path) -> None:
    source, target = tmp_path / "m.safetensors", tmp_path / "m.slq"
    save_file({"w": torch.ones(4)}, source)
    target.write_text("precious")
    ended = slq("pack", source, target)
    assert (ended.code, "--force" in ended.err, target.read_text()) == (2, True, "precious")
    assert slq("pack", source, target, "--force").code == 0
    assert slq("unpack", target, source).code == 2


def test_targets_that_cannot_be_written(slq: Slq, tmp_path: Path) -> None:
    source = tmp_path / "m.safetensors"
    save_file({"w": torch.ones(4)}, source)
    for target, words in (
        (tmp_path, "is a folder"),
        (source / "x", "is a file"),
    ):
        ended = slq("pack", source, target, "--force")
        assert (ended.code, words in ended.err) == (2, True)


def test_names_are_no_markup(slq: Slq, tmp_path: Path) -> None:
    (tmp_path / "m.slq").write_bytes(pack_tensors({"net[red].w": torch.ones(2), "a[/b]": torch.ones(2)}))
    ended = slq("inspect", tmp_path / "m.slq")
    assert "net[red].w" in ended.out
    assert "a[/b]" in ended.out


def test_another_network_is_told_apart(slq: Slq, tmp_path: Path) -> None:
    ours, theirs, target = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", tmp_path / "m.slq"
    save_file({"w": torch.ones(4)}, ours)
    save_file({"w": torch.zeros(4)}, theirs)
    assert slq("pack", ours, target).code == 0
    assert slq("verify", target, "--against", ours).code == 0
    ended = slq("verify", target, "--against", theirs)
    assert (ended.code, "the numbers of w differ" in ended.err) == (2, True)


FORGED = "a\x1b[2J\nok, 3 tensors"


def test_a_name_cannot_forge_lines_of_an_error(slq: Slq, tmp_path: Path) -> None:
    data = pack_tensors({FORGED: torch.arange(50)})
    (tmp_path / "damaged.slq").write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))
    (tmp_path / "m.slq").write_bytes(data)
    save_file({FORGED: torch.arange(1, 51)}, tmp_path / "other.safetensors")
    torch.save({FORGED: torch.ones(2) * 1j}, tmp_path / "complex.pt")
    torch.save({FORGED: {}}, tmp_path / "nested.pt")
    for command in (
        ("verify", tmp_path / "damaged.slq"),
        ("verify", tmp_path / "m.slq", "--against", tmp_path / "other.safetensors"),
        ("pack", tmp_path / "complex.pt", tmp_path / "out.slq"),
        ("pack", tmp_path / "nested.pt", tmp_path / "out.slq"),
    ):
        ended = slq(*command)
        assert ended.code == 2
        assert r"a\x1b[2J\nok, 3 tensors" in ended.err
        assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_too_little_memory_is_no_traceback(
    slq: Slq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> Tensor:
        raise error

    (tmp_path / "m.slq").write_bytes(pack_tensors({"w": torch.ones(4)}))
    monkeypatch.setattr(Packed, "tensor", fail)
    ended = slq("verify", tmp_path / "m.slq")
    assert (ended.code, "there is not enough memory for w of" in ended.err) == (2, True)
    with pytest.raises(UserError, match=r"not enough memory for .*m\.slq"):
        load_state(tmp_path / "m.slq")


def test_other_errors_are_not_taken_for_too_little_memory() -> None:
    with pytest.raises(RuntimeError, match="a mistake"), enough_memory("this"):
        raise RuntimeError("a mistake")


def test_numbers_of_a_byte_count_as_four(tmp_path: Path) -> None:
    """Symbols take as many while they are decoded."""
    pack({"w": torch.eye(500, dtype=torch.int8)}, tmp_path / "m.slq")
    assert decode(tmp_path / "m.slq", limit=10**6)["w"].sum() == 500
    with pytest.raises(UserError, match="raise --limit"):
        decode(tmp_path / "m.slq", limit=10**6 - 1)


@pytest.mark.parametrize("kind", ["sparse", "coded"])
def test_symbols_of_slow_coders_count_for_more(tmp_path: Path, kind: str) -> None:
    """Tens of microseconds each, and a file may have many such streams of a few bytes."""
    numbers = torch.randn(40, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tensor = numbers.where(numbers > 1, 0.0) if kind == "sparse" else (numbers > 1).double()
    files = {name: tmp_path / f"{name}.slq" for name in ("adaptive", "mixing")}
    for name, file in files.items():
        data = packed({}, {"w": tensor}, name) if kind == "sparse" else pack_tensors({"w": tensor}, name)
        assert unpacked(data).entries[0].kind == kind
        file.write_bytes(data)
    assert decode(files["adaptive"], limit=tensor.nbytes)["w"].equal(tensor)
    assert decode(files["mixing"], limit=tensor.nbytes + 2 * SLOW * 2000)["w"].equal(tensor)
    with pytest.raises(UserError, match="a slow coder"):
        decode(files["mixing"], limit=tensor.nbytes + SLOW)
