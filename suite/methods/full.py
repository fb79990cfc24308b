"""The full-precision network: the ceiling of every table."""

from __future__ import annotations

from typing import ClassVar, Literal

from suite.methods.base import Method


class FullPrecision(Method):
    """No quantization and no re-training."""

    name: Literal["full"] = "full"
    title: ClassVar[str] = "full precision"
