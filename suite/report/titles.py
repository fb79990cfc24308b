"""How networks, data and methods are called in print; an identifier without a title is printed as it is."""

from suite.data import DATASETS
from suite.nets import NETWORKS as SUITE_NETWORKS

NETWORKS = {name: network.title for name, network in SUITE_NETWORKS.items()}
DATA = {name: info.title for name, info in DATASETS.items()}

METHODS = {
    "full": "full precision",
    "kmeans": "k-means",
    "hessian": "Hessian-weighted k-means",
    "ecsq": "ECSQ",
    "universal": "universal quantization",
    "soft-to-hard": "soft-to-hard VQ",
    "som": "SOM",
    "slq": "SLQ",
    "mlq": "MLQ",
    "mixed": "mixed widths",
    "inq": "INQ",
    "bwn": "BWN",
    "twn": "TWN",
    "ttq": "TTQ",
    "deep-compression": "Deep Compression",
    "admm": "ADMM",
    "lq-nets": "LQ-Nets",
}
