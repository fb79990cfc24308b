"""Ternary weights against cases worked out by hand, and gradients against their definition."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from suite.quant.ternary import TrainedScales, signs, twn_scale, twn_threshold

ROW = torch.tensor([[0.9, -0.1, 0.3, -1.1, 0.6, 0.0]], dtype=torch.float64)  # mean magnitude 0.5


def test_a_case_by_hand() -> None:
    threshold = twn_threshold(ROW, 0.7)
    assert torch.allclose(threshold, torch.tensor([[0.35]], dtype=torch.float64))
    codes = signs(ROW, threshold)
    assert codes.tolist() == [[1, 0, 0, -1, 1, 0]]
    assert torch.allclose(twn_scale(ROW, codes), torch.tensor([[(0.9 + 1.1 + 0.6) / 3]], dtype=torch.float64))


@given(st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=30), st.floats(0.5, 1.5))
def test_no_other_scale_is_nearer_to_the_weights(values: list[float], factor: float) -> None:
    """For given codes the scale is the one of least squared error: TWN's closed form."""
    row = torch.tensor([values], dtype=torch.float64)
    codes = signs(row, twn_threshold(row, 0.7))
    scale = twn_scale(row, codes)
    best = (row - scale * codes).square().sum()
    assert best <= (row - factor * scale * codes).square().sum() + 1e-9


def test_a_row_of_zeros_is_zero() -> None:
    zeros = torch.zeros(1, 4)
    codes = signs(zeros, twn_threshold(zeros, 0.7))
    assert not codes.any()
    assert not twn_scale(zeros, codes).any()


def test_trained_scales_pass_gradients_as_published() -> None:
    weights = ROW.clone().requires_grad_()
    positive = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    negative = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    seen = TrainedScales.apply(weights, positive, negative, torch.tensor(0.35, dtype=torch.float64))
    assert seen.tolist() == [[2, 0, 0, -3, 2, 0]]
    arriving = torch.tensor([[1.0, 10.0, 100.0, 0.5, 0.25, 7.0]], dtype=torch.float64)
    seen.backward(arriving)
    assert float(positive.grad) == 1.25  # the sum over its two weights
    assert float(negative.grad) == -0.5
    assert weights.grad.tolist() == [[2 * 1.0, 10.0, 100.0, 3 * 0.5, 2 * 0.25, 7.0]]
