"""Files of tensors, whoever made them, to packed files and back, to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from suite.errors import UserError
from suite.files import write_atomic, write_tensors
from suite.pack.container import Packed, packed, unpacked
from suite.pack.distinct import coded_of
from suite.pack.errors import PackError
from suite.pack.raw import DTYPES, to_bytes

STATE_DICT = {".pt", ".pth", ".bin"}  # endings of files that torch.save wrote


def pack(source: Path, target: Path) -> Packed:
    """Pack a file of tensors: safetensors, or a state_dict that `torch.save` wrote (read without running code from it).

    Tensors with few distinct values become codebook and codes, others stay as they are. Returns what was written.

    Raises:
        UserError: if the source is no such file or holds what cannot be packed.
    """
    state = read_tensors(source)
    if unknown := {name: tensor.dtype for name, tensor in state.items() if tensor.dtype not in DTYPES}:
        name, dtype = next(iter(unknown.items()))
        raise UserError(
            f"{source}: {name} is of {dtype}, which cannot be packed; possible: {', '.join(map(str, DTYPES))}"
        )
    try:
        data = pack_tensors(state)
        content = unpacked(data)  # before anything is written
    except (PackError, UnicodeEncodeError) as error:
        raise UserError(f"{source} cannot be packed: {error}") from None
    write_atomic(target, lambda temporary: temporary.write_bytes(data))
    return content


def pack_tensors(state: Mapping[str, Tensor]) -> bytes:
    """The packed file of these tensors."""
    found = {name: coded_of(tensor) for name, tensor in state.items()}
    coded = {name: code for name, code in found.items() if code is not None}
    return packed(coded, {name: tensor for name, tensor in state.items() if name not in coded})


def unpack(source: Path, target: Path, limit: float) -> dict[str, Tensor]:
    """Write the tensors of a packed file as safetensors, and return them. Raises as `decode` does."""
    state = decode(source, limit)
    write_tensors(target, state)
    return state


def decode(path: Path, limit: float) -> dict[str, Tensor]:
    """All tensors of a packed file, which may be a stranger's; every checksum is compared.

    Args:
        limit: bytes that the tensors may take together; nothing is decoded if they would take more.

    Raises:
        UserError: if the file is damaged, of another kind, or beyond the limit.
    """
    content = open_packed(path)
    try:
        size = sum(content.bytes_of(entry) for entry in content.entries)
        if size > limit:
            found, allowed = f"{size / 2**30:.1f} GiB", f"{limit / 2**30:g} GiB"
            raise UserError(f"{path} holds {found} of tensors, the limit is {allowed}; raise --limit if you trust it")
        return {entry.name: content.tensor(entry) for entry in content.entries}
    except PackError as error:
        raise UserError(f"{path} cannot be decoded: {error}") from None


def open_packed(path: Path) -> Packed:
    """A packed file's content, all checksums compared, nothing decoded. Raises `UserError`."""
    try:
        return unpacked(_existing(path).read_bytes())
    except PackError as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a saved state_dict. Raises `UserError`."""
    return _state_dict(path) if _existing(path).suffix in STATE_DICT else _safetensors(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        endings = ", ".join(f"*{ending}" for ending in sorted(STATE_DICT))
        raise UserError(f"{path} is not safetensors ({error}), and not named as torch saves: {endings}") from None


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can end in any
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path} is no state_dict that torch saved: {type(error).__name__}: {reason}") from None
    if not isinstance(state, dict) or not all(isinstance(k, str) and _is_plain(t) for k, t in state.items()):
        keys = f"; it has {', '.join(map(str, list(state)[:5]))}" if isinstance(state, dict) else ""
        raise UserError(
            f"{path} has not a dense tensor under each name, as a state_dict has{keys}; save model.state_dict()"
        )
    return dict(state)


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"no file {path}")
    return path


def difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    """How two sets of tensors differ, in words; "" if they are the same to the bit."""
    for name in sorted(theirs.keys() ^ ours.keys()):
        return f"{name} is in one of them only"
    for name, tensor in theirs.items():
        if ours[name].dtype != tensor.dtype or ours[name].shape != tensor.shape:
            return f"{name} is {ours[name].dtype} {list(ours[name].shape)}, not {tensor.dtype} {list(tensor.shape)}"
        if to_bytes(ours[name]) != to_bytes(tensor):
            return f"the numbers of {name} differ"
    return ""
