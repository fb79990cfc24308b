"""Published full-precision weights, read from disk: nothing is downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from suite.errors import UserError
from suite.nets.imagenet import weights_file
from suite.nets.registry import NETWORKS, Network, find_network


def published_sha256(name: str, data_root: Path) -> str:
    """SHA-256 (hex) of the file with the published weights of network `name`; UserError as `find_published`."""
    with find_published(name, data_root).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_published(model: nn.Module, name: str, data_root: Path) -> None:
    """Load the published weights of network `name` into `model`.

    UserError if none are published or found, if the file cannot be read, or if its shapes are not those of `model`.
    """
    path = find_published(name, data_root)
    try:
        model.load_state_dict(_read(path))
    except RuntimeError as error:
        raise UserError(
            f"{path} does not fit this {name}: {_brief(error)}. Weights fit only the data set that they were trained on: "
            "choose the network/data combination of the file, or train the baseline from scratch"
        ) from error


def find_published(name: str, data_root: Path) -> Path:
    """The file with the published weights of network `name`; UserError if none are published or found."""
    network = find_network(name)
    if network.published is None:
        having = ", ".join(n.name for n in NETWORKS.values() if n.published)
        raise UserError(
            f"no published weights for {network.name!r}; there are some for {having}. Train the baseline from scratch"
        )
    places = list(_places(network, network.published, data_root))
    for place in places:
        if place.is_file():
            return place
    raise UserError(
        f"published weights of {network.name} not found; put them at one of: {', '.join(map(str, places))} "
        "(the data root is set by --data-root or SLQ_DATA_ROOT)"
    )


def _places(network: Network, stem: str, data_root: Path) -> Iterator[Path]:
    weights = data_root / "weights"
    yield weights / f"{stem}.safetensors"
    yield weights / f"{stem}.pth"
    if stem.startswith("imagenet-"):
        file = weights_file(network.name)
        yield weights / file
        yield Path(torch.hub.get_dir()) / "checkpoints" / file


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors by name, without the auxiliary heads that only GoogLeNet has and that are not built."""
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise UserError(f"cannot read weights from {path}: {_brief(error)}; fetch the file again") from error
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(("aux1.", "aux2."))}


def _brief(error: Exception) -> str:
    """The first thing that is wrong: torch puts a heading above and lists every tensor that does not fit."""
    lines = [line.strip() for line in str(error).splitlines() if not line.startswith("Error(s) in loading state_dict")]
    return next(iter(lines), type(error).__name__)[:300].rstrip(".")
