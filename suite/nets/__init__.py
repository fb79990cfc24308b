"""What can be trained: networks by name, their quantizable layers and their published weights."""

from suite.nets.layers import layer_names, quantizable
from suite.nets.published import find_published, load_published, published_sha256
from suite.nets.registry import NETWORKS, Network, build_network

__all__ = [
    "NETWORKS",
    "Network",
    "build_network",
    "find_published",
    "layer_names",
    "load_published",
    "published_sha256",
    "quantizable",
]
