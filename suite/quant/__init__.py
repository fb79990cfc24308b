"""Tensor mathematics of quantization: clustering in one dimension, codebooks, partitions. No files, no training, no globals."""

from __future__ import annotations

from typing import Any

__all__ = ["kmeans1d"]


def __getattr__(name: str) -> Any:
    """`kmeans1d` on first use: numba takes a second."""
    if name == "kmeans1d":
        from suite.quant.clusters import kmeans1d

        return kmeans1d
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
