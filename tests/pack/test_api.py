"""`suite.pack` from Python, with nothing but what it exports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import suite.pack
from suite.errors import UserError


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(40, 60), nn.ReLU(), nn.Linear(60, 10))


def test_from_a_network_to_a_file_and_back(tmp_path: Path) -> None:
    model, images = network(), torch.randn(3, 40)
    for layer in (model[0], model[2]):
        layer.weight.data.mul_(10).round_().div_(10)
    file = tmp_path / "m.slq"

    written = suite.pack.pack(model.state_dict(), file, metadata={"network": "mine"})
    assert written.size == file.stat().st_size
    assert suite.pack.verify(file, against=model.state_dict()).tensors == 4
    with pytest.raises(UserError, match=r"not the state_dict: the numbers of 0\.weight differ"):
        suite.pack.verify(file, against=network().state_dict())

    found = suite.pack.inspect(file)
    assert found.metadata == {"network": "mine"}
    assert [(line.name, line.shape) for line in found.lines] == [
        ("0.weight", (60, 40)),
        ("0.bias", (60,)),
        ("2.weight", (10, 60)),
        ("2.bias", (10,)),
    ]

    state = suite.pack.decode(file)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert suite.pack.unpack(file, tmp_path / "m.safetensors").numbers == 40 * 60 + 60 + 60 * 10 + 10
    suite.pack.pack(tmp_path / "m.safetensors", tmp_path / "again.slq")
    suite.pack.verify(tmp_path / "again.slq", against=tmp_path / "m.safetensors")

    for load in (suite.pack.load_network, suite.pack.load_compressed):
        other = network()
        load(file, other)
        with torch.inference_mode():
            assert torch.equal(other(images), model(images))

    file.write_bytes(file.read_bytes()[:-1])
    for refused in (suite.pack.decode, suite.pack.inspect, suite.pack.verify):
        with pytest.raises(suite.pack.PackError, match=r"m\.slq cannot be read"):
            refused(file)


def test_all_names_are_there() -> None:
    assert all(callable(getattr(suite.pack, name)) for name in suite.pack.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        suite.pack.nothing  # noqa: B018
