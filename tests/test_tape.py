"""Losses of changed weights with shared computations are those of whole forward passes, to the bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from suite.nets import build_network, quantizable
from suite.tape import Change, Changes, changed_outputs, one_by_one


class Branches(nn.Module):
    """Parallel branches, changes in place of what another branch reads, a module used twice, tied weights, functions between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = (nn.Conv2d(c, 4, 3, padding=1) for c in (3, 4, 4))
        self.twice, self.drop, self.relu = nn.Conv2d(4, 4, 1), nn.Dropout(0.5), nn.ReLU(inplace=True)
        self.norm, self.last, self.tied = nn.BatchNorm2d(8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.tied.weight = self.last.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        view = x[:, :2]
        left = self.left(x)
        right = self.right(self.relu(x))  # rewrites what the left branch has read, and the view of it
        view.mul_(1.5)
        left += x
        right = self.twice(self.twice(right) + 1)
        both = F.avg_pool2d(F.gelu(self.norm(torch.cat([left, right], 1))), 2)
        a, b = self.drop(both).mean((2, 3)).chunk(2)
        return self.last(torch.cat([a, b])) * self.tied(both.flatten(2).mean(2)) + x.mean()


class Drawing(Branches):
    """Draws a random number, so that it cannot be repeated from a record; the seed makes it the same each time."""

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return super().forward(x) + torch.rand(())


class Deciding(Branches):
    """Takes a way that depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        output = super().forward(x)
        return output if float(output.sum()) > 0 else -output


def changes_of(model: nn.Module) -> list[tuple[Tensor, list[Change]]]:
    def scaled(weight: Tensor, factor: float) -> Change:
        return lambda: weight.detach() * factor

    return [(weight, [scaled(weight, 0.5), scaled(weight, -2.0)]) for weight in quantizable(model).values()]


def check(model: nn.Module, images: Tensor, *, passes: int, bfloat16: bool = False) -> None:
    """The outputs are those of whole passes, of which there are so many."""
    model.eval()
    made = []
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    changes = changes_of(model)

    def forward(images: Tensor) -> Tensor:
        made.append(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            output: Tensor = model(images)
        return output.float()

    with torch.inference_mode():
        found = {(i, j): output.clone() for i, j, output in changed_outputs(model, forward, images, changes)}
        assert len(made) == passes
        expected = one_by_one(lambda: forward(images).clone(), changes)
    assert len(found) == sum(len(each) for each in expected)
    for (i, j), output in found.items():
        assert torch.equal(output, expected[i][j])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("make", "passes"), [(Branches, 1), (Drawing, 1 + 10), (Deciding, 1 + 10)])
def test_any_network(make: Callable[[], nn.Module], passes: int) -> None:
    """Where repeating from a record would be wrong, there is one pass for each change of five weights."""
    torch.manual_seed(2)
    check(make(), torch.randn(4, 3, 8, 8), passes=passes)


@pytest.mark.parametrize(
    ("name", "channels", "size", "bfloat16"),
    [("lenet5", 1, 28, False), ("lenet5", 1, 28, True), ("resnet8", 3, 16, True), ("resnet18", 3, 16, False)],
)
def test_networks_of_the_suite(name: str, channels: int, size: int, bfloat16: bool) -> None:
    images = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    check(build_network(name, channels, size, 10, seed=0), images, passes=1, bfloat16=bfloat16)


class Convolutions(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += "conv" in str(func) or "linear" in str(func) or "addmm" in str(func)
        return func(*args, **(kwargs or {}))


def counted(model: nn.Module, images: Tensor, changes: Changes) -> int:
    with torch.inference_mode(), Convolutions() as mode:
        list(changed_outputs(model, model, images, changes))
    return mode.count


def test_what_a_change_does_not_touch_is_computed_once() -> None:
    """A chain of four: 4 to record, 3 up to the last, then 4 + 3 + 2 + 1 for each of two changes."""
    chain = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))
    assert counted(chain, torch.randn(2, 3), changes_of(chain)) == 4 + 3 + 2 * 10


def test_a_branch_beside_the_change_is_computed_once() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(3, 3) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.a(x) + self.b(x))  # type: ignore[no-any-return]

    model = Beside()
    change = changes_of(model)[0]
    assert counted(model, torch.randn(2, 3), [change]) == 3 + 1 + 2 * 2
