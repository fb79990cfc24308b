from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from suite.data import BatchRequest, open_data
from suite.data.imagenet import ImageNetSource
from suite.data.registry import DATASETS
from suite.errors import UserError
from suite.nets import build_network, quantizable

CPU = torch.device("cpu")
CLASSES = ("n01440764", "n01443537", "n01484850", "n02102040")
SIZES = ((500, 375), (240, 300), (224, 224), (120, 90))
ODD = {2: "L", 3: "CMYK"}  # ImageNet has grey and CMYK files too


def write_images(root: Path, count: int) -> None:
    for label, wnid in enumerate(CLASSES):
        folder = root / wnid
        folder.mkdir(parents=True)
        for number in range(count):
            noise = Image.effect_noise(SIZES[number % 4], 40 + label)
            image = Image.merge(
                "RGB", [noise, noise.point(lambda v: v // 2), noise.transpose(Image.Transpose.ROTATE_180)]
            )
            image.convert(ODD.get(number, "RGB")).save(folder / f"{wnid}_{number}.JPEG", "JPEG")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes in the layout of the real thing."""
    root = tmp_path_factory.mktemp("data")
    write_images(root / "imagenet" / "train", 4)
    write_images(root / "imagenet" / "val", 2)
    return root


def source(data_root: Path, workers: int = 0) -> ImageNetSource:
    return ImageNetSource(DATASETS["imagenet"], data_root, workers)


def requests(seed: int | None) -> list[BatchRequest]:
    return [BatchRequest(torch.tensor(indices), seed) for indices in ([0, 5, 15], [7], [2, 3])]


def pixels(batches: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    return torch.cat([images for images, _ in batches])


def test_a_subset_tells_its_classes(data_root: Path, tmp_path: Path) -> None:
    opened = open_data("imagenet", data_root, tmp_path, workers=0)
    assert opened.info.classes == 4
    assert (opened.count("train"), opened.count("test")) == (16, 8)


@pytest.mark.parametrize("seed", [None, 3])
def test_batches_have_the_networks_shape(data_root: Path, seed: int | None) -> None:
    answers = list(source(data_root).batches("train", requests(seed), CPU))
    assert [tuple(images.shape) for images, _ in answers] == [(n, 3, 224, 224) for n in (3, 1, 2)]
    assert [labels.tolist() for _, labels in answers] == [[0, 1, 3], [1], [0, 0]]
    assert answers[0][0].dtype == torch.float32
    assert answers[0][1].dtype == torch.int64


@pytest.mark.parametrize("seed", [None, 3])
def test_workers_do_not_change_batches(data_root: Path, seed: int | None) -> None:
    alone, together = (pixels(source(data_root, n).batches("train", requests(seed), CPU)) for n in (0, 2))
    assert torch.equal(alone, together)


def test_an_image_is_augmented_alike_in_every_batch(data_root: Path) -> None:
    opened = source(data_root)
    separate = pixels(opened.batches("train", requests(3), CPU))
    joint = pixels(opened.batches("train", [BatchRequest(torch.tensor([0, 5, 15, 7, 2, 3]), 3)], CPU))
    assert torch.equal(separate, joint)


def test_seeds_and_images_differ(data_root: Path) -> None:
    opened = source(data_root)
    one, other, none = (pixels(opened.batches("train", requests(seed), CPU)) for seed in (3, 4, None))
    assert not any(torch.equal(one[i], other[i]) or torch.equal(one[i], none[i]) for i in range(6))


def test_evaluation_takes_the_centre(data_root: Path) -> None:
    images = pixels(source(data_root).batches("test", [BatchRequest(torch.tensor([0]), None)], CPU))
    with Image.open(data_root / "imagenet" / "val" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG") as image:
        scaled = image.convert("RGB").resize((341, 256), Image.Resampling.BILINEAR)
    red = torch.from_numpy(np.asarray(scaled.crop((58, 16, 58 + 224, 16 + 224)))[:, :, 0].copy())
    torch.testing.assert_close(images[0, 0], (red / 255 - 0.485) / 0.229)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_leave_the_random_state_alone(data_root: Path, workers: int) -> None:
    before = torch.get_rng_state()
    list(source(data_root, workers).batches("train", requests(3), CPU))
    assert torch.equal(before, torch.get_rng_state())


def test_the_fingerprint_follows_names_and_sizes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_images(tmp_path / "imagenet" / split, 1)
    before = source(tmp_path).fingerprint
    assert source(tmp_path).fingerprint == before
    with (tmp_path / "imagenet" / "val" / CLASSES[1] / f"{CLASSES[1]}_0.JPEG").open("ab") as file:
        file.write(b"\0")
    assert source(tmp_path).fingerprint != before


def test_both_splits_need_the_same_classes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_images(tmp_path / "imagenet" / split, 1)
    (tmp_path / "imagenet" / "val" / CLASSES[2]).rename(tmp_path / "imagenet" / "val" / "n9")
    with pytest.raises(UserError, match=f"class folders differ.*{CLASSES[2]}, n9"):
        source(tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named(tmp_path: Path, workers: int) -> None:
    for split in ("train", "val"):
        write_images(tmp_path / "imagenet" / split, 1)
    path = tmp_path / "imagenet" / "train" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"
    path.write_bytes(b"no image")
    with pytest.raises(UserError, match=f"cannot read image {path}"):
        list(source(tmp_path, workers).batches("train", [BatchRequest(torch.tensor([0]), 1)], CPU))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "vgg16", "googlenet", "resnet18"])
def test_networks_train_one_step(data_root: Path, name: str) -> None:
    opened = source(data_root)
    model = build_network(name, opened.info.channels, opened.info.size, opened.info.classes, seed=0)
    images, labels = next(opened.batches("train", [BatchRequest(torch.tensor([1, 14]), 1)], CPU))
    weights = quantizable(model)
    before = {layer: weight.detach().clone() for layer, weight in weights.items()}
    loss = F.cross_entropy(model(images), labels)
    torch.autograd.backward(loss)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert loss.isfinite()
    assert not any(weight.equal(before[layer]) for layer, weight in weights.items())
