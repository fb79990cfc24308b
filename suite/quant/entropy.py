"""How few bits an ideal code takes."""

from __future__ import annotations

from torch import Tensor


def entropy(counts: Tensor) -> float:
    """First-order entropy of symbols that occur so often, (K,): bits per symbol; 0 if there are none."""
    present = counts[counts > 0].double()
    share = present / present.sum()
    return float(-(share * share.log2()).sum())
