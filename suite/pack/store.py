"""A network in a file: packed if it has quantized layers, safetensors if it has none."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from suite.files import write_atomic, write_tensors
from suite.pack.container import is_packed, packed, unpacked
from suite.pack.errors import PackError
from suite.pack.memory import enough_memory
from suite.quant.layer import Layer

WEIGHT = ".weight"  # a quantized layer's parameter, after the layer's name

Shape = tuple[int, ...]


def save_network(path: Path, model: nn.Module, layers: dict[str, Layer]) -> None:
    """Write the network. Layers whose weights are all frozen are stored as codes and codebook, the rest as it is."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state_of(model).items()}
    if not layers:
        write_tensors(path, state)
        return
    coded = {name + WEIGHT: layer.coded() for name, layer in layers.items() if is_quantized(layer)}
    plain = {name: tensor for name, tensor in state.items() if name not in coded}
    for name in (name + WEIGHT for name in layers):
        if name in plain:
            plain[name] = plain[name] + 0.0  # a pruned -0, which a mask makes of a negative number, is stored as 0
    data = packed(coded, plain)
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

    Only for files of one's own: a small one may stand for tensors of 2^31 numbers. `load_network` knows how many there must be.

    Raises:
        PackError: if the file is damaged or of an unknown format.
    """
    return _read(path, None)


def load_network(path: Path, model: nn.Module) -> None:
    """Give a network of the same architecture the stored weights. Nothing is decoded unless all shapes are right.

    Raises:
        PackError: if the file is damaged.
        ValueError: if a tensor is missing or has another shape.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state_of(model).items()}
    model.load_state_dict(_read(path, shapes), strict=False)  # second names of shared tensors are not in the file


def _read(path: Path, wanted: dict[str, Shape] | None) -> dict[str, Tensor]:
    """All tensors, or those of these names, which must have these shapes."""
    try:
        with enough_memory(str(path)):
            return _stored(path, wanted)
    except (PackError, SafetensorError) as error:
        raise PackError(f"{path} cannot be read: {error}") from None


def _stored(path: Path, wanted: dict[str, Shape] | None) -> dict[str, Tensor]:
    data = path.read_bytes()
    if not is_packed(data):
        state: dict[str, Tensor] = load(data)
        check_shapes(path, wanted, {name: tuple(tensor.shape) for name, tensor in state.items()})
        return state if wanted is None else {name: state[name] for name in wanted}
    content = unpacked(data)
    check_shapes(path, wanted, {entry.name: content.shape(entry) for entry in content.entries})
    entries = (entry for entry in content.entries if wanted is None or entry.name in wanted)
    return {entry.name: content.tensor(entry) for entry in entries}


def check_shapes(path: Path, wanted: dict[str, Shape] | None, stored: dict[str, Shape]) -> None:
    """Raises ValueError unless there are tensors of all these shapes."""
    wanted = wanted or {}
    if missing := wanted.keys() - stored.keys():
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}: it belongs to another network")
    for name, shape in wanted.items():
        if stored[name] != shape:
            shapes = f"{list(stored[name])}, not {list(shape)}"
            raise ValueError(f"{path} has {name} in the shape {shapes}: it belongs to another network")


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
