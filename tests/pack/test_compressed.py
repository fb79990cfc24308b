"""Networks that stay compressed in memory: the same outputs to the bit, and the memory that is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from suite.pack.compressed import CompressedWeight, load_compressed
from suite.pack.container import packed
from suite.pack.errors import PackError
from suite.pack.store import load_network
from suite.quant.coded import Coded
from suite.quant.dither import Dither

SHAPES = {"0.weight": (8, 3, 3, 3), "2.weight": (6, 8, 3, 3), "5.weight": (10, 96)}


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 6, 3, stride=2, padding=1, dilation=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 10),
    ).eval()


def coded(shape: tuple[int, ...], kind: str) -> Coded:
    rng = torch.Generator().manual_seed(len(shape))
    size, entries, width = torch.Size(shape), 300 if kind == "many" else 5, 4 if "vectors" in kind else 1
    live = torch.rand(size, generator=rng) < 0.3 if "pruned" in kind else None
    count = size.numel() if live is None else int(live.sum())
    codes = torch.randint(entries, (-(-count // width),), generator=rng).to(torch.int16)
    book = torch.randn((entries, width) if width > 1 else (entries,), generator=rng).double()
    scale = torch.randn(shape[0], generator=rng).double() if "scaled" in kind else None
    dither = Dither(5, 0.1, "D4") if "dither" in kind else None
    return Coded(size, torch.float32, codes, book.float().double(), live, scale, dither)


def plain() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    state = {name: tensor for name, tensor in network().state_dict().items() if name not in SHAPES}
    return {n: torch.rand(t.shape, generator=rng) if t.is_floating_point() else t for n, t in state.items()}


def written(path: Path, kind: str) -> Path:
    path.write_bytes(packed({name: coded(shape, kind) for name, shape in SHAPES.items()}, plain()))
    return path


KINDS = ["few", "many", "pruned", "pruned scaled", "vectors", "pruned vectors", "pruned dither", "scaled dither"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_it_answers_as_the_decoded_network_does(tmp_path: Path, kind: str, device: str) -> None:
    path, images = written(tmp_path / "m.slq", kind), torch.randn(2, 3, 8, 8)
    decoded = network()
    load_network(path, decoded)
    with torch.device(device):
        compressed = network()
    load_compressed(path, compressed)
    with torch.inference_mode():
        assert torch.equal(compressed(images), decoded(images))
    for name in SHAPES:
        ours, theirs = compressed.get_submodule(name[0]).weight, decoded.get_parameter(name)
        assert torch.equal(ours.view(torch.int32), theirs.detach().view(torch.int32))  # signs of zeros, too


def held(model: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize(("kind", "bytes_each", "entries"), [("few", 1, 5), ("many", 2, 300), ("pruned", 1, 6)])
def test_a_code_takes_a_byte_or_two(tmp_path: Path, kind: str, bytes_each: int, entries: int) -> None:
    model = network()
    others = held(model) - sum(4 * torch.Size(shape).numel() for shape in SHAPES.values())
    load_compressed(written(tmp_path / "m.slq", kind), model)
    codes = bytes_each * sum(torch.Size(shape).numel() for shape in SHAPES.values())
    assert held(model) <= others + codes + 4 * entries * len(SHAPES)


def test_a_shared_weight_is_stored_once(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40))
    model[1].weight = model[0].weight
    weight = coded((40, 40), "few")
    (tmp_path / "m.slq").write_bytes(
        packed({"0.weight": weight}, {"0.bias": torch.zeros(40), "1.bias": torch.zeros(40)})
    )
    load_compressed(tmp_path / "m.slq", model)
    assert torch.equal(model[0].weight, weight.decoded())
    assert torch.equal(model[1].weight, weight.decoded())
    assert held(model) < 2 * 1600


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_shared_tensor_that_is_not_coded_stays_shared(tmp_path: Path, device: str) -> None:
    with torch.device(device):
        model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)))
    model[1][0].weight, model[1][0].bias = model[0].weight, model[0].bias
    state = {"0.weight": torch.randn(4, 4), "0.bias": torch.randn(4)}
    (tmp_path / "m.slq").write_bytes(packed({}, state))
    load_compressed(tmp_path / "m.slq", model)
    assert torch.equal(model[0].weight, state["0.weight"])
    assert model[1][0].weight is model[0].weight
    assert model[1][0].bias is model[0].bias
    assert model(torch.ones(1, 4)).isfinite().all()


def test_what_would_stay_on_meta_is_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4))
        model.register_buffer("scale", torch.ones(1), persistent=False)
    (tmp_path / "m.slq").write_bytes(packed({}, {"0.weight": torch.randn(4, 4), "0.bias": torch.randn(4)}))
    with pytest.raises(ValueError, match=r'm\.slq lacks scale, which is on "meta"'):
        load_compressed(tmp_path / "m.slq", model)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("stored", "wanted"),
    [(torch.float16, torch.float32), (torch.float32, torch.bfloat16), (torch.float32, torch.float64)],
)
def test_weights_get_the_type_of_the_network(
    tmp_path: Path, stored: torch.dtype, wanted: torch.dtype, device: str
) -> None:
    layers = {name: replace(coded(shape, "scaled dither"), dtype=stored) for name, shape in SHAPES.items()}
    others = {name: tensor.to(stored) if tensor.is_floating_point() else tensor for name, tensor in plain().items()}
    (tmp_path / "m.slq").write_bytes(packed(layers, others))
    decoded, images = network().to(wanted), torch.randn(2, 3, 8, 8, dtype=wanted)
    load_network(tmp_path / "m.slq", decoded)
    with torch.device(device):
        compressed = network().to(wanted)
    load_compressed(tmp_path / "m.slq", compressed)
    with torch.inference_mode():
        assert torch.equal(compressed(images), decoded(images))
        later = compressed.double()(images.double())
        if wanted.itemsize >= stored.itemsize:  # else they were rounded in the decoded one only
            assert torch.equal(later, decoded.double()(images.double()))


def test_half_precision(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        codes, book = torch.randint(3, (600,)).to(torch.int16), torch.tensor([-1.0, 0.0, 0.5]).double()
        layer = Coded(torch.Size((20, 30)), dtype, codes, book)
        assert torch.equal(CompressedWeight(layer).weight(), layer.decoded())


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(("damage", "error"), [(lambda data: data[:-1], PackError), (lambda data: b"SLQ\7", PackError)])
def test_damaged_files(tmp_path: Path, damage: Damage, error: type[Exception]) -> None:
    path = written(tmp_path / "m.slq", "few")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(error, match=r"m\.slq cannot be read"):
        load_compressed(path, network())


def test_another_network(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="belongs to another network"):
        load_compressed(written(tmp_path / "m.slq", "few"), nn.Sequential(nn.Conv2d(3, 8, 5)))
