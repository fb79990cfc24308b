"""Colour reduction: palettes, features, measures, and the command with its errors."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from suite.colors.compare import WAYS
from suite.colors.features import Features
from suite.colors.measure import measure
from suite.colors.picture import Pixels, open_picture
from suite.colors.reduce import Reduced, Way, reduce
from suite.colors.tree import centres_by_tree, merge
from suite.quant.nearest import nearest
from suite.quant.som import Cloud
from tests.conftest import Slq

pytest.importorskip("skimage")
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


@pytest.fixture(scope="module")
def china() -> Pixels:
    """A small part of scikit-learn's photograph: sky, roofs, trees."""
    from sklearn.datasets import load_sample_image

    return np.array(load_sample_image("china.jpg")[100:340:3, 100:460:3])


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@every_way
@pytest.mark.parametrize("colors", [2, 17])
def test_no_more_colours_than_asked_for_and_all_used(china: Pixels, way: Way, colors: int) -> None:
    reduced = reduce(china, colors, way)
    used = np.unique(reduced.pixels().reshape(-1, 3), axis=0)
    assert len(used) == len(reduced.palette) <= colors
    assert reduced.codes.shape == china.shape[:2]
    assert set(np.unique(reduced.codes)) == set(range(len(reduced.palette)))
    assert measure(china, reduced.pixels()).mse < china.astype(float).var(axis=(0, 1)).mean()


@every_way
def test_an_image_with_few_colours_stays_as_it_is(way: Way) -> None:
    rgb = noise(1, 9)[0][np.random.default_rng(1).integers(0, 9, (20, 30))]
    assert np.array_equal(reduce(rgb, 9, way).pixels(), rgb)
    assert np.array_equal(reduce(rgb[:1, :1], 2, way).pixels(), rgb[:1, :1])


@every_way
def test_a_seed_decides_the_result(china: Pixels, way: Way) -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # the state of others must not matter
    one = reduce(china, 8, way)
    torch.rand(3)
    np.random.rand(3)
    other = reduce(china, 8, way)
    assert np.array_equal(one.palette, other.palette)
    assert np.array_equal(one.codes, other.codes)


def test_maps_beat_median_cut_and_octree_and_equal_k_means(china: Pixels) -> None:
    got = {name: measure(china, reduce(china, 16, way).pixels()) for name, way in WAYS.items()}
    for rival in ("median cut", "octree"):
        assert got["SOM tree, RGB"].mse < 0.9 * got[rival].mse
        assert got["SOM tree, Lab"].delta_e < 0.95 * got[rival].delta_e
    assert got["SOM tree, RGB"].mse < 1.03 * got["k-means, RGB"].mse
    assert got["SOM tree, Lab"].delta_e < 1.03 * got["k-means, Lab"].delta_e


@pytest.mark.parametrize("way", [WAYS["SOM tree, RGB"], WAYS["SOM tree, Lab"]], ids=["rgb", "lab"])
def test_each_pixel_has_the_nearest_colour_of_the_palette(china: Pixels, way: Way) -> None:
    from skimage.color import rgb2lab

    reduced = reduce(china, 12, way)
    space = rgb2lab if way.features.space == "lab" else np.float64
    distances = ((space(china)[:, :, None] - space(reduced.palette[None])[None]) ** 2).sum(-1)
    chosen = np.take_along_axis(distances, reduced.codes[..., None].astype(int), -1)[..., 0]
    np.testing.assert_allclose(chosen, distances.min(-1), atol=1e-9)


def test_a_class_with_place_is_one_region() -> None:
    """Grey noise on both halves: by colour alone they mix, with the place among the features they are two classes."""
    rgb = np.repeat(np.random.default_rng(0).integers(100, 131, (20, 40, 1), dtype=np.uint8), 3, axis=2)
    apart = reduce(rgb, 2, Way(features=Features("rgb", position=10), assign="class"))
    alone = reduce(rgb, 2, Way(features=Features("rgb"), assign="class"))
    left, right = apart.codes[:, :20], apart.codes[:, 20:]
    assert len(np.unique(left)) == len(np.unique(right)) == 1
    assert len(np.unique(alone.codes[:, :20])) == 2


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 5]), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_features_are_windows_written_out(height: int, width: int, window: int, seed: int) -> None:
    rgb = noise(height, width, seed)
    features = Features("rgb", local=0.5, smoothness=2.0, position=0.25, window=window).of(rgb)
    padded = np.pad(rgb.astype(float), [(window // 2,) * 2] * 2 + [(0, 0)], mode="edge")
    rows = []
    for y in range(height):
        for x in range(width):
            patch = padded[y : y + window, x : x + window]
            place = np.array([y, x]) / max(height - 1, width - 1, 1)
            spread = 2 * patch.mean(-1).std()
            rows.append([*rgb[y, x], *0.5 * patch.mean((0, 1)), spread, *0.25 * 255 * place])
    np.testing.assert_allclose(features, rows, atol=1e-5)


@given(st.integers(2, 8), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_merging_is_wards(classes: int, seed: int) -> None:
    """Against scipy's hierarchical clustering, which merges from single points."""
    from scipy.cluster.hierarchy import fcluster, linkage

    points = np.random.default_rng(seed).normal(size=(12, 3))
    labels = fcluster(linkage(points, "ward"), classes, "maxclust")
    expected = np.stack([points[labels == label].mean(0) for label in np.unique(labels)])
    got = merge(torch.from_numpy(points), torch.ones(12, dtype=torch.float64), classes).numpy()
    order = [np.lexsort(m.round(9).T) for m in (got, expected)]
    np.testing.assert_allclose(got[order[0]], expected[order[1]], atol=1e-9)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_a_tree_has_a_centre_for_each_of_few_points(values: list[int], classes: int) -> None:
    points = torch.tensor(values, dtype=torch.float64)[:, None]
    centres = centres_by_tree(Cloud.of(points), classes)
    assert len(centres) == min(classes, len(set(values)))
    if classes >= len(set(values)):
        np.testing.assert_allclose(centres[nearest(points, centres)].numpy(), points.numpy(), atol=1e-9)


def test_a_palette_with_doubles_and_gaps_is_cleaned() -> None:
    palette = np.array([[9, 9, 9], [1, 2, 3], [9, 9, 9], [7, 7, 7]], dtype=np.uint8)
    codes = np.array([0, 1, 2, 1, 0, 2])
    reduced = Reduced.of(palette, codes, (2, 3))
    assert reduced.palette.tolist() == [[1, 2, 3], [9, 9, 9]]
    assert np.array_equal(reduced.pixels().reshape(-1, 3), palette[codes])


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_measures_are_those_of_scikit_image(height: int, width: int, seed: int) -> None:
    from skimage.color import deltaE_ciede2000, rgb2lab
    from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

    one = noise(height, width, seed)
    other = one // 32 * 32
    other[0, 0] = one[0, 0] ^ 1  # never the same image
    got = measure(one, other)
    assert got.mse == pytest.approx(mean_squared_error(one, other))
    assert got.psnr == pytest.approx(peak_signal_noise_ratio(one, other, data_range=255))
    assert got.delta_e == pytest.approx(deltaE_ciede2000(rgb2lab(one), rgb2lab(other)).mean())
    assert got.colors == len({tuple(p) for p in other.reshape(-1, 3).tolist()})


def test_measures_of_equal_images() -> None:
    got = measure(noise(3, 4), noise(3, 4))
    assert (got.mse, got.psnr, got.delta_e, got.colors) == (0, float("inf"), 0, 12)


def test_images_of_all_kinds_are_read_upright_on_white(tmp_path: Path) -> None:
    rgb = noise(4, 6)
    image = Image.fromarray(rgb)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned by 90 degrees, clockwise
    image.save(tmp_path / "turned.png", exif=turned)
    assert np.array_equal(open_picture(tmp_path / "turned.png"), np.rot90(rgb, -1))
    image.convert("L").save(tmp_path / "grey.png")
    assert open_picture(tmp_path / "grey.png").shape == (4, 6, 3)
    see_through = np.dstack([rgb, np.full((4, 6), 0, np.uint8)])
    Image.fromarray(see_through, "RGBA").save(tmp_path / "clear.png")
    assert bool((open_picture(tmp_path / "clear.png") == 255).all())


@pytest.fixture
def slq(slq: Slq) -> Slq:
    """Run `slq colors`."""
    return partial(slq, "colors")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(noise(12, 10)).save(path)
    return path


@pytest.mark.parametrize("method", ["som", "kmeans", "mediancut", "octree"])
def test_the_command_writes_a_palette_image(slq: Slq, picture: Path, tmp_path: Path, method: str) -> None:
    ended = slq(picture, "--colors", 5, "--method", method, "--out", tmp_path / "out.png")
    assert ended.code == 0, ended.err
    with Image.open(tmp_path / "out.png") as image:
        assert (image.mode, image.size) == ("P", (10, 12))
        written = np.array(image.convert("RGB"))
    features = Features()
    expected = reduce(open_picture(picture), 5, Way(method, features)).pixels()  # type: ignore[arg-type]
    assert np.array_equal(written, expected)
    assert f"MSE {measure(open_picture(picture), written).mse:.2f}" in ended.out


def test_the_command_compares(slq: Slq, picture: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    ended = slq(picture, "--compare", "--colors", 4, "--colors", 6, "--local", 0.3, "--table", table)
    assert ended.code == 0, ended.err
    text = table.read_text(encoding="utf-8")
    for way in ("as chosen", *WAYS):
        assert len(re.findall(rf"^ {re.escape(way)}  ", ended.out, re.MULTILINE)) == 2
        assert len(re.findall(rf"^\| {re.escape(way)} +\|", text, re.MULTILINE)) == 2
    expected = measure(open_picture(picture), reduce(open_picture(picture), 6, WAYS["median cut"]).pixels())
    assert f"{expected.mse:.2f}" in text
    assert f"`slq colors {picture} --compare --colors 4 --colors 6 --local 0.3 --table {table}`" in text


def test_mistakes_end_with_a_sentence_and_exit_code_2(slq: Slq, picture: Path, tmp_path: Path) -> None:
    text, torn, deep = tmp_path / "text.png", tmp_path / "torn.png", tmp_path / "deep.png"
    text.write_text("no image")
    torn.write_bytes(picture.read_bytes()[:150])
    Image.fromarray(np.zeros((3, 3), np.uint16)).save(deep)
    for arguments, message in [
        ((tmp_path / "none.png", "--colors", 4), "no image"),
        ((text, "--colors", 4), "is not an image"),
        ((torn, "--colors", 4), "cannot be read as an image"),
        ((deep, "--colors", 4), "more than 8 bits a channel"),
        ((tmp_path, "--colors", 4), "cannot be read as an image"),
        ((picture,), "how many colours"),
        ((picture, "--colors", 1), "1 colours are impossible; allowed: 2 to 256"),
        ((picture, "--colors", 257), "257 colours are impossible"),
        ((picture, "--colors", 4, "--method", "som2"), "no method 'som2'; allowed: som, kmeans"),
        ((picture, "--colors", 4, "--map", "cube"), "no map 'cube'; allowed: tree"),
        ((picture, "--colors", 4, "--space", "labb"), "did you mean 'lab'"),
        ((picture, "--colors", 4, "--assign", "x"), "no assign 'x'"),
        ((picture, "--colors", 4, "--local", -1), "weights of the features"),
        ((picture, "--colors", 4, "--method", "octree", "--local", 1), "octree works on colours alone"),
        ((picture, "--colors", 4, "--out", tmp_path / "o.jpg"), "must end with .png"),
        ((picture, "--colors", 4, "--out", picture), "take the place of the image itself"),
        ((picture, "--colors", 4, "--colors", 5), "one number of colours"),
        ((picture, "--colors", 4, "--table", tmp_path / "t.md"), "--table writes a comparison"),
        ((picture, "--photographs", "--colors", 4), "not both"),
        (("--colors", 4), "name one image"),
        (("--photographs", "--colors", 4, "--out", tmp_path / "o.png"), "--out writes one image"),
    ]:
        ended = slq(*arguments)
        assert ended.code == 2, arguments
        assert message in ended.err, (arguments, ended.err)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep.png", "picture.png", "text.png", "torn.png"]


def test_without_scikit_image_the_user_is_told_what_to_install(
    slq: Slq, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skimage.color", None)
    ended = slq(picture, "--colors", 4)
    assert (ended.code, "slq-suite[colors]" in ended.err) == (2, True)


def test_the_photographs_are_there() -> None:
    from suite.colors.photographs import CHOSEN_ON, HELD_OUT, photograph

    shapes = {name: photograph(name).shape for name in (*CHOSEN_ON, *HELD_OUT)}
    assert all(len(shape) == 3 and shape[2] == 3 for shape in shapes.values())
    assert len(set(shapes)) == 10
