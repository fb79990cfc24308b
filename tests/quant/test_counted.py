"""Lloyd on counted weights against Lloyd on sorted ones, and layers large enough to be counted against those that are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.quant.assign import write_codes
from suite.quant.counted import lloyd_on_bins
from suite.quant.init import INITS, first_centres
from suite.quant.layer import Layer
from suite.quant.lloyd import Cells, Sorted, lloyd

coarse = st.integers(-256, 256).map(lambda n: n / 64)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    st.lists(coarse, min_size=1, max_size=80),
    st.lists(coarse, min_size=1, max_size=9),
    st.integers(1, 8),
    st.integers(0, 2**9 - 1),
)
@settings(max_examples=80, deadline=None)
def test_small_sets_equal_the_sorted_procedure(
    values: list[float], start: list[float], rounds: int, open_: int
) -> None:
    weights, centres = torch.tensor(values), torch.tensor(start, dtype=torch.float64)
    movable = torch.tensor([bool(open_ >> i & 1) for i in range(len(start))])
    plain, cells = lloyd(Sorted.of(weights), centres, movable, rounds)
    counted, same = lloyd_on_bins(weights, centres, movable, rounds)
    torch.testing.assert_close(counted, plain, rtol=0, atol=1e-12)
    assert torch.equal(same.codes(weights), cells.codes(weights))


def test_a_value_on_a_bound_belongs_to_the_first_centre() -> None:
    weights, everything = torch.tensor([0.0, 1.0, 2.0]), torch.ones(2, dtype=torch.bool)
    assert lloyd_on_bins(weights, torch.tensor([0.0, 2.0]).double(), everything, 1)[0].tolist() == [0.5, 2.0]
    assert lloyd_on_bins(weights, torch.tensor([2.0, 0.0]).double(), everything, 1)[0].tolist() == [1.5, 0.0]


@pytest.mark.parametrize(
    ("k", "start", "rounds"), [(17, "ladder", 10), (17, "quantile", 10), (129, "quantile", 4), (3, "linear", 40)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("seed", [0, 1])
def test_large_sets_end_at_the_same_weights_and_codes(
    k: int, start: str, rounds: int, dtype: torch.dtype, seed: int
) -> None:
    random = np.random.default_rng(seed)
    weights = torch.from_numpy(0.02 * random.standard_t(4, 200_000)).to(dtype)
    movable = torch.from_numpy(random.random(k) < 0.7)
    values = Sorted.of(weights)
    centres = INITS[start](values, k, torch.Generator().manual_seed(seed))
    plain, cells = lloyd(values, centres, movable, rounds)
    counted, same = lloyd_on_bins(weights, centres, movable, rounds)
    assert torch.equal(counted.float(), plain.float())
    assert torch.equal(same.codes(weights), cells.codes(weights))


@given(st.lists(finite, min_size=1, max_size=60), st.lists(finite, min_size=1, max_size=9))
@settings(max_examples=100, deadline=None)
def test_codes_written_by_upper_bits_are_the_cells(values: list[float], centres: list[float]) -> None:
    weights = torch.tensor(values + centres + [-0.0])
    cells = Cells.of(torch.tensor([*centres, -0.0], dtype=torch.float64))
    written = torch.empty(len(weights), dtype=torch.int16)
    write_codes(weights, cells.upper.numpy(), cells.order.numpy(), written)
    assert torch.equal(written, cells.codes(weights))


def staged(weight: torch.Tensor) -> list[torch.Tensor]:
    """A layer's state after each of three stages, the weights between them moved as training would."""
    layer, states = Layer.untouched(weight.clone()), []
    layer.start(first_centres("ladder", layer.values(), 9, torch.Generator()))
    for stage in range(3):
        layer.recluster(~layer.fixed, 10)
        chosen = torch.zeros(9, dtype=torch.bool)
        chosen[stage * 3 : stage * 3 + 3] = True
        layer.fix(chosen)
        states += [
            layer.weight.clone(),
            layer.codes.clone(),
            layer.codebook.clone(),
            layer.frozen.clone(),
            layer.fixed.clone(),
        ]
        moved = layer.weight + 0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(stage)).to(
            weight.dtype
        )
        layer.weight.copy_(torch.where(layer.frozen, layer.weight, moved))
    return states


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_are_quantized_alike_counted_and_sorted(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(60, 70, generator=torch.Generator().manual_seed(5)).to(dtype)
    plain = staged(weight)
    monkeypatch.setattr("suite.quant.lloyd.LARGE", 1000)
    for ours, theirs in zip(staged(weight), plain, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["ladder", "linear"])
def test_starts_from_the_ends_alone_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.randn(5000, generator=torch.Generator().manual_seed(1))
    plain = first_centres(name, weights, 17, torch.Generator())
    monkeypatch.setattr("suite.quant.lloyd.LARGE", 1000)
    assert torch.equal(first_centres(name, weights, 17, torch.Generator()), plain)
