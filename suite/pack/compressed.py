"""Networks that stay compressed in memory: a layer keeps codes and codebook, and its weights exist only while it is used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from suite.pack.container import Entry, Packed
from suite.pack.convert import open_packed
from suite.pack.errors import PackError
from suite.pack.store import check_shapes, state_of
from suite.quant.coded import Coded

NARROW = 256  # entries of a codebook that a byte can number
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


class CompressedWeight(nn.Module):
    """A weight of N numbers as codes (a byte each, or two for more than 256 entries) and a codebook.

    Torch decodes it whenever its layer asks for its weight, to the bits that the file stands for; then it gets the type of the
    network, if that is another one. A pruned weight has a code like any other, unless there are vectors or dither: then a mask
    says where weights are, a byte for each.
    """

    codes: Tensor  # flat, uint8 or int16
    codebook: Tensor
    live: Tensor | None
    scale: Tensor | None

    def __init__(self, coded: Coded) -> None:
        super().__init__()
        coded = filled(coded)
        width = torch.uint8 if len(coded.codebook) <= NARROW else torch.int16
        self.register_buffer("codes", coded.codes.to(width))
        self.register_buffer("codebook", coded.codebook.to(coded.dtype))
        self.register_buffer("live", coded.live)
        self.register_buffer("scale", None if coded.scale is None else coded.scale.to(coded.dtype))
        self._shape, self._dtype, self._dither = coded.shape, coded.dtype, coded.dither

    def weight(self) -> Tensor:
        """The weights, decoded anew."""
        codebook = self.codebook.to(self._dtype)  # the module may have been given another type
        scale = None if self.scale is None else self.scale.to(self._dtype)
        values = _looked_up(codebook, self.codes).flatten()
        about = Coded(self._shape, self._dtype, self.codes, codebook, self.live, scale, self._dither)
        return about.with_values(values)

    def forward(self, nothing: Tensor) -> Tensor:
        """What torch calls in place of the parameter, of which nothing but the type is left, which may be changed later."""
        return self.weight().to(nothing.dtype)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor]:
        """What torch keeps in place of the parameter."""
        return (torch.empty(0, dtype=weight.dtype),)


def load_compressed(path: Path, model: nn.Module) -> None:
    """Give a network of the same architecture the stored weights, those that are coded as `CompressedWeight`.

    It runs as before and gives the same outputs as after `load_network`, but for that every use of a layer decodes its weights.
    It is for inference: compressed weights cannot be trained, nor compiled or exported. A network on the device "meta"
    never takes the memory of its full weights.

    Raises:
        PackError: if the file is damaged or of another kind.
        ValueError: if a tensor is missing or has another shape; if something on "meta" is not in the file, such as a buffer that
            is not persistent.
    """
    content = open_packed(path)
    state = state_of(model)
    entries = {entry.name: entry for entry in content.entries if entry.name in state}
    try:
        wanted = {name: tuple(tensor.shape) for name, tensor in state.items()}
        check_shapes(path, wanted, {name: content.shape(entry) for name, entry in entries.items()})
        owners = _owners(model)
        compressed = {name for name, entry in entries.items() if _stays(content, entry) and state[name] in owners}
        plain = {n: content.tensor(entry).to(state[n].dtype) for n, entry in entries.items() if n not in compressed}
        model.load_state_dict(plain, strict=False, assign=any(tensor.is_meta for tensor in state.values()))
        for name in plain:
            _share(model, name, owners.get(state[name], []))
        for name in compressed:
            weight, device = CompressedWeight(content.coded(entries[name])), state[name].device
            _replace(owners[state[name]], weight if device.type == "meta" else weight.to(device))
    except PackError as error:
        raise PackError(f"{path} cannot be read: {error}") from None
    _refuse_meta(path, model)


def _stays(content: Packed, entry: Entry) -> bool:
    """Whether a tensor stays compressed. Those of one dimension are small, and not every module reads them as an attribute."""
    return entry.kind == "coded" and len(content.shape(entry)) > 1


def _owners(model: nn.Module) -> dict[Tensor, list[tuple[nn.Module, str]]]:
    """For each parameter the modules that have it, and as what: a shared one has several."""
    owners: dict[Tensor, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            owners.setdefault(parameter, []).append((module, name))
    return owners


def _share(model: nn.Module, name: str, owners: list[tuple[nn.Module, str]]) -> None:
    """Give the parameter of this name to all that had it: one that is assigned, torch gives to the first only."""
    for module, attribute in owners:
        setattr(module, attribute, model.get_parameter(name))


def _refuse_meta(path: Path, model: nn.Module) -> None:
    left = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if left:
        raise ValueError(f'{path} lacks {", ".join(left)}, which is on "meta": build the network on another device')


def _replace(owners: list[tuple[nn.Module, str]], weight: CompressedWeight) -> None:
    for module, name in owners:
        module.get_parameter(name).requires_grad_(False)
        parametrize.register_parametrization(module, name, weight, unsafe=True)


def filled(coded: Coded) -> Coded:
    """The same weights with a code for pruned ones, too, where that is possible."""
    if coded.live is None or coded.codebook.dim() > 1 or coded.dither is not None:
        return coded
    zero = len(coded.codebook)  # an entry of its own: 0, which the codebook may have, or not
    codes = torch.full(coded.shape, zero, dtype=coded.codes.dtype)
    codes[coded.live] = coded.codes
    codebook = torch.cat((coded.codebook, torch.zeros(1, dtype=coded.codebook.dtype)))
    return replace(coded, codes=codes.flatten(), codebook=codebook, live=None)


def _looked_up(codebook: Tensor, codes: Tensor) -> Tensor:
    """codebook[codes], (N,) or (N, d)."""
    if codes.device.type != "cpu" or codebook.dim() > 1:
        return codebook.index_select(0, codes.int())
    from suite.pack.lookup import look_up

    values = torch.empty(codes.shape, dtype=codebook.dtype)
    integer = _INTEGERS[codebook.dtype.itemsize]  # NumPy knows no bfloat16
    look_up(codebook.view(integer).numpy(), codes.numpy(), values.view(integer).numpy())
    return values
