"""The tables of networks and data sets, from their registries."""

from __future__ import annotations

from markdown_table import cell, code, table

from suite.data import DATASETS
from suite.nets import NETWORKS


def networks() -> str:
    rows = [
        [
            code(network.name),
            cell(network.title),
            f"{network.min_size} pixels" + (", colour" if network.colour_only else ""),
            code(f"weights/{network.published}.safetensors") if network.published else "",
        ]
        for network in NETWORKS.values()
    ]
    return table(["name", "in tables", "smallest images", "published weights, below the data root"], rows)


def data_sets() -> str:
    rows = [
        [
            code(data.name),
            cell(data.title),
            f"{data.channels} × {data.size} × {data.size}",
            str(data.classes),
            cell(data.augment),
        ]
        for data in DATASETS.values()
    ]
    return table(["name", "in tables", "image", "classes", "augmentation of training images"], rows)
