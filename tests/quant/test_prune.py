"""Magnitude pruning: how many weights stay, and which."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from suite.quant.prune import keep_largest, keep_largest_of_all, kept_after

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=4)


def layers_of(counts: list[int], ties: bool) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(sum(counts))
    weights = {f"l{i}": torch.randn(n, generator=random) for i, n in enumerate(counts)}
    return {name: w.round() if ties else w for name, w in weights.items()}


@given(sizes, st.floats(0.001, 1), st.booleans())
def test_each_layer_keeps_its_fraction_and_no_pruned_weight_is_larger_than_a_kept_one(
    counts: list[int], kept: float, ties: bool
) -> None:
    weights = layers_of(counts, ties)
    for name, mask in keep_largest(weights, dict.fromkeys(weights, kept)).items():
        magnitudes = weights[name].abs()
        assert int(mask.sum()) == max(1, round(kept * len(magnitudes)))
        if not mask.all():
            assert magnitudes[mask].min() >= magnitudes[~mask].max()


@given(sizes, st.floats(0.001, 1), st.booleans())
def test_all_layers_together_share_one_threshold(counts: list[int], kept: float, ties: bool) -> None:
    weights = layers_of(counts, ties)
    masks = keep_largest_of_all(weights, kept)
    target = max(1, round(kept * sum(counts)))
    assert target <= sum(int(mask.sum()) for mask in masks.values()) <= target + len(counts)
    assert all(mask.any() for mask in masks.values())
    pruned = [weights[name].abs()[~mask] for name, mask in masks.items()]
    largest_pruned = max((float(p.max()) for p in pruned if p.numel()), default=0.0)
    for name, mask in masks.items():
        if int(mask.sum()) > 1:  # a layer's only weight may be there to keep it alive
            assert float(weights[name].abs()[mask].max()) >= largest_pruned


def test_kept_fractions_fall_to_the_final_one() -> None:
    fractions = [kept_after(0.1, number, 5) for number in range(6)]
    assert fractions[0] == 1
    assert fractions[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(fractions))
    assert kept_after(0.3, 1, 1) == pytest.approx(0.3)
