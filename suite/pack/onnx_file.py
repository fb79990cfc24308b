"""Packed networks as ONNX, in which coded weights stay codes and a codebook: the file is small, and any ONNX runtime runs it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from suite.errors import UserError
from suite.files import write_atomic
from suite.pack.compressed import NARROW, filled
from suite.pack.convert import open_packed
from suite.pack.store import load_network
from suite.quant.coded import Coded

if TYPE_CHECKING:
    from onnx import ModelProto

NEEDED = "exporting to ONNX needs the packages onnx and onnxscript: pip install 'slq-suite[onnx]'"
INPUT, OUTPUT = "images", "logits"


def export_onnx(path: Path, model: nn.Module, images: Tensor, target: Path) -> None:
    """Write a packed network as ONNX, with an input "images" (B, C, H, W), B being any number, and an output "logits".

    Weights that the file holds as codes of scalars stay so: `Gather` takes their values from the codebook, which runtimes do
    once, when they load the network. Others are written out.

    Args:
        path: the packed file.
        model: a network of the same architecture; it takes the stored weights, and is put into evaluation.
        images: an example, two images or more.

    Raises:
        UserError: if a package is missing, or if torch cannot export such a network.
        PackError: if the file is damaged.
        ValueError: if it is of another network.
    """
    _check_packages()
    load_network(path, model)
    written = _exported(model.eval(), images)
    content = open_packed(path)
    weights = {one.name for one in written.graph.initializer}
    for entry in content.entries:
        if entry.kind == "coded" and entry.name in weights:
            _compress(written, entry.name, content.coded(entry))
    _forget(written)
    _check(written)
    data: bytes = written.SerializeToString()
    write_atomic(target, lambda temporary: temporary.write_bytes(data))


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError(NEEDED) from None


def _exported(model: nn.Module, images: Tensor) -> ModelProto:
    """As torch writes it, without optimizing: that would multiply weights with what follows, and they were no codes any more."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about itself
            program = torch.onnx.export(
                model,
                (images,),
                dynamo=True,
                verbose=False,
                optimize=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"torch cannot export this network to ONNX: {reason}") from None
    assert program is not None
    return program.model_proto


def _compress(model: ModelProto, name: str, coded: Coded) -> None:
    """Put codes and codebook into the place of a weight, if it is there as it was, and if that is all there is to it."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    coded = filled(coded)
    place = next((number for number, one in enumerate(model.graph.initializer) if one.name == name), None)
    is_simple = coded.codebook.dim() == 1 and coded.live is None and coded.dither is None
    if place is None or not is_simple or coded.dtype != torch.float32:
        return
    narrow = np.uint8 if len(coded.codebook) <= NARROW else np.int16
    parts = {
        f"{name}.codes": coded.codes.reshape(coded.shape).numpy().astype(narrow),
        f"{name}.codebook": coded.codebook.float().numpy(),
    }
    chain = [
        helper.make_node("Cast", [f"{name}.codes"], [f"{name}.places"], to=TensorProto.INT32),
        helper.make_node("Gather", [f"{name}.codebook", f"{name}.places"], [name], axis=0),
    ]
    if coded.scale is not None:
        parts[f"{name}.scale"] = coded.scale.float().reshape(-1, *[1] * (len(coded.shape) - 1)).numpy()
        chain[-1].output[0] = f"{name}.unscaled"
        chain.append(helper.make_node("Mul", [f"{name}.unscaled", f"{name}.scale"], [name]))
    del model.graph.initializer[place]
    model.graph.initializer.extend(numpy_helper.from_array(array, part) for part, array in parts.items())
    nodes = [*chain, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _forget(model: ModelProto) -> None:
    """Remove what torch says of each node: lines and paths of the source it comes from, longer than a small network's codes."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _check(model: ModelProto) -> None:
    from onnx import checker

    checker.check_model(model)
