from __future__ import annotations

import dataclasses
import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from suite.data import DATASETS, BatchRequest, DataSource, Split, open_data
from suite.data.augment import crop_flip
from suite.data.idx import read_idx
from suite.data.memory import Arrays, MemorySource
from suite.errors import UserError
from suite.nets import build_network, load_published

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def test_data() -> Path:
    if "SLQ_TEST_DATA" not in os.environ:
        pytest.skip("SLQ_TEST_DATA names no folder with MNIST/raw/, cifar10-images/ and weights/")
    return Path(os.environ["SLQ_TEST_DATA"])


@pytest.fixture(scope="session")
def digits() -> DataSource:
    return open_data("digits", Path("nowhere"), Path("nowhere"))


@pytest.fixture
def coloured() -> MemorySource:
    """40 images of noise, each pixel of which tells where it comes from."""
    images = torch.randint(1, 256, (40, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    arrays = Arrays(images, torch.arange(40) % 10)
    return MemorySource(DATASETS["cifar10"], {"train": arrays, "test": arrays})


def batch(source: DataSource, split: Split, indices: Tensor, seed: int | None = None) -> tuple[Tensor, Tensor]:
    return next(source.batches(split, [BatchRequest(indices, seed)], CPU))


def write_idx(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder: Path, suffix: str = "") -> None:
    for stem, count in (("train", 20), ("t10k", 10)):
        images = np.arange(count)[:, None, None] * np.ones((1, 28, 28))
        write_idx(folder / f"{stem}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{stem}-labels-idx1-ubyte{suffix}", np.arange(count) % 10)


def write_cifar_folder(root: Path, classes: int = 10, size: int = 32) -> None:
    for split, count in (("train", 3), ("test", 2)):
        for label in range(classes):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (size, size), (label * 20, number * 50, 0)).save(folder / f"{number}.jpg", quality=100)


# ---- digits, batches


def test_digits_are_split_in_equal_shares(digits: DataSource) -> None:
    assert (digits.count("train"), digits.count("test")) == (1257, 540)
    _, labels = batch(digits, "test", torch.arange(540))
    assert labels.bincount().min() >= 52
    assert labels.bincount().max() <= 56


def test_inputs_are_normalised(digits: DataSource) -> None:
    images, labels = batch(digits, "train", torch.arange(1257))
    assert (images.shape, images.dtype, labels.dtype) == ((1257, 1, 28, 28), torch.float32, torch.int64)
    assert images.mean().item() == pytest.approx(0, abs=1e-3)
    assert images.std().item() == pytest.approx(1, abs=1e-3)


def test_normalisation_is_per_channel(coloured: MemorySource) -> None:
    images, _ = batch(coloured, "test", torch.tensor([7]))
    pixels = coloured._splits["test"].images[7] / 255
    for channel, (mean, std) in enumerate(zip(coloured.info.mean, coloured.info.std, strict=True)):
        torch.testing.assert_close(images[0, channel], (pixels[channel] - mean) / std)


def test_batches_follow_their_requests(digits: DataSource) -> None:
    images, labels = batch(digits, "train", torch.arange(10))
    requests = [BatchRequest(torch.tensor(indices), None) for indices in ([3, 1], [9])]
    answers = list(digits.batches("train", requests, CPU))
    assert torch.equal(answers[0][0], images[[3, 1]])
    assert torch.equal(answers[0][1], labels[[3, 1]])
    assert torch.equal(answers[1][0], images[[9]])


def test_opening_twice_shares_the_memory(digits: DataSource) -> None:
    assert open_data("digits", Path("nowhere"), Path("nowhere")) is digits


def test_the_fingerprint_is_of_the_content(coloured: MemorySource) -> None:
    splits = coloured._splits
    changed = splits["test"].labels.clone()
    changed[5] += 1
    other = MemorySource(coloured.info, {**splits, "test": dataclasses.replace(splits["test"], labels=changed)})
    assert MemorySource(coloured.info, dict(splits)).fingerprint == coloured.fingerprint
    assert other.fingerprint != coloured.fingerprint


# ---- augmentation


def test_augmentation_depends_on_seed_and_indices_only(coloured: MemorySource) -> None:
    wanted = BatchRequest(torch.tensor([4, 2, 30]), seed=11)
    alone = next(coloured.batches("train", [wanted], CPU))[0]
    others = [BatchRequest(torch.arange(8), seed) for seed in (1, 2)]
    torch.manual_seed(99)
    among = [images for images, _ in coloured.batches("train", [*others, wanted], CPU)][2]
    assert torch.equal(alone, among)
    assert not torch.equal(alone, batch(coloured, "train", wanted.indices, seed=12)[0])
    assert not torch.equal(alone, batch(coloured, "train", wanted.indices)[0])


def test_augmentation_leaves_the_random_state_alone(coloured: MemorySource) -> None:
    before = torch.get_rng_state()
    batch(coloured, "train", torch.arange(8), seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_every_crop_is_a_shifted_and_perhaps_mirrored_image(coloured: MemorySource) -> None:
    images = coloured._splits["train"].images
    crops = crop_flip(images, seed=5)
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    found = set()
    for image, crop in zip(padded, crops, strict=True):
        windows = [(y, x, flip) for y in range(9) for x in range(9) for flip in (False, True)]
        found |= {w for w in windows if torch.equal(_window(image, *w), crop)}
    assert len(found) > 30  # of 40 images: nearly every one was found, at a place of its own
    assert {flip for _, _, flip in found} == {False, True}
    assert {min(y for y, _, _ in found), max(y for y, _, _ in found)} == {0, 8}
    assert {min(x for _, x, _ in found), max(x for _, x, _ in found)} == {0, 8}


def test_digits_are_cropped_but_never_mirrored(digits: DataSource) -> None:
    plain, _ = batch(digits, "train", torch.arange(64))
    cropped, _ = batch(digits, "train", torch.arange(64), seed=3)
    black = plain.min()
    padded = torch.nn.functional.pad(plain, (2, 2, 2, 2), value=float(black))
    for image, crop in zip(padded, cropped, strict=True):
        windows = [image[:, y : y + 28, x : x + 28] for y in range(5) for x in range(5)]
        assert any(torch.equal(window, crop) for window in windows)
    assert not torch.equal(plain, cropped)


def _window(image: Tensor, y: int, x: int, flip: bool) -> Tensor:
    window = image[:, y : y + 32, x : x + 32]
    return window.flip(2) if flip else window


# ---- IDX


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_load_plain_and_compressed(tmp_path: Path, suffix: str) -> None:
    write_mnist(tmp_path / "MNIST" / "raw", suffix)
    source = open_data("mnist", tmp_path, tmp_path)
    assert (source.count("train"), source.count("test")) == (20, 10)
    images, labels = batch(source, "train", torch.tensor([13]))
    assert labels.item() == 3
    torch.testing.assert_close(images, torch.full((1, 1, 28, 28), (13 / 255 - 0.1307) / 0.3081))


def test_own_fashion_mnist_goes_before_debians(tmp_path: Path) -> None:
    write_mnist(tmp_path / "FashionMNIST" / "raw")
    assert open_data("fashion-mnist", tmp_path, tmp_path).count("train") == 20


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kept", [0, 3, 10, -1])
def test_truncated_idx_file_is_named(tmp_path: Path, suffix: str, kept: int) -> None:
    path = tmp_path / f"images{suffix}"
    write_idx(path, np.ones((5, 28, 28)))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=f"{path} is no whole IDX file"):
        read_idx(path, rank=3)


def test_idx_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "labels", np.ones(5))
    with pytest.raises(UserError, match="starts with 00 00 08 01, not 00 00 08 03"):
        read_idx(tmp_path / "labels", rank=3)


def test_too_long_idx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    write_idx(path, np.ones(5))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match="no whole IDX file"):
        read_idx(path, rank=1)


def test_labels_must_match_images(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    write_mnist(folder)
    write_idx(folder / "t10k-labels-idx1-ubyte", np.ones(9))
    with pytest.raises(UserError, match="9 labels for 10 images"):
        open_data("mnist", tmp_path, tmp_path)


# ---- missing data


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
        ("cifar10-jpeg", "cifar10-images/train/<class>"),
        ("imagenet", "imagenet/train/<class>"),
    ],
)
def test_missing_data_says_where_to_put_it(tmp_path: Path, name: str, place: str) -> None:
    with pytest.raises(UserError) as caught:
        open_data(name, tmp_path, tmp_path / "cache")
    message = str(caught.value)
    assert DATASETS[name].title.removesuffix(" (JPEG)") in message
    assert f" at {tmp_path / place} " in message
    assert "--data-root" in message
    assert "SLQ_DATA_ROOT" in message


def test_unknown_data_set_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'mnits'.*digits.*did you mean 'mnist'"):
        open_data("mnits", tmp_path, tmp_path)


# ---- folders of JPEG files


def test_jpeg_folder_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar_folder(tmp_path / "cifar10-images")
    first = open_data("cifar10-jpeg", tmp_path, tmp_path / "cache")
    assert (first.count("train"), first.count("test")) == (30, 20)
    monkeypatch.setattr("suite.data.jpeg._decode", None)
    (tmp_path / "link").symlink_to(tmp_path)  # another path, so that the process opens it anew
    again = open_data("cifar10-jpeg", tmp_path / "link", tmp_path / "cache")
    assert again is not first
    assert again.fingerprint == first.fingerprint
    assert not list((tmp_path / "cache").glob(".*"))


def test_jpeg_images_keep_pixels_and_labels(tmp_path: Path) -> None:
    write_cifar_folder(tmp_path / "cifar10-images")
    source = open_data("cifar10-jpeg", tmp_path, tmp_path / "cache")
    images, labels = batch(source, "train", torch.tensor([3 * 6 + 2]))  # class 6, image 2: colour (120, 100, 0)
    assert labels.item() == 6
    pixels = images[0].mean(dim=(1, 2)) * torch.tensor(source.info.std) + torch.tensor(source.info.mean)
    torch.testing.assert_close(pixels * 255, torch.tensor([120.0, 100.0, 0.0]), atol=3, rtol=0)


def test_a_changed_jpeg_folder_is_decoded_again(tmp_path: Path) -> None:
    root = tmp_path / "cifar10-images"
    write_cifar_folder(root)
    open_data("cifar10-jpeg", tmp_path, tmp_path / "cache")
    (root / "train" / "class3" / "0.jpg").unlink()
    (tmp_path / "link").symlink_to(tmp_path)
    assert open_data("cifar10-jpeg", tmp_path / "link", tmp_path / "cache").count("train") == 29


@pytest.mark.parametrize(
    ("classes", "size", "says"), [(9, 32, "has 9 class folders"), (10, 33, "0.jpg has 33x33 pixels, not 32x32")]
)
def test_unsuitable_jpeg_folder_is_refused(tmp_path: Path, classes: int, size: int, says: str) -> None:
    write_cifar_folder(tmp_path / "cifar10-images", classes, size)
    with pytest.raises(UserError, match=says):
        open_data("cifar10-jpeg", tmp_path, tmp_path / "cache")


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    write_cifar_folder(tmp_path / "cifar10-images")
    broken = tmp_path / "cifar10-images" / "test" / "class4" / "1.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(UserError, match=f"cannot read image {broken}"):
        open_data("cifar10-jpeg", tmp_path, tmp_path / "cache")


# ---- real data


def test_real_mnist(test_data: Path, tmp_path: Path) -> None:
    source = open_data("mnist", test_data, tmp_path)
    assert (source.count("train"), source.count("test")) == (60_000, 10_000)
    images, labels = batch(source, "train", torch.arange(60_000))
    assert labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert images.mean().item() == pytest.approx(0, abs=1e-3)
    assert images.std().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_published_resnet20_on_jpeg_images(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """81.0 % on all 10,000; three deviations of a sample of 500 are 5 points."""
    source = open_data("cifar10-jpeg", test_data, tmp_path_factory.mktemp("cache"))
    model = build_network("resnet20", 3, 32, 10, seed=0).eval()
    load_published(model, "resnet20", test_data)
    images, labels = batch(source, "test", torch.arange(0, 10_000, 20))
    with torch.inference_mode():
        accuracy = (model(images).argmax(1) == labels).float().mean().item()
    assert accuracy == pytest.approx(0.81, abs=0.05)
