"""The quantized network as a file, and what it takes in bits.

From Python, without the command line:

    from suite.pack import decode, load_compressed, load_network, pack, unpack, verify

    pack(model.state_dict(), Path("m.slq"), metadata={"network": "mine"})   # or pack(Path("m.safetensors"), Path("m.slq"))
    pack(Path("m.safetensors"), Path("m.slq"), coder="smallest")       # tries all coders, however long that takes
    verify(Path("m.slq"), against=model.state_dict())
    state = decode(Path("m.slq"))                      # a state_dict, to the bit
    unpack(Path("m.slq"), Path("m.safetensors"))       # one tensor in memory at a time
    load_network(Path("m.slq"), model)                 # a network ready to run
    load_compressed(Path("m.slq"), model)              # the same with codes and codebooks in memory, decoded layer by layer
    export_onnx(Path("m.slq"), model, images, Path("m.onnx"))

What is wrong with a file raises `PackError`, other mistakes `suite.errors.UserError`, of which it is one. The names are
loaded when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.pack.compressed import load_compressed
    from suite.pack.convert import decode, inspect, pack, unpack, verify
    from suite.pack.errors import PackError
    from suite.pack.onnx_file import export_onnx
    from suite.pack.store import load_network

_HOMES = {
    "PackError": "errors",
    "decode": "convert",
    "export_onnx": "onnx_file",
    "inspect": "convert",
    "load_compressed": "compressed",
    "load_network": "store",
    "pack": "convert",
    "unpack": "convert",
    "verify": "convert",
}

__all__ = [
    "PackError",
    "decode",
    "export_onnx",
    "inspect",
    "load_compressed",
    "load_network",
    "pack",
    "unpack",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
