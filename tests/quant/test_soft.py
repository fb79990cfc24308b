"""Soft quantization: gradients against finite differences, limits of the hardness, the entropy bound against the entropy."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from suite.quant import soft
from suite.quant.nearest import nearest
from suite.quant.soft import entropy_bound, kmeans, soften

shapes = pytest.mark.parametrize(("count", "k", "d"), [(37, 5, 1), (40, 4, 2), (11, 16, 3), (1, 2, 1)])


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def entropy(codes: list[int]) -> float:
    """Nats per code, from relative frequencies."""
    return -sum(n / len(codes) * math.log(n / len(codes)) for n in Counter(codes).values())


def counted(vectors: Tensor, centres: Tensor) -> Tensor:
    return torch.bincount(nearest(vectors, centres), minlength=len(centres))


@pytest.fixture(autouse=True)
def _several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small inputs are worked through in several parts, as large ones are."""
    monkeypatch.setattr(soft, "_ROWS", 16)


@shapes
@pytest.mark.parametrize("sigma", [0.0, 0.3, 4.0])
def test_forward_is_what_the_definition_says(count: int, k: int, d: int, sigma: float) -> None:
    vectors, centres = draw(count, d, seed=1), draw(k, d, seed=2)
    weight = torch.exp(-sigma * (vectors.unsqueeze(1) - centres).square().sum(2))
    weight /= weight.sum(1, keepdim=True)
    found = soften(vectors, centres, sigma)
    assert torch.allclose(found.vectors, weight @ centres)
    assert torch.allclose(found.histogram, weight.mean(0))


@shapes
@pytest.mark.parametrize("sigma", [0.3, 4.0])
def test_gradients_are_those_of_finite_differences(count: int, k: int, d: int, sigma: float) -> None:
    vectors, centres = draw(count, d, seed=3).requires_grad_(), draw(k, d, seed=4).requires_grad_()

    def both(v: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        found = soften(v, c, sigma)
        return found.vectors, found.histogram

    assert torch.autograd.gradcheck(both, (vectors, centres))


def test_gradients_of_the_entropy_bound_are_those_of_finite_differences() -> None:
    vectors, centres = draw(40, 2, seed=5).requires_grad_(), draw(6, 2, seed=6).requires_grad_()
    counts = counted(vectors.detach(), centres.detach())
    assert torch.autograd.gradcheck(lambda v, c: entropy_bound(counts, soften(v, c, 1.5).histogram), (vectors, centres))


@shapes
def test_hard_softmax_chooses_the_nearest_centre(count: int, k: int, d: int) -> None:
    vectors, centres = draw(count, d, seed=7), draw(k, d, seed=8)
    distances = (vectors.unsqueeze(1) - centres).square().sum(2)
    two = distances.topk(2, dim=1, largest=False).values
    clear = (two[:, 1] - two[:, 0]) > 1e-4
    assert clear.any()
    found = soften(vectors, centres, 1e6)
    assert torch.allclose(found.vectors[clear], centres[distances.argmin(1)][clear])
    assert torch.equal(nearest(vectors, centres), distances.argmin(1))


@shapes
def test_without_hardness_all_centres_count_alike(count: int, k: int, d: int) -> None:
    vectors, centres = draw(count, d, seed=9), draw(k, d, seed=10)
    found = soften(vectors, centres, 1e-12)
    assert torch.allclose(found.vectors, centres.mean(0).expand(count, d))
    assert torch.allclose(found.histogram, torch.full((k,), 1 / k, dtype=torch.float64))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 9), d=st.integers(1, 3), sigma=st.floats(0, 100))
def test_bound_is_never_below_the_entropy_of_the_codes(seed: int, k: int, d: int, sigma: float) -> None:
    vectors, centres = draw(50, d, seed=seed), draw(k, d, seed=seed + 1)
    codes = nearest(vectors, centres)
    bound = float(entropy_bound(counted(vectors, centres), soften(vectors, centres, sigma).histogram))
    assert bound >= entropy(codes.tolist()) - 1e-12


@pytest.mark.parametrize("d", [1, 2])
def test_bound_tends_to_the_entropy_of_the_codes(d: int) -> None:
    vectors, centres = draw(400, d, seed=11), draw(7, d, seed=12)
    hard = entropy(nearest(vectors, centres).tolist())
    counts = counted(vectors, centres)
    excess = [
        float(entropy_bound(counts, soften(vectors, centres, sigma).histogram)) - hard
        for sigma in (0.1, 1.0, 100.0, 1e7)
    ]
    assert excess[0] > excess[1] > excess[2] > excess[3] >= -1e-12
    assert excess[3] < 1e-6


def test_bound_with_centres_that_nothing_is_near_to() -> None:
    counts = torch.tensor([3, 0, 1, 0])
    assert float(entropy_bound(counts, counts / 4)) == pytest.approx(entropy([0, 0, 0, 2]), rel=1e-6)


def test_no_vectors() -> None:
    centres = draw(3, 2, seed=13)
    assert nearest(torch.empty(0, 2, dtype=torch.float64), centres).tolist() == []
    assert soften(torch.empty(0, 2, dtype=torch.float64), centres, 1.0).vectors.shape == (0, 2)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_kmeans_with_enough_centres_finds_every_value(d: int) -> None:
    values = draw(6, d, seed=14)
    vectors = values[torch.randint(6, (100,), generator=torch.Generator().manual_seed(0))]
    centres = kmeans(vectors, 8, torch.Generator().manual_seed(1), rounds=10)
    assert torch.allclose(centres[nearest(vectors, centres)], vectors)


@pytest.mark.parametrize("d", [1, 2])
def test_kmeans_ends_in_means_of_its_clusters(d: int) -> None:
    vectors = draw(500, d, seed=15)
    centres = kmeans(vectors, 6, torch.Generator().manual_seed(2), rounds=1000)
    codes = nearest(vectors, centres)
    for i in codes.unique().tolist():
        assert torch.allclose(vectors[codes == i].mean(0), centres[i])
    again = kmeans(vectors, 6, torch.Generator().manual_seed(2), rounds=1000)
    assert torch.equal(again, centres)


@pytest.mark.parametrize("d", [1, 3])
def test_kmeans_of_zeros_and_of_nothing(d: int) -> None:
    for count in (0, 4):
        centres = kmeans(torch.zeros(count, d, dtype=torch.float64), 3, torch.Generator(), rounds=5)
        assert torch.equal(centres, torch.zeros(3, d, dtype=torch.float64))


def test_half_precision_regions_do_not_blur_the_assignments() -> None:
    vectors, centres = draw(100, 1, seed=16).float(), draw(8, 1, seed=17).float()
    plain = soften(vectors, centres, 1e4)
    with torch.autocast("cpu", torch.bfloat16):
        regional = soften(vectors, centres, 1e4)
    assert torch.equal(regional.vectors, plain.vectors)
    assert torch.equal(regional.histogram, plain.histogram)
