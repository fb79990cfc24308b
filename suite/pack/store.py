"""A network in a file: packed if it has quantized layers, safetensors if it has none."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from suite.files import write_atomic
from suite.pack.container import is_packed, packed, unpacked
from suite.pack.errors import PackError
from suite.quant.layer import Layer

WEIGHT = ".weight"  # a quantized layer's parameter, after the layer's name


def save_network(path: Path, model: nn.Module, layers: dict[str, Layer]) -> None:
    """Write the network. Layers whose weights are all frozen are stored as codes and codebook, the rest as it is."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state_of(model).items()}
    if not layers:
        write_atomic(path, lambda temporary: save_file(state, temporary))
        return
    coded = {name + WEIGHT: layer.coded() for name, layer in layers.items() if is_quantized(layer)}
    data = packed(coded, {name: tensor for name, tensor in state.items() if name not in coded})
    write_atomic(path, lambda temporary: temporary.write_bytes(data))


def is_packed_file(path: Path) -> bool:
    """Whether a file was written of a network with quantized layers."""
    with path.open("rb") as file:
        return is_packed(file.read(16))


def is_quantized(layer: Layer) -> bool:
    """Whether a layer's codes and codebook say all about its weights."""
    return bool(layer.frozen.all()) and (len(layer.codebook) > 0 or not len(layer.codes))


def load_state(path: Path) -> dict[str, Tensor]:
    """The network's state_dict (shared tensors once), bit-identical to what was saved (but for -0, which may come back as 0).

    Raises:
        PackError: if the file is damaged or of an unknown format.
    """
    data = path.read_bytes()
    try:
        if not is_packed(data):
            return dict(load(data))
        content = unpacked(data)
        return {entry.name: content.tensor(entry) for entry in content.entries}
    except (PackError, SafetensorError) as error:
        raise PackError(f"{path} cannot be read: {error}") from None


def load_network(path: Path, model: nn.Module) -> None:
    """Give a network of the same architecture the stored weights.

    Raises:
        PackError: if the file is damaged.
        ValueError: if a tensor is missing or has another shape.
    """
    state, own = load_state(path), state_of(model)
    missing = own.keys() - state.keys()
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}: it belongs to another network")
    for name, tensor in own.items():
        if state[name].shape != tensor.shape:
            shapes = f"{list(state[name].shape)}, not {list(tensor.shape)}"
            raise ValueError(f"{path} has {name} in the shape {shapes}: it belongs to another network")
    model.load_state_dict(state, strict=False)  # second names of shared tensors are not in the file


def verify(path: Path, model: nn.Module) -> None:
    """Raises ValueError unless the file holds exactly this network."""
    stored = load_state(path)
    for name, tensor in state_of(model).items():
        if name not in stored or not torch.equal(stored[name], tensor.detach().cpu()):
            raise ValueError(f"{path} does not reproduce {name}: the network in memory is not what its codes say")


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict without second names of shared tensors."""
    seen: set[int] = set()
    state = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor
    return state
