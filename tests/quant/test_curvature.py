"""The diagonal of the Hessian against the whole Hessian by automatic differentiation, and Adam's substitute against Adam."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from suite.nets.layers import quantizable
from suite.quant.curvature import adam_moments, hessian_diagonal


class Residual(nn.Module):
    """A branch beside a shortcut; the sum and the ReLUs work in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(2)
        self.conv2 = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.linear = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.conv2(x)
        y += x
        logits: Tensor = self.linear(F.relu(y, inplace=True).mean(dim=(2, 3)))
        return logits


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(2, 3, 2), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(12, 5), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(5, 4),
    )  # fmt: skip


def odd_convolutions() -> nn.Module:
    """Depthwise, grouped, strided, dilated; padding by name and by reflection."""
    return nn.Sequential(
        nn.Conv2d(1, 2, (1, 3), padding="same"), nn.ReLU(), nn.Conv2d(2, 4, 3, stride=2, padding=(1, 0), groups=2),
        nn.ReLU(), nn.Conv2d(4, 4, 2, groups=4, padding=1, padding_mode="reflect"), nn.ReLU(),
        nn.Conv2d(4, 3, 2, dilation=2, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def one_dimensional() -> nn.Module:
    """A 1-D convolution, and a linear layer that sees each image in several places."""
    return nn.Sequential(
        nn.Flatten(2), nn.Conv1d(1, 3, 4, stride=4), nn.ReLU(), nn.Linear(9, 4), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)
    )  # fmt: skip


NETS: dict[str, Callable[[], nn.Module]] = {
    "lenet": lenet, "residual": Residual, "odd": odd_convolutions, "1-D": one_dimensional,
}  # fmt: skip


def example(build: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor, Tensor]:
    """A float64 network with used-looking batch-norm, five images, and their labels."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        model = build().double()
        images = torch.randn(5, 1, 6, 6, dtype=torch.float64)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                nn.init.normal_(module.weight)
    return model, images, torch.tensor([0, 1, 2, 1, 0])


def whole_diagonal(model: nn.Module, name: str, images: Tensor, labels: Tensor) -> Tensor:
    """The oracle: the diagonal of the Hessian that automatic differentiation finds, differentiating twice."""
    weight = model.get_parameter(f"{name}.weight").detach()
    model.eval()

    def loss(flat: Tensor) -> Tensor:
        logits = functional_call(model, {f"{name}.weight": flat.view(weight.shape)}, (images,))
        return F.cross_entropy(logits, labels)

    hessian: Tensor = torch.autograd.functional.hessian(loss, weight.flatten(), vectorize=True)  # type: ignore[no-untyped-call]
    return hessian.diagonal().view(weight.shape)


@pytest.mark.parametrize("build", NETS.values(), ids=NETS.keys())
def test_equals_the_diagonal_of_the_whole_hessian(build: Callable[[], nn.Module]) -> None:
    model, images, labels = example(build)
    weights = quantizable(model)
    ours = hessian_diagonal(model, weights, [images[:2], images[2:]])
    assert ours.keys() == weights.keys()
    for name, diagonal in ours.items():
        oracle = whole_diagonal(model, name, images, labels)
        assert oracle.abs().max() > 1e-6  # a dead network would make the comparison empty
        torch.testing.assert_close(diagonal, oracle, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("room", [1, 500])
def test_does_not_depend_on_how_much_is_laid_out_at_a_time(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, _ = example(lenet)
    weights = quantizable(model)
    before = hessian_diagonal(model, weights, [images])
    monkeypatch.setattr("suite.quant.curvature._ROOM", room)
    for name, diagonal in hessian_diagonal(model, weights, [images]).items():
        torch.testing.assert_close(diagonal, before[name], rtol=1e-12, atol=0)


def test_drawn_labels_come_close_to_all_classes() -> None:
    model, images, _ = example(lenet)
    weights = quantizable(model)
    exact = hessian_diagonal(model, weights, [images])
    drawn = hessian_diagonal(model, weights, [images], draws=1000, generator=torch.Generator().manual_seed(1))
    for name, diagonal in drawn.items():
        assert float((diagonal - exact[name]).norm() / exact[name].norm()) < 0.1


class Tied(nn.Module):
    """One weight, applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.second(torch.tanh(self.first(x))))
        return logits


def test_a_tied_weight_gets_the_gauss_newton_diagonal_over_all_its_uses() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model, images = Tied().double(), torch.randn(3, 4, dtype=torch.float64)
    weight = model.first.weight

    def logits(w: Tensor) -> Tensor:
        return functional_call(model, {"first.weight": w, "second.weight": w}, (images,))  # type: ignore[no-any-return]

    jacobian = torch.autograd.functional.jacobian(logits, weight.detach()).flatten(2)  # type: ignore[no-untyped-call]
    p = logits(weight).softmax(1).detach()
    hessian_of_loss = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    oracle = torch.einsum("bcw,bcd,bdw->w", jacobian, hessian_of_loss, jacobian) / len(images)
    ours = hessian_diagonal(model, {"first": weight}, [images])["first"]
    torch.testing.assert_close(ours.flatten(), oracle, rtol=1e-10, atol=1e-14)


def test_frozen_weights_have_a_curvature_and_the_network_is_left_as_it_was() -> None:
    model, images, labels = example(lenet)
    weights = quantizable(model)
    expected = hessian_diagonal(model, weights, [images])
    moments = adam_moments(model, weights, [(images, labels)])
    model.train()
    model[1].eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    with torch.no_grad():
        found = hessian_diagonal(model, weights, [images])
        found_moments = adam_moments(model, weights, [(images, labels)])
    for name in weights:
        assert torch.equal(found[name], expected[name])
        assert torch.equal(found_moments[name], moments[name])
    assert [module.training for module in model.modules()] == modes
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_weight_that_reaches_no_logit_has_none() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    model.add_module("loose", nn.Sequential())
    model.loose.add_module("idle", nn.Linear(2, 2))
    model.loose.forward = lambda x: x  # type: ignore[method-assign]
    images, labels = torch.randn(2, 1, 6, 6), torch.tensor([0, 1])
    weights = {"loose.idle": model.loose.idle.weight}
    assert not hessian_diagonal(model, weights, [images])["loose.idle"].any()
    assert not adam_moments(model, weights, [(images, labels)])["loose.idle"].any()


def test_adam_moments_are_those_of_adam_with_a_very_long_memory() -> None:
    model, images, labels = example(lenet)
    model.eval()
    weights = quantizable(model)
    ours = adam_moments(model, weights, [(images[:4], labels[:4]), (images[4:], labels[4:])], size=2)
    adam = torch.optim.Adam(weights.values(), lr=0, betas=(0.9, 1 - 1e-9))
    for chunk in ([0, 1], [2, 3], [4]):
        adam.zero_grad()
        F.cross_entropy(model(images[chunk]), labels[chunk]).backward()
        adam.step()
    for name, weight in weights.items():
        corrected = adam.state[weight]["exp_avg_sq"] / (1 - (1 - 1e-9) ** 3)
        torch.testing.assert_close(ours[name], corrected.sqrt(), rtol=1e-5, atol=1e-12)


def test_errors_say_what_is_missing() -> None:
    model, images, _ = example(lenet)
    weights = quantizable(model)
    with pytest.raises(ValueError, match="at least one image"):
        hessian_diagonal(model, weights, [])
    with pytest.raises(ValueError, match="at least one image"):
        adam_moments(model, weights, [])
    with pytest.raises(ValueError, match="weight of layer stranger"):
        hessian_diagonal(model, {"stranger": torch.zeros(2, 2)}, [images])
    rows = nn.Sequential(nn.Unflatten(1, (1, 1)), nn.Flatten(0, 3), nn.Linear(6, 3))
    with pytest.raises(ValueError, match=r"30 rows for 5 images"):
        hessian_diagonal(rows.double(), quantizable(rows), [images])
