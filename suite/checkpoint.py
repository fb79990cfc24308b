"""The last good state of a trial or baseline, enough to go on bit-exactly. Written at step boundaries, atomically."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from suite.files import write_atomic
from suite.quant.dither import Dither
from suite.quant.layer import Layer

SCHEMA = 2


@dataclass
class Position:
    """How far a trial is. All of it is JSON; tensors are saved beside it."""

    stage: int = 0  # the stage that is under way
    snapped: bool = False  # whether its weights are snapped already, and its re-training has begun
    step: int = 0  # training steps finished before this stage's re-training
    done: int = 0  # steps of this stage's re-training that are finished
    records: list[dict[str, Any]] = field(default_factory=list)  # of the stages so far, for the result
    memory: dict[str, Any] = field(default_factory=dict)  # the method's own
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass
class Checkpoint:
    """Everything that a resumed trial needs."""

    position: Position
    model: dict[str, Tensor]
    layers: dict[str, dict[str, Any]]  # fields of `Layer` except the weight
    optimizer: dict[str, Any] | None
    totals: Tensor


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`; a kill at any moment leaves the old or the new one."""
    content = {
        "schema": SCHEMA,
        "position": json.dumps(vars(checkpoint.position)),
        "model": checkpoint.model,
        "layers": checkpoint.layers,
        "optimizer": checkpoint.optimizer,
        "totals": checkpoint.totals,
    }
    write_atomic(path, lambda temporary: torch.save(content, temporary))


def load(path: Path, device: torch.device) -> Checkpoint | None:
    """The checkpoint at `path`, or None if there is none. Only tensors and plain values are unpickled."""
    if not path.exists():
        return None
    content = torch.load(path, map_location=device, weights_only=True)
    if content["schema"] != SCHEMA:
        raise ValueError(
            f"{path} has schema {content['schema']}, this version reads {SCHEMA}; delete it to start the trial anew"
        )
    position = Position(**json.loads(content["position"]))
    return Checkpoint(position, content["model"], content["layers"], content["optimizer"], content["totals"])


def layer_tensors(layers: dict[str, Layer]) -> dict[str, dict[str, Any]]:
    """The quantizer's state of each layer, for a checkpoint."""
    return {key: _tensors(layer) for key, layer in layers.items()}


def _tensors(layer: Layer) -> dict[str, Any]:
    names = ("live", "frozen", "codes", "codebook", "fixed", "scale", "learned")
    dither = layer.dither and astuple(layer.dither)
    return {name: getattr(layer, name) for name in names} | {"dither": dither}


def restore_layers(layers: dict[str, Layer], saved: dict[str, dict[str, Any]]) -> None:
    """Put saved state back; codebooks stay on the CPU, the rest goes to the weights' device."""
    for key, kept in saved.items():
        layer = layers[key]
        layer.live, layer.frozen, layer.codes = kept["live"], kept["frozen"], kept["codes"]
        layer.codebook, layer.fixed = kept["codebook"].cpu(), kept["fixed"].cpu()
        layer.scale = None if kept["scale"] is None else kept["scale"].cpu()
        layer.dither = kept["dither"] and Dither(*kept["dither"])
        layer.learned = {name: tensor.requires_grad_() for name, tensor in kept["learned"].items()}
