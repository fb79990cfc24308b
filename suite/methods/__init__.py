"""All methods. A new one is a file beside this one and a line in `AnyMethod`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from suite.methods.base import Method
from suite.methods.deep_compression import DeepCompression
from suite.methods.full import FullPrecision
from suite.methods.inq import INQ
from suite.methods.kmeans import KMeans
from suite.methods.mlq import MLQ
from suite.methods.slq import SLQ
from suite.methods.ttq import TTQ
from suite.methods.twn import TWN

AnyMethod = Annotated[
    FullPrecision | KMeans | SLQ | MLQ | INQ | TWN | TTQ | DeepCompression,
    Field(discriminator="name"),
]

__all__ = ["INQ", "MLQ", "SLQ", "TTQ", "TWN", "AnyMethod", "DeepCompression", "FullPrecision", "KMeans", "Method"]
