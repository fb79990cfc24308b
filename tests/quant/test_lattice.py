"""Lattice quantizers against exhaustive search, generator matrices and the published second moments of their cells."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from suite.quant.lattice import LATTICES, Lattice

HALF, HEIGHT = 0.5, math.sqrt(3) / 2
GENERATORS = {  # rows are basis vectors, in the lattice's customary coordinates (Conway and Sloane, tables of lattices)
    "Z": [[1.0]],
    "A2": [[1.0, 0.0], [HALF, HEIGHT]],
    "D4": [[2.0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]],
    "E8": [
        [2.0, 0, 0, 0, 0, 0, 0, 0],
        *[[-float(j == i) + float(j == i + 1) for j in range(8)] for i in range(6)],
        [HALF] * 8,
    ],
}
SECOND_MOMENTS = {"Z": 1 / 12, "A2": 0.080188, "D4": 0.076603, "E8": 0.071682}  # normalised, per dimension
every_lattice = pytest.mark.parametrize("name", LATTICES)


def generator_of(name: str) -> Tensor:
    return torch.tensor(GENERATORS[name], dtype=torch.float64)


def draw(count: int, lattice: Lattice, seed: int, spread: float = 5.0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, lattice.dimension, generator=random, dtype=torch.float64) * spread


def near(name: str, x: Tensor) -> Tensor:
    """All lattice points that can be nearest to `x`, (d,), and some more.

    The covering radius is at most 1, so no coordinate of the nearest point is 1 or more away.
    """
    if name == "A2":
        middle = torch.linalg.solve(generator_of(name).T, x).round()
        around = torch.tensor(list(itertools.product(range(-2, 3), repeat=2)), dtype=torch.float64)
        return (middle + around) @ generator_of(name)
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=len(x))), dtype=torch.float64)
    whole = x.floor() + corners
    if name == "Z":
        return whole
    even = whole[whole.sum(1) % 2 == 0]
    if name == "D4":
        return even
    half = (x - HALF).floor() + HALF + corners
    return torch.cat([even, half[half.sum(1) % 2 == 0]])


@every_lattice
def test_no_lattice_point_is_nearer(name: str) -> None:
    lattice = LATTICES[name]
    vectors = draw(200, lattice, seed=1)
    for x, found in zip(vectors, lattice.decode(vectors), strict=True):
        best = (near(name, x) - x).square().sum(1).min()
        assert float((found - x).square().sum()) == pytest.approx(float(best), rel=1e-12)


@every_lattice
def test_finds_points_of_the_lattice(name: str) -> None:
    lattice = LATTICES[name]
    points = lattice.decode(draw(500, lattice, seed=2))
    coordinates = torch.linalg.solve(generator_of(name).T, points.T)
    assert torch.allclose(coordinates, coordinates.round(), atol=1e-9)


@every_lattice
def test_volume_is_that_of_the_generator_matrix(name: str) -> None:
    assert LATTICES[name].volume == pytest.approx(abs(float(torch.linalg.det(generator_of(name)))))


@every_lattice
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), step=st.floats(1e-3, 1e3))
def test_a_shift_by_a_lattice_point_shifts_the_nearest_point(name: str, seed: int, step: float) -> None:
    lattice = LATTICES[name]
    vectors = draw(20, lattice, seed) * step
    integers = torch.randint(-3, 4, vectors.shape, generator=torch.Generator().manual_seed(seed)).double()
    shift = integers @ generator_of(name) * (step * lattice.scale)
    moved = lattice.nearest(vectors + shift, step) - lattice.nearest(vectors, step)
    assert torch.allclose(moved, shift, atol=1e-9 * step)


@every_lattice
def test_points_of_the_lattice_stay(name: str) -> None:
    lattice = LATTICES[name]
    points = lattice.nearest(draw(100, lattice, seed=3), 0.37)
    assert torch.allclose(lattice.nearest(points, 0.37), points, rtol=0, atol=1e-12)


@every_lattice
def test_second_moment_of_the_cell_is_the_published_one(name: str) -> None:
    """Mean squared error per dimension of vectors that are spread wide, in units of (volume of a cell)^(2/d)."""
    lattice, step = LATTICES[name], 0.25
    vectors = draw(100_000, lattice, seed=4, spread=50.0) * step
    squares = (lattice.nearest(vectors, step) - vectors).square().mean(1) / step**2
    error = float(squares.std()) / math.sqrt(len(squares))
    assert error < 1e-3 * SECOND_MOMENTS[name] * 3
    assert float(squares.mean()) == pytest.approx(SECOND_MOMENTS[name], abs=4 * error)


@every_lattice
def test_uniform_numbers_become_uniform_in_the_cell(name: str) -> None:
    """In the cell around 0, centred, with the published second moment and no correlation between dimensions."""
    lattice = LATTICES[name]
    uniform = torch.rand(100_000, lattice.dimension, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    inside = lattice.in_cell(uniform)
    assert torch.count_nonzero(lattice.nearest(inside * (1 - 1e-12), 1.0)) == 0
    covariance = inside.T @ inside / len(inside)
    expected = SECOND_MOMENTS[name] * torch.eye(lattice.dimension, dtype=torch.float64)
    assert torch.allclose(covariance, expected, atol=1.5e-3)
    assert torch.allclose(inside.mean(0), torch.zeros(lattice.dimension, dtype=torch.float64), atol=4e-3)


def test_better_lattices_have_smaller_errors() -> None:
    vectors = torch.randn(80_000, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    errors = []
    for lattice in LATTICES.values():  # in order of dimension
        blocks = vectors.view(-1, lattice.dimension)
        errors.append(float((lattice.nearest(blocks, 0.5) - blocks).square().mean()))
    assert errors == sorted(errors, reverse=True)
