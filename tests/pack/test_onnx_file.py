"""Packed networks as ONNX files, run by onnxruntime: the answers of torch, and codes in the file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from suite.data import DATASETS
from suite.data.normalise import Normalise
from suite.errors import UserError
from suite.nets import build_network, quantizable
from suite.pack import export_onnx, load_network, pack
from suite.pack.compressed import CompressedWeight
from suite.pack.container import packed
from suite.quant.coded import Coded
from tests import shown
from tests.conftest import Slq


def quantized(name: str, channels: int, size: int, values: int) -> nn.Module:
    """A network whose weights have few values, and whose normalisation is not what it is at first."""
    model = build_network(name, channels, size, 10, seed=0).eval()
    for weight in quantizable(model).values():
        step = 2 * float(weight.detach().std()) / values
        weight.data.copy_((weight.detach() / step).round().clamp(-values // 2, values // 2) * step)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand(buffer.shape) + 0.5)
    return model


def answers(path: Path, images: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    return torch.from_numpy(logits)


@pytest.mark.parametrize(("name", "channels", "size"), [("lenet5", 1, 28), ("resnet8", 3, 32)])
def test_onnxruntime_answers_as_torch(slq: Slq, tmp_path: Path, name: str, channels: int, size: int) -> None:
    model = quantized(name, channels, size, 16)
    data = {"lenet5": "mnist", "resnet8": "cifar10"}[name]
    pack(model.state_dict(), tmp_path / "m.slq")
    ended = slq("export", tmp_path / "m.slq", tmp_path / "m.onnx", "--network", name, "--data", data)
    assert ended.code == 0, ended.err
    images = torch.randn(5, channels, size, size)  # not the number of the example
    with torch.inference_mode():
        theirs = model(images)
    ours = answers(tmp_path / "m.onnx", images)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(ours.argmax(1), theirs.argmax(1))
    stored = {one.name: one for one in onnx.load(tmp_path / "m.onnx").graph.initializer}
    for layer, weight in quantizable(model).items():
        codes = onnx.numpy_helper.to_array(stored[f"{layer}.weight.codes"])
        assert (codes.dtype, codes.shape) == (np.uint8, tuple(weight.shape))
        assert f"{layer}.weight" not in stored
    weights = sum(weight.numel() for weight in model.parameters())
    assert (tmp_path / "m.onnx").stat().st_size < 1.2 * weights + 30_000
    assert b".py" not in (tmp_path / "m.onnx").read_bytes()  # nothing of where it was made


@pytest.mark.parametrize(("name", "data"), [("lenet5", "mnist"), ("resnet8", "cifar10")])
def test_the_page_normalises_as_training_does(slq: Slq, tmp_path: Path, name: str, data: str) -> None:
    page: dict[str, Any] = {}
    exec(compile(shown.blocks(shown.pages()["howto/pack.md"], "python")[0], "pack.md", "exec", dont_inherit=True), page)
    info = DATASETS[data]
    model = quantized(name, info.channels, info.size, 16)
    pack(model.state_dict(), tmp_path / "m.slq")
    assert slq("export", tmp_path / "m.slq", tmp_path / "m.onnx", "--network", name, "--data", data).code == 0
    pixels = torch.randint(256, (3, info.channels, info.size, info.size), dtype=torch.uint8)
    with torch.inference_mode():
        theirs = model(Normalise(info, torch.device("cpu"))(pixels))
    ours = torch.from_numpy(page["logits"](tmp_path / "m.onnx", data, pixels.numpy()))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_pruned_scaled_and_other_layers(tmp_path: Path) -> None:
    """What is no plain list of codes: pruned weights, scales of filters, vectors, and layers that are not quantized."""
    rng = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 20), nn.Linear(20, 20), nn.Linear(20, 5))
    live = torch.rand((4, 1, 3, 3), generator=rng) < 0.5
    pruned = Coded(
        live.shape,
        torch.float32,
        torch.randint(3, (int(live.sum()),), generator=rng).to(torch.int16),
        torch.tensor([-1.0, 0.5, 1.0]).double(),
        live,
        scale=torch.tensor([1.0, -2.0, 0.5, 0.25]).double(),
    )
    many = Coded(
        torch.Size((20, 144)),
        torch.float32,
        torch.randint(300, (2880,), generator=rng).to(torch.int16),
        torch.randn(300, generator=rng).double(),
    )
    vectors = Coded(
        torch.Size((20, 20)),
        torch.float32,
        torch.randint(9, (200,), generator=rng).to(torch.int16),
        torch.randn((9, 2), generator=rng).double(),
    )
    coded = {"0.weight": pruned, "2.weight": many, "3.weight": vectors}
    plain = {name: tensor for name, tensor in model.state_dict().items() if name not in coded}
    (tmp_path / "m.slq").write_bytes(packed(coded, plain))
    images = torch.randn(2, 1, 8, 8)
    export_onnx(tmp_path / "m.slq", model, images, tmp_path / "m.onnx")
    load_network(tmp_path / "m.slq", model)
    with torch.inference_mode():
        torch.testing.assert_close(answers(tmp_path / "m.onnx", images), model(images), rtol=1e-4, atol=1e-4)
    stored = {one.name for one in onnx.load(tmp_path / "m.onnx").graph.initializer}
    assert {"0.weight.codes", "0.weight.scale", "2.weight.codes", "3.weight", "4.weight"} <= stored
    assert CompressedWeight(many).codes.dtype == torch.int16


def test_a_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'slq-suite\[onnx\]'"):
        export_onnx(tmp_path / "m.slq", nn.Linear(2, 2), torch.ones(2, 2), tmp_path / "m.onnx")


def test_what_cannot_be_exported(slq: Slq, tmp_path: Path) -> None:
    pack(quantized("lenet5", 1, 28, 4).state_dict(), tmp_path / "m.slq")
    for options, words in (
        ((), "--network"),
        (("--network", "lenet5"), "--data"),
        (("--network", "lenet", "--data", "mnist"), "did you mean 'lenet5'"),
        (("--network", "lenet5", "--data", "mnits"), "did you mean 'mnist'"),
        (("--network", "lenet-300-100", "--data", "mnist"), "belongs to another network"),
    ):
        ended = slq("export", tmp_path / "m.slq", tmp_path / "m.onnx", *options)
        assert (ended.code, words in ended.err) == (2, True), ended.err
    assert not (tmp_path / "m.onnx").exists()
