"""How much the loss bends along each weight: the diagonal of the Hessian, exactly, and Adam's substitute for it.

Source: Choi et al. 2017 (Towards the Limit of Network Quantization): near a minimum the loss rises by about 1/2 sum h_ii (w - q)^2
when weights w become q, h_ii from backpropagation over a sample of the training images; or, in its place, the square root of
the second moments of the gradients that Adam keeps.

Derivation. For an image with logits z and probabilities p = softmax(z), the cross-entropy has the Hessian
diag(p) - p p' = sum_c p_c (e_c - p)(e_c - p)' in z, whatever the label. If z is an affine function of one weight while all else
stands still, its second derivative vanishes, and the chain rule leaves h = sum_c (d(r_c z)/dw)^2 with r_c = sqrt(p_c) (e_c - p).
That is one backward pass for each class; what it must not do is add up the gradients of several images before they are squared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CHUNK = 64  # images at a time
_ROOM = 2**24  # numbers laid out at a time: gradients of single images, patches of their inputs


@dataclass(frozen=True)
class _Use:
    """One application of a layer to a chunk of B images."""

    module: nn.Module
    input: Tensor
    output: Tensor

    @property
    def weight(self) -> Tensor:
        return self.module.get_parameter("weight")


def hessian_diagonal(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    images: Iterable[Tensor],
    draws: int | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Second derivative of the mean cross-entropy along each of these weights, never negative.

    Exact to rounding where the logits are piecewise linear in each single weight: convolutions and linear layers, ReLU, pooling,
    batch-norm with its running statistics, sums of branches. With other activations, or with a weight that acts twice on one
    path (tied layers), it is the diagonal of the generalised Gauss-Newton matrix, which leaves out the network's own bend.

    Args:
        model: (B, ...) images -> (B, C) logits; switched to evaluation meanwhile.
        weights: by name; each the `weight` of a linear or convolutional module of the model.
        images: batches of images on the model's device.
        draws: labels drawn from the network's own probabilities for each image in place of all C classes, for many classes:
            unbiased, not exact.
        generator: for `draws`, on the CPU.

    Returns:
        By name: float64 on the CPU, shape of the weight; nats per squared unit of the weight.

    Raises:
        ValueError: if there is no image, or no module of the model applies one of the weights.
    """
    users = {name: _users(model, name, weight) for name, weight in weights.items()}
    sums = {name: torch.zeros(w.shape, dtype=torch.float64, device=w.device) for name, w in weights.items()}
    count = 0
    with _evaluating(model), torch.enable_grad():
        for chunk in _chunks(images):
            logits, uses = _forward(model, {m for modules in users.values() for m in modules}, chunk)
            rows = _softmax_factors(logits.detach(), draws, generator)
            _add_squares(sums, {name: [u for m in users[name] for u in uses[m]] for name in weights}, logits, rows)
            count += len(chunk)
    if count == 0:
        raise ValueError("the Hessian needs at least one image")
    return {name: (total / count).cpu() for name, total in sums.items()}


def adam_moments(
    model: nn.Module, weights: Mapping[str, Tensor], batches: Iterable[tuple[Tensor, Tensor]], size: int = 16
) -> dict[str, Tensor]:
    """Square root of the mean squared gradient of the cross-entropy over mini-batches of `size` images, at standing weights.

    Source: Choi et al. 2017, which reads them from Adam's state after training. Adam's decaying mean over the last steps is here
    a plain mean over the sample: this suite's choice, since a baseline may have been trained by something else.

    Returns:
        By name: float64 on the CPU, shape of the weight; nats per unit of the weight. Their scale depends on `size`.

    Raises:
        ValueError: if there is no image.
    """
    squares = {name: torch.zeros(w.shape, dtype=torch.float64, device=w.device) for name, w in weights.items()}
    count = 0
    with _evaluating(model), torch.enable_grad(), _requiring(weights.values()):
        for images, labels in batches:
            for chunk, answers in zip(torch.split(images, size), torch.split(labels, size), strict=True):
                loss = F.cross_entropy(model(chunk).float(), answers)
                gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
                for name, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:
                        squares[name] += gradient.double().square()
                count += 1
    if count == 0:
        raise ValueError("the second moments need at least one image")
    return {name: (total / count).sqrt().cpu() for name, total in squares.items()}


def _softmax_factors(logits: Tensor, draws: int | None, generator: torch.Generator | None) -> Tensor:
    """Rows r, (C or draws, B, C), whose outer products add up to the Hessian of the cross-entropy in the logits (B, C)."""
    p = logits.double().softmax(1)
    classes = p.shape[1]
    if draws is None:
        rows = (torch.eye(classes).to(p) - p[:, None, :]) * p.sqrt()[:, :, None]
    else:
        labels = torch.multinomial(p.cpu(), draws, replacement=True, generator=generator).to(p.device)
        rows = (F.one_hot(labels, classes) - p[:, None, :]) / draws**0.5
    return rows.transpose(0, 1).to(logits.dtype)


def _add_squares(sums: dict[str, Tensor], uses: dict[str, list[_Use]], logits: Tensor, rows: Tensor) -> None:
    """Add to each weight's sum the squared gradients of all rows and images."""
    flat = [use for used in uses.values() for use in used]
    signals: dict[str, Tensor] = {}  # of plain linear layers: squared, summed over the rows
    for row in rows if flat else ():
        gradients = torch.autograd.grad(
            logits, [use.output for use in flat], row, retain_graph=True, materialize_grads=True
        )
        left = iter(gradients)
        for name, used in uses.items():
            pairs = [(use, next(left)) for use in used]
            if len(used) == 1 and _is_plain(used[0]):
                signals[name] = signals.get(name, 0) + pairs[0][1].square()
            elif pairs:
                sums[name] += _squares(pairs)
    for name, signal in signals.items():
        # The gradient of an image is an outer product, so that the sum of its squares is a product of two matrices.
        sums[name] += signal.T @ uses[name][0].input.square()


def _is_plain(use: _Use) -> bool:
    """A linear layer that sees each image once."""
    return isinstance(use.module, nn.Linear) and use.input.dim() == 2


def _squares(pairs: list[tuple[_Use, Tensor]]) -> Tensor:
    """Squared gradients, summed over the images, of a weight used so, each time with this gradient of the output."""
    numbers = max(use.weight.numel() + use.weight[0].numel() * g[0].numel() // len(use.weight) for use, g in pairs)
    parts = torch.split(torch.arange(len(pairs[0][1])), max(1, _ROOM // numbers))
    total = torch.zeros_like(pairs[0][0].weight, requires_grad=False)
    for part in parts:
        window = slice(int(part[0]), int(part[-1]) + 1)
        gradients = [_per_image(use.module, use.input[window], g[window]) for use, g in pairs]
        total += torch.stack(gradients).sum(0).square().sum(0)
    return total


def _per_image(module: nn.Module, x: Tensor, signal: Tensor) -> Tensor:
    """Gradient of each image's weights, (B, shape of the weight), given a layer's input and the gradient of its output."""
    weight = module.get_parameter("weight").detach()
    if isinstance(module, nn.Linear):
        places = (len(x), -1)
        return torch.einsum("bto,bti->boi", signal.reshape(*places, len(weight)), x.reshape(*places, weight.shape[1]))
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        return _per_image_conv2d(module, x, signal)
    convolve: Callable[..., Tensor] = module._conv_forward  # type: ignore[assignment]  # knows every kind of padding

    def one(x: Tensor, signal: Tensor) -> Tensor:
        pull = torch.func.vjp(lambda w: convolve(x[None], w, None), weight)[1]
        gradient: Tensor = pull(signal[None])[0]
        return gradient

    return torch.func.vmap(one)(x, signal)


def _per_image_conv2d(module: nn.Conv2d, x: Tensor, signal: Tensor) -> Tensor:
    """As `_per_image`, by laying out the patch that each output sees: several times faster than the general way."""
    blocks = len(x) * module.groups
    patches = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)  # type: ignore[arg-type]
    patches = patches.view(blocks, -1, patches.shape[-1])
    outputs = signal.reshape(blocks, module.out_channels // module.groups, -1)
    return torch.bmm(outputs, patches.transpose(1, 2)).view(len(x), *module.weight.shape)


def _users(model: nn.Module, name: str, weight: Tensor) -> list[nn.Module]:
    """The modules that apply this weight."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    found = [m for m in model.modules() if isinstance(m, kinds) and m.weight is weight]
    if not found:
        raise ValueError(f"no linear or convolutional module of the network has the weight of layer {name}")
    return list(found)


def _forward(model: nn.Module, modules: set[nn.Module], images: Tensor) -> tuple[Tensor, dict[nn.Module, list[_Use]]]:
    """Logits, and what went into and came out of these modules. The outputs are part of the graph of the logits."""
    uses: dict[nn.Module, list[_Use]] = {module: [] for module in modules}

    def remember(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if len(inputs[0]) != len(images):
            raise ValueError(
                f"{module} gets {len(inputs[0])} rows for {len(images)} images: one of each image is needed"
            )
        kept = output if output.requires_grad else output.detach().requires_grad_()
        # Copies, for a ReLU in place changes what it gets, and may change what this layer got.
        uses[module].append(_Use(module, inputs[0].detach().clone(), kept))
        return kept.clone()

    hooks = [module.register_forward_hook(remember) for module in modules]
    try:
        return model(images), uses
    finally:
        for hook in hooks:
            hook.remove()


def _chunks(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    for images in batches:
        yield from torch.split(images, _CHUNK)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode: no dropout, batch-norm by its running statistics, so that images do not act on one another."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _requiring(weights: Iterable[Tensor]) -> Iterator[None]:
    """Gradients for these weights, frozen or not."""
    still = [weight for weight in weights if not weight.requires_grad]
    for weight in still:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight in still:
            weight.requires_grad_(False)
