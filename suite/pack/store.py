"""A quantized network in a safetensors file: for each quantized layer its codes and its codebook, everything else as it is."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from suite.files import write_atomic
from suite.quant.layer import Layer

CODES, CODEBOOK = ".codes", ".codebook"


def save_network(path: Path, model: nn.Module, layers: dict[str, Layer]) -> None:
    """Write the network; layers whose weights are all frozen are stored as codes (uint8) and codebook (the weights' type)."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _state(model).items()}
    write_atomic(path, lambda temporary: save_file(tensors, temporary))


def load_state(path: Path) -> dict[str, Tensor]:
    """The network's state_dict (shared tensors once), bit-identical to what was saved."""
    tensors = load_file(path)
    state = {name: t for name, t in tensors.items() if not name.endswith((CODES, CODEBOOK))}
    for name in [key.removesuffix(CODES) for key in tensors if key.endswith(CODES)]:
        state[f"{name}.weight"] = tensors[name + CODEBOOK][tensors[name + CODES].long()]
    return state


def load_network(path: Path, model: nn.Module) -> None:
    """Give a network of the same architecture the stored weights. Raises ValueError if a tensor is missing."""
    state = load_state(path)
    missing = _state(model).keys() - state.keys()
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}: it belongs to another network")
    model.load_state_dict(state, strict=False)  # second names of shared tensors are not in the file


def verify(path: Path, model: nn.Module) -> None:
    """Raises ValueError unless the file holds exactly this network."""
    stored = load_state(path)
    for name, tensor in _state(model).items():
        if name not in stored or not torch.equal(stored[name], tensor.detach().cpu()):
            raise ValueError(f"{path} does not reproduce {name}: the network in memory is not what its codes say")


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict without second names of shared tensors."""
    seen: set[int] = set()
    state = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor
    return state
