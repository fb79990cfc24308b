"""Where the centres of a layer's codebook start, float64 (K,). `INITS` give zero first, then larger magnitudes first."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from suite.quant.lloyd import Sorted, is_large


def codebook_size(bits: int) -> int:
    """K = 2^(b-1) + 1, the sizes of SLQ and INQ: 17, 9, 5, 3 at 5, 4, 3, 2 bits (SLQ released code)."""
    return int(2 ** (bits - 1)) + 1


def ladder(values: Sorted, k: int, generator: torch.Generator) -> Tensor:
    """0, +m, -m, +m/2, -m/2, ... with m = 2^floor(log2 max|w|) (SLQ released code). `k` is odd."""
    largest = float(values.values[[0, -1]].abs().max()) if len(values.values) else 0.0
    m = 2.0 ** math.floor(math.log2(largest)) if largest > 0 else 0.0
    steps = [sign * m / 2**j for j in range(k // 2) for sign in (1, -1)]
    return torch.tensor([0.0, *steps], dtype=torch.float64)


def evenly_populated(values: Sorted, k: int, generator: torch.Generator) -> Tensor:
    """The middles of k equally populated slices, (k,) ascending (density-based, Deep Compression, section 3.2)."""
    position = (torch.arange(k) + 0.5) / k * len(values.values)
    return values.values[position.long()]


def evenly_spaced(values: Sorted, k: int, generator: torch.Generator) -> Tensor:
    """From the smallest to the largest weight, (k,) ascending (linear, Deep Compression, section 3.2)."""
    low, high = values.values[[0, -1]].tolist()
    return torch.linspace(low, high, k, dtype=torch.float64)


def drawn(values: Sorted, k: int, generator: torch.Generator) -> Tensor:
    """k of the weights, each as likely, (k,) ascending (Forgy; Deep Compression, section 3.2)."""
    chosen = torch.randint(len(values.values), (k,), generator=generator)
    return values.values[chosen].sort().values


def quantile(values: Sorted, k: int, generator: torch.Generator) -> Tensor:
    """`evenly_populated` with a zero."""
    return _with_zero(evenly_populated(values, k, generator))


def linear(values: Sorted, k: int, generator: torch.Generator) -> Tensor:
    """`evenly_spaced` with a zero."""
    return _with_zero(evenly_spaced(values, k, generator))


def kmeanspp(values: Sorted, k: int, generator: torch.Generator) -> Tensor:
    """`spread` on the line."""
    return _ordered(spread(values.values.unsqueeze(1), k, generator).flatten())


def exact(values: Sorted, k: int, generator: torch.Generator) -> Tensor:
    """The k centres of the least squared error (dynamic programming, `exact.best_means`), the one nearest to zero moved to zero.

    With fewer than k distinct values the rest are zeros.
    """
    from suite.quant.exact import best_means  # numba takes a second

    means = torch.from_numpy(best_means(values.values.numpy(), k)) if len(values.values) else torch.empty(0)
    return _with_zero(torch.cat([means.double(), torch.zeros(k - len(means), dtype=torch.float64)]))


def spread(vectors: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """k-means++ of (N, d) from a first centre at zero: each next one is drawn with probability proportional to squared distance.

    Source: Arthur and Vassilvitskii 2007, section 2.2. Once no vector is away from a centre, the rest of the (k, d) are zeros.
    """
    centres = vectors.new_zeros(k, vectors.shape[1])
    distance = vectors.square().sum(1)
    for i in range(1, k):
        total = distance.cumsum(0)
        if len(total) == 0 or total[-1] <= 0:
            break
        draw = torch.rand(1, generator=generator, dtype=torch.float64) * total[-1]
        index = int(torch.searchsorted(total, draw, right=True).clamp(max=len(total) - 1))
        centres[i] = vectors[index]
        distance = torch.minimum(distance, (vectors - centres[i]).square().sum(1))
    return centres


def _with_zero(centres: Tensor) -> Tensor:
    """Replace the centre nearest to zero by zero."""
    centres = centres.clone()
    centres[centres.abs().argmin()] = 0.0
    return _ordered(centres)


def _ordered(centres: Tensor) -> Tensor:
    """Zero first, then by falling magnitude, positive before negative: the order of the released ladder."""
    zero = int(centres.abs().argmin())
    rest = torch.cat([centres[:zero], centres[zero + 1 :]]).tolist()
    return torch.tensor([0.0, *sorted(rest, key=lambda c: (-abs(c), c < 0))], dtype=torch.float64)


Start = Callable[[Sorted, int, torch.Generator], Tensor]

SPREADS: dict[str, Start] = {  # ascending, none of them pinned to zero
    "linear": evenly_spaced,
    "density": evenly_populated,
    "random": drawn,
}
INITS: dict[str, Start] = {
    "ladder": ladder,
    "kmeans++": kmeanspp,
    "quantile": quantile,
    "linear": linear,
    "exact": exact,
}


def first_centres(name: str, weights: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """The start `name` of `INITS` for weights of any shape and float type; only those that need all values in order sort them."""
    if name in ("ladder", "linear") and is_large(weights):
        weights = torch.stack(weights.detach().aminmax())
    return INITS[name](Sorted.of(weights), k, generator)
