from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from suite.errors import UserError
from suite.nets import NETWORKS, build_network, layer_names, load_published, published_sha256, quantizable

LENETS = ["lenet-300-100", "lenet5", "lenet5-caffe", "lenet-twn"]
SMALL = [*LENETS, "cifar10-quick", "resnet8", "resnet20", "resnet32", "resnet44", "resnet56"]
IMAGENET = ["alexnet", "vgg16", "googlenet", "resnet18"]


@pytest.fixture(scope="session")
def test_data() -> Path:
    if "SLQ_TEST_DATA" not in os.environ:
        pytest.skip("SLQ_TEST_DATA names no folder with weights/")
    return Path(os.environ["SLQ_TEST_DATA"])


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def meta_network(name: str, channels: int, size: int, classes: int) -> nn.Module:
    with torch.device("meta"):
        return NETWORKS[name].build(channels, size, classes)


@pytest.mark.parametrize(
    ("name", "channels", "size", "classes", "count"),
    [
        ("lenet-300-100", 1, 28, 10, 266_610),  # 1070 KB in Deep Compression: 267,000 numbers of 4 bytes
        ("lenet5", 1, 28, 10, 61_706),
        ("lenet5-caffe", 1, 28, 10, 431_080),  # as Choi et al. 2017 state
        ("lenet5-caffe", 3, 32, 10, 657_080),
        ("lenet-twn", 1, 28, 10, 583_242),
        ("resnet8", 3, 32, 10, 75_290),  # ResNet-20 less two blocks in each of three groups: 269,722 - 2 * 97,216
        ("resnet8", 1, 28, 10, 75_002),
        ("cifar10-quick", 3, 32, 10, 145_578),
        ("resnet20", 3, 32, 10, 269_722),  # 0.27 M in the paper
        ("resnet32", 3, 32, 10, 464_154),
        ("resnet44", 3, 32, 10, 658_586),
        ("resnet56", 3, 32, 10, 853_018),
        ("alexnet", 3, 224, 1000, 61_100_840),  # these four: torchvision's table
        ("vgg16", 3, 224, 1000, 138_357_544),
        ("googlenet", 3, 224, 1000, 6_624_904),
        ("resnet18", 3, 224, 1000, 11_689_512),
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, channels: int, size: int, classes: int, count: int) -> None:
    assert parameters(meta_network(name, channels, size, classes)) == count


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lenet5", 5),
        ("lenet-twn", 4),
        ("cifar10-quick", 5),
        ("resnet8", 8),
        ("resnet20", 20),
        ("alexnet", 8),
        ("vgg16", 16),
        ("resnet18", 21),
    ],
)
def test_number_of_quantizable_layers(name: str, count: int) -> None:
    assert len(layer_names(name, 3, 224, 10)) == count


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    ("channels", "size", "classes"), [(1, 28, 10), (3, 32, 100), (3, 45, 7), (1, 13, 2), (1, 14, 2)]
)
def test_small_networks_fit_other_images(name: str, channels: int, size: int, classes: int) -> None:
    model = build_network(name, channels, size, classes, seed=0)
    assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_is_trained(name: str) -> None:
    model = build_network(name, 3, 32, 10, seed=0)
    model(torch.randn(8, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters() if p.dim() > 1)


def test_smallest_images_of_each_network_pass() -> None:
    for network in NETWORKS.values():
        model = meta_network(network.name, 3, network.min_size, 5).eval()
        images = torch.zeros(2, 3, network.min_size, network.min_size, device="meta")
        assert model(images).shape == (2, 5)


def test_layer_names_are_those_of_the_built_model() -> None:
    weights = quantizable(build_network("resnet20", 3, 32, 10, seed=0))
    assert layer_names("resnet20", 3, 32, 10) == tuple(weights)
    assert next(iter(weights)) == "conv1"
    assert [*weights][-2:] == ["layer3.2.conv2", "linear"]
    assert all(w.dim() in (2, 4) for w in weights.values())


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("lenet-300-100", {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}),
        ("lenet5-caffe", {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}),
        ("lenet-twn", {"conv1": (32, 1, 5, 5), "conv2": (64, 32, 5, 5), "fc1": (512, 1024), "fc2": (10, 512)}),
    ],
)
def test_layers_of_the_lenets_on_mnist(name: str, layers: dict[str, tuple[int, ...]]) -> None:
    weights = quantizable(meta_network(name, 1, 28, 10))
    assert {layer: tuple(weight.shape) for layer, weight in weights.items()} == layers


def test_lenet_of_caffe_has_no_relu_before_its_first_full_layer() -> None:
    model = build_network("lenet5-caffe", 1, 28, 10, seed=0)
    for bias in (p for name, p in model.named_parameters() if name.endswith("bias")):
        nn.init.zeros_(bias)
    features = nn.Sequential(*list(model.children())[:5])
    x = -torch.rand(4, 1, 28, 28)
    assert features(x).min() < 0, "a ReLU before fc1 would leave nothing below zero"
    assert [type(child).__name__ for child in list(model.children())[5:]] == ["Linear", "ReLU", "Linear"]


def test_a_shared_weight_is_listed_once() -> None:
    first, second, third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert list(quantizable(nn.Sequential(first, nn.BatchNorm1d(4), second, third))) == ["0", "3"]


def test_the_seed_decides_the_weights() -> None:
    def first(seed: int) -> torch.Tensor:
        return next(iter(quantizable(build_network("resnet20", 3, 32, 10, seed)).values()))

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_building_leaves_the_random_state_alone(name: str) -> None:
    before = torch.get_rng_state()
    build_network(name, 3, 32, 10, seed=3)
    layer_names.__wrapped__(name, 3, 32, 10)
    assert torch.equal(before, torch.get_rng_state())


def test_residual_networks_start_with_he_deviation() -> None:
    weight = quantizable(build_network("resnet20", 3, 32, 10, seed=0))["layer3.1.conv1"]
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_shortcut_pads_new_channels_on_both_sides() -> None:
    model = build_network("resnet20", 3, 32, 10, seed=0).eval()
    block = model.get_submodule("layer2.0")
    nn.init.zeros_(block.get_parameter("conv2.weight"))
    x = torch.rand(1, 16, 8, 8)
    expected = torch.zeros(1, 32, 4, 4)
    expected[:, 8:24] = x[:, :, ::2, ::2]
    assert torch.equal(block(x), expected)


def test_unknown_network_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'resnet21'.*lenet5.*did you mean 'resnet"):
        build_network("resnet21", 3, 32, 10, seed=0)


@pytest.mark.parametrize(
    ("name", "channels", "size", "says"),
    [("alexnet", 3, 32, "at least 63 pixels, not 32.*vgg16"), ("resnet18", 1, 28, "3 channels, not 1.*lenet5")],
)
def test_unsuitable_images_are_refused(name: str, channels: int, size: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        layer_names(name, channels, size, 10)


def test_torchvision_imports_in_a_fresh_process() -> None:
    code = "from suite.vision import models; import suite.vision, torchvision; print(models is torchvision.models)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_networks_do_not_import_torchvision_until_it_is_needed() -> None:
    code = "import sys, suite.nets, suite.data; print('torchvision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_missing_weights_say_where_to_put_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = meta_network("resnet18", 3, 224, 1000)
    with pytest.raises(UserError) as caught:
        load_published(model, "resnet18", tmp_path)
    for place in (
        "weights/imagenet-resnet18.safetensors",
        "weights/imagenet-resnet18.pth",
        "hub/checkpoints/resnet18-f37072fd.pth",
    ):
        assert str(tmp_path / place) in str(caught.value)
    assert "--data-root" in str(caught.value)


def test_no_published_weights() -> None:
    with pytest.raises(UserError, match=r"no published weights for 'lenet5'.*resnet20"):
        load_published(build_network("lenet5", 1, 28, 10, 0), "lenet5", Path())


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_load_from_either_format(tmp_path: Path, suffix: str) -> None:
    source, target = (build_network("resnet20", 3, 32, 10, seed) for seed in (1, 2))
    path = tmp_path / "weights" / f"cifar10-resnet20.{suffix}"
    path.parent.mkdir()
    state = source.state_dict()
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    load_published(target, "resnet20", tmp_path)
    digest = published_sha256("resnet20", tmp_path)
    assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in state.items())
    assert digest == subprocess.check_output(["sha256sum", path], text=True).split()[0]


def test_googlenet_ignores_auxiliary_heads_in_torch_hubs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = build_network("googlenet", 3, 224, 10, seed=0)
    state = {**build_network("googlenet", 3, 224, 10, seed=1).state_dict(), "aux1.fc1.bias": torch.zeros(1)}
    path = tmp_path / "hub" / "checkpoints" / "googlenet-1378be20.pth"
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    load_published(model, "googlenet", tmp_path)
    assert torch.equal(model.state_dict()["fc.weight"], state["fc.weight"])


def test_weights_of_another_data_set_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    state = build_network("resnet20", 3, 32, 10, seed=0).state_dict()
    save_file(state, tmp_path / "weights" / "cifar10-resnet20.safetensors")
    with pytest.raises(UserError, match=r"cifar10-resnet20.safetensors does not fit.*network/data combination"):
        load_published(build_network("resnet20", 3, 32, 100, seed=0), "resnet20", tmp_path)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_damaged_weights_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "weights" / f"cifar10-resnet20.{suffix}"
    path.parent.mkdir()
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match=f"cannot read weights from {path}"):
        load_published(build_network("resnet20", 3, 32, 10, seed=0), "resnet20", tmp_path)


@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_published_cifar_weights_load(test_data: Path, depth: int) -> None:
    model = build_network(f"resnet{depth}", 3, 32, 10, seed=0).eval()
    load_published(model, f"resnet{depth}", test_data)
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 32, 32)).std() > 1
