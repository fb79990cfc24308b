"""INQ's codebook against cases worked out by hand and its rule, and its portions."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from suite.methods import INQ
from suite.methods.base import Net
from suite.methods.inq import powers_of_two
from suite.quant.layer import Layer


@pytest.mark.parametrize(
    ("largest", "bits", "powers"),
    [
        (1.0, 5, [1, 0.5, 0.25, 0.125, 0.0625, 2**-5, 2**-6, 2**-7]),  # 4/3 lies between 1 and 2: n1 = 0, n2 = -7
        (0.7, 3, [0.5, 0.25]),  # 0.93: n1 = -1
        (0.76, 2, [1]),  # 1.01: n1 = 0, and n2 = n1
        (12.0, 4, [16, 8, 4, 2]),  # 16: n1 = 4
    ],
)
def test_codebooks_by_hand(largest: float, bits: int, powers: list[float]) -> None:
    codebook = powers_of_two(torch.tensor([0.1, -largest]), bits)
    assert codebook.tolist() == [*(sign * p for p in powers for sign in (1, -1)), 0.0]


@given(st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=60), st.integers(2, 6))
def test_weights_go_where_the_rule_sends_them(values: list[float], bits: int) -> None:
    """(a + b) / 2 <= |w| < 3 b / 2 for neighbours a < b of the codebook, zero below: an oracle that searches intervals."""
    layer = Layer.untouched(torch.tensor(values, dtype=torch.float64)[None])
    codebook = powers_of_two(layer.values(), bits)
    INQ(bits=bits, portions=(1.0,)).quantize(0, Net({"": layer}, lambda: 0.0, 0))
    magnitudes = sorted({abs(c) for c in codebook.tolist()})
    for before, after in zip(values, layer.weight[0].tolist(), strict=True):
        expected = 0.0
        for below, here in itertools.pairwise(magnitudes):
            if (below + here) / 2 <= abs(before) < 1.5 * here:
                expected = here
        assert abs(after) == expected
        assert after * before >= 0


def portions_of(partition: str) -> tuple[list[float], torch.Tensor, list[torch.Tensor]]:
    weights = torch.randn(30, 20, generator=torch.Generator().manual_seed(2))
    layer, method = Layer.untouched(weights.clone()), INQ(bits=4, partition=partition)  # type: ignore[arg-type]
    net, frozen = Net({"": layer}, lambda: 0.0, seed=1), []
    for stage in range(method.stages(1)):
        method.quantize(stage, net)
        frozen.append(layer.frozen.clone())
    return list(method.portions), weights, frozen


@pytest.mark.parametrize("partition", ["magnitude", "random"])
def test_each_stage_freezes_its_portion_and_lets_nothing_go(partition: str) -> None:
    portions, weights, frozen = portions_of(partition)
    assert [int(mask.sum()) for mask in frozen] == [round(p * weights.numel()) for p in portions]
    assert all((later | ~earlier).all() for earlier, later in itertools.pairwise(frozen))


def test_magnitude_takes_the_largest_first_and_random_does_not() -> None:
    _, weights, frozen = portions_of("magnitude")
    assert weights.abs()[frozen[0]].min() >= weights.abs()[~frozen[0]].max()
    _, weights, frozen = portions_of("random")
    assert weights.abs()[frozen[0]].mean() < 1.1 * weights.abs().mean()
