"""Dither: the same numbers for every decoder, and what they are for: errors that do not depend on the weights."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from suite.quant.dither import Dither
from suite.quant.lattice import LATTICES

every_lattice = pytest.mark.parametrize("name", LATTICES)
WORD = 2**64 - 1


def splitmix(seed: int, count: int) -> list[int]:
    """SplitMix64 with Python's integers, as in its publication."""
    outputs = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & WORD
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
        outputs.append(z ^ (z >> 31))
    return outputs


def test_reference_agrees_with_known_outputs() -> None:
    assert splitmix(0, 3) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(seed=st.integers(0, WORD), count=st.integers(0, 20), step=st.floats(1e-6, 1e6))
def test_scalar_dither_is_splitmix(seed: int, count: int, step: float) -> None:
    expected = [((output >> 11) * 2.0**-53 - 0.5) * step for output in splitmix(seed, count)]
    assert Dither(seed, step).values(count).tolist() == expected


@every_lattice
@given(seed=st.integers(0, WORD), count=st.integers(0, 40), more=st.integers(0, 40))
@settings(max_examples=20, deadline=None)
def test_fewer_numbers_are_the_first_of_more(name: str, seed: int, count: int, more: int) -> None:
    dither = Dither(seed, 0.3, name)
    assert len(dither.values(count)) == count
    assert torch.equal(dither.values(count), dither.values(count + more)[:count])


@pytest.mark.parametrize(
    ("name", "digest"),
    [("Z", "c14ec64f4e733732"), ("A2", "5bd63755265aaaed"), ("D4", "be39f577ada2ca60"), ("E8", "9780f7efcff1e1b2")],
)
def test_files_written_earlier_can_still_be_decoded(name: str, digest: str) -> None:
    """The bits of the numbers are part of the file format: they must never change, nor differ between machines."""
    numbers = Dither(20180207, 0.125, name).values(4_000)
    assert hashlib.sha256(numbers.numpy().astype("<f8").tobytes()).hexdigest()[:16] == digest


@every_lattice
def test_dither_scales_with_the_step(name: str) -> None:
    assert torch.allclose(Dither(5, 3.0, name).values(80), 3.0 * Dither(5, 1.0, name).values(80), rtol=1e-15)


def errors(name: str, weights: Tensor, step: float, seed: int) -> Tensor:
    """Decoded minus original, in steps: blocks (N, d)."""
    lattice = LATTICES[name]
    dither = Dither(seed, step, name).values(len(weights)).view(-1, lattice.dimension)
    blocks = weights.view(-1, lattice.dimension)
    return (lattice.nearest(blocks + dither, step) - dither - blocks) / step


def sharp_weights(count: int, seed: int) -> Tensor:
    """Weights that an undithered quantizer treats very unequally: most are tiny, some sit exactly on two values."""
    random = torch.Generator().manual_seed(seed)
    weights = torch.randn(count, generator=random, dtype=torch.float64) * 0.01
    kind = torch.rand(count, generator=random)
    weights[kind < 0.3] = 0.7
    weights[kind > 0.8] = -0.2
    return weights


def test_scalar_error_is_uniform_whatever_the_weights() -> None:
    weights = sharp_weights(40_000, seed=1)
    found = errors("Z", weights, 1.0, seed=2).flatten()
    assert stats.kstest(found.numpy(), "uniform", args=(-0.5, 1.0)).pvalue > 0.01
    undithered = (weights.round() - weights).numpy()
    assert stats.kstest(undithered, "uniform", args=(-0.5, 1.0)).pvalue < 1e-9  # the test can fail


@every_lattice
def test_error_is_uniform_over_the_cell(name: str) -> None:
    """Each coordinate, and the length, are distributed as in an independent uniform sample of the cell."""
    lattice = LATTICES[name]
    found = errors(name, sharp_weights(80_000, seed=3), 0.8, seed=4)
    random = torch.rand(20_000, lattice.dimension, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    sample = lattice.in_cell(random)
    for i in range(lattice.dimension):
        assert stats.ks_2samp(found[:, i], sample[:, i]).pvalue > 0.001
    assert stats.ks_2samp(found.square().sum(1), sample.square().sum(1)).pvalue > 0.001


@every_lattice
def test_error_does_not_depend_on_the_weights(name: str) -> None:
    weights = sharp_weights(80_000, seed=6)
    found = errors(name, weights, 0.8, seed=7).flatten()
    for function in (lambda x: x, torch.square):  # of errors and weights: signs and sizes
        table = torch.stack([function(found), function(weights)])
        assert abs(float(torch.corrcoef(table)[0, 1])) < 4 / len(weights) ** 0.5
    at_zero, away = found[weights.abs() < 0.1], found[weights == 0.7]
    assert stats.ks_2samp(at_zero, away).pvalue > 0.001
