"""How networks, data and methods are called in print; an identifier without a title is printed as it is."""

from suite.data import DATASETS
from suite.nets import NETWORKS as SUITE_NETWORKS

# The suite's own, and those that only published figures name.
NETWORKS = {"lenet-300-100": "LeNet-300-100"} | {name: network.title for name, network in SUITE_NETWORKS.items()}
DATA = {name: info.title for name, info in DATASETS.items()}

METHODS = {
    "full": "full precision",
    "kmeans": "k-means",
    "hessian-kmeans": "Hessian-weighted k-means",
    "uniform-ecsq": "ECSQ, uniform",
    "iterative-ecsq": "ECSQ, iterative",
    "slq": "SLQ",
    "mlq": "MLQ",
    "inq": "INQ",
    "bwn": "BWN",
    "twn": "TWN",
    "ttq": "TTQ",
    "deep-compression": "Deep Compression",
    "universal": "universal quantization",
    "soft-to-hard": "soft-to-hard",
}
