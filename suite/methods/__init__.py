"""All methods. A new one is a file beside this one and a line in `AnyMethod`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from suite.methods.base import Method
from suite.methods.full import FullPrecision
from suite.methods.kmeans import KMeans
from suite.methods.mlq import MLQ
from suite.methods.slq import SLQ

AnyMethod = Annotated[
    FullPrecision | KMeans | SLQ | MLQ,
    Field(discriminator="name"),
]

__all__ = ["MLQ", "SLQ", "AnyMethod", "FullPrecision", "KMeans", "Method"]
