"""All methods. A new one is a file beside this one and a line in `AnyMethod`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from suite.methods.base import Method
from suite.methods.deep_compression import DeepCompression
from suite.methods.ecsq import ECSQ
from suite.methods.full import FullPrecision
from suite.methods.hessian import HessianKMeans
from suite.methods.inq import INQ
from suite.methods.kmeans import KMeans
from suite.methods.mixed import MixedKMeans
from suite.methods.mlq import MLQ
from suite.methods.slq import SLQ
from suite.methods.soft import SoftToHard
from suite.methods.som import SOM
from suite.methods.ttq import TTQ
from suite.methods.twn import TWN
from suite.methods.universal import Universal

AnyMethod = Annotated[
    FullPrecision
    | KMeans
    | SLQ
    | MLQ
    | INQ
    | TWN
    | TTQ
    | DeepCompression
    | HessianKMeans
    | ECSQ
    | Universal
    | SoftToHard
    | SOM
    | MixedKMeans,
    Field(discriminator="name"),
]

__all__ = [
    "ECSQ",
    "INQ",
    "MLQ",
    "SLQ",
    "SOM",
    "TTQ",
    "TWN",
    "AnyMethod",
    "DeepCompression",
    "FullPrecision",
    "HessianKMeans",
    "KMeans",
    "Method",
    "MixedKMeans",
    "SoftToHard",
    "Universal",
]
