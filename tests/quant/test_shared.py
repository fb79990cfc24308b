"""Centres that weights share: values and gradients."""

from __future__ import annotations

import pytest
import torch

from suite.config import Recipe
from suite.quant.coded import Coded
from suite.quant.dither import Dither
from suite.quant.shared import shared_weights
from suite.train import make_optimizer

FILTERS, INPUTS = 3, 8


def coded(k: int, dimension: int = 1, *, pruned: bool = False, scaled: bool = False, dithered: bool = False) -> Coded:
    random = torch.Generator().manual_seed(4)
    live = torch.rand(FILTERS, INPUTS, generator=random) < 0.6 if pruned else None
    count = FILTERS * INPUTS if live is None else int(live.sum())
    shape = (k,) if dimension == 1 else (k, dimension)
    return Coded(
        torch.Size([FILTERS, INPUTS]),
        torch.float64,
        torch.randint(k, (-(-count // dimension),), generator=random).to(torch.int16),
        torch.randn(shape, generator=random, dtype=torch.float64),
        live,
        torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) if scaled else None,
        Dither(7, 0.25) if dithered else None,
    )


CASES = [
    coded(4),
    coded(4, pruned=True),
    coded(5, 2, pruned=True),
    coded(4, 4, scaled=True),
    coded(3, dithered=True, pruned=True, scaled=True),
]


@pytest.mark.parametrize("case", CASES)
def test_the_codebook_as_centres_gives_the_decoded_weights(case: Coded) -> None:
    assert torch.equal(shared_weights(case, case.codebook, mean=False), case.decoded())


@pytest.mark.parametrize("case", CASES)
def test_a_centre_has_the_summed_gradient_of_its_weights(case: Coded) -> None:
    """Against autograd through a one-hot product, which shares no code with it."""
    target = torch.randn(case.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    centres = case.codebook.clone().requires_grad_()
    (shared_weights(case, centres, mean=False) * target).sum().backward()
    again = case.codebook.clone().requires_grad_()
    one_hot = torch.nn.functional.one_hot(case.codes.long(), len(again)).double()
    (case.with_values((one_hot @ again.view(len(again), -1)).flatten()) * target).sum().backward()
    assert torch.allclose(centres.grad, again.grad, atol=1e-12)


def test_the_mean_divides_by_the_number_of_members() -> None:
    case = coded(4)
    gradients = []
    for mean in (False, True):
        centres = case.codebook.clone().requires_grad_()
        shared_weights(case, centres, mean=mean).square().sum().backward()
        gradients.append(centres.grad)
    members = torch.bincount(case.codes.long(), minlength=4).clamp(min=1)
    assert torch.allclose(gradients[0] / members, gradients[1])


def test_a_pinned_zero_stays() -> None:
    case = coded(4)
    case.codebook[2] = 0.0
    centres = case.codebook.clone().requires_grad_()
    shared_weights(case, centres, mean=False).sum().backward()
    assert centres.grad[2] == 0
    assert (centres.grad[[0, 1, 3]] != 0).any()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_learned_tensors_know_no_decay_and_have_a_rate_of_their_own(optimizer: str) -> None:
    """Without a gradient to speak of only decay moves a tensor; the trainer multiplies a group's rate by its factor."""
    weight, centre = torch.nn.Parameter(torch.ones(2)), torch.ones(2, requires_grad=True)
    recipe = Recipe.model_validate({"optimizer": optimizer, "learning_rate": 0.1, "weight_decay": 0.5})
    made = make_optimizer([weight], recipe, [centre], 0.25)
    assert [group["factor"] for group in made.param_groups] == [1.0, 0.25]
    for tensor in (weight, centre):
        tensor.grad = torch.zeros(2)
    made.step()
    assert weight.max() < 1
    assert torch.equal(centre, torch.ones(2))
