"""MLQ, multiple-level quantization (same paper as SLQ): clusters AND layers are partitioned.

Layers are quantized group by group; the layers that are not quantized yet are re-trained and make up for the loss (incremental
layer compensation, ILC). Within a group a layer passes the states of the traces in the authors' released code: untouched; outer
clusters fixed and the rest trainable; all centres free once more, all weights fixed. No centre is pinned to zero.

Stated choices, where no source is accessible: each group passes all its states before the next group starts; the 3-bit schedule;
the start of the centres. "Outer" clusters are those of the smallest and the largest centres.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from suite.methods.base import FreezeMethod, Net, check_schedule
from suite.quant.init import codebook_size, first_centres
from suite.quant.layer import Layer
from suite.quant.partition import per_layer

# Clusters fixed in each state of a layer. 2 bits: the two outer ones, then all three (traces in the released code); 3 bits: ours.
SCHEDULES = {2: (2, 3), 3: (2, 4, 5)}


class MLQ(FreezeMethod):
    """Multiple-level quantization to 2 bits (ternary, three free centres) or 3 bits (five)."""

    name: Literal["mlq"] = "mlq"
    title: ClassVar[str] = "MLQ"
    bits: int = Field(ge=2, le=3, description="Bits per weight; K = 2^(bits-1)+1 centres.")
    compensation: bool = Field(
        True, description="Incremental layer compensation: group by group. false: all layers together (ablation)."
    )
    groups: int | None = Field(None, ge=1, description="Layer groups; null: every layer is a group of its own.")
    order: Literal["forward", "backward", "loss"] = Field(
        "forward",
        description="Order of the layers; loss: those whose quantization raises the held-out loss most come first.",
    )
    schedule: tuple[int, ...] = Field(
        default_factory=lambda options: SCHEDULES.get(options.get("bits", 2), ()),
        description="Clusters of a layer that are fixed after each of its states; ends with all K.",
    )
    init: Literal["ladder", "kmeans++", "quantile", "linear", "exact"] = Field(
        "kmeans++", description="Start of the centres."
    )
    rounds: int = Field(10, ge=1, description="Lloyd rounds per state (released code: 10).")

    @model_validator(mode="after")
    def _possible(self) -> MLQ:
        check_schedule(self.schedule, codebook_size(self.bits))
        if not self.compensation and self.groups not in (None, 1):
            raise ValueError(
                f"groups {self.groups} with compensation false: without compensation all layers form one group"
            )
        if not self.compensation and self.order != "forward":
            raise ValueError(
                f"order {self.order!r} with compensation false: without compensation no layer comes before another"
            )
        return self

    @property
    def label(self) -> str:
        return f"MLQ {self.bits}b {self.order}" if self.compensation else f"MLQ {self.bits}b no-ILC"

    @property
    def as_published(self) -> bool:
        return self.compensation

    def stages(self, layers: int) -> int:
        return self._groups(layers) * len(self.schedule)

    def quantize(self, stage: int, net: Net) -> dict[str, Any]:
        if stage == 0:
            self._start(net)
            net.memory["order"] = self._order(net)
        group, state = divmod(stage, len(self.schedule))
        names = self._group(net, group)
        for name in names:
            self._advance(net.layers[name], state)
        return {"clusters": self.schedule[state], "layers": names, "state": state + 1}

    def _start(self, net: Net) -> None:
        """A first codebook for every layer, so that all layers can be judged before any is quantized."""
        for number, layer in enumerate(net.layers.values()):
            layer.start(first_centres(self.init, layer.values(), codebook_size(self.bits), net.generator(number)))

    def _order(self, net: Net) -> list[str]:
        names = list(net.layers)
        if self.order == "loss":
            impact = self._impacts(net)
            return sorted(names, key=lambda name: -impact[name])
        return names if self.order == "forward" else names[::-1]

    def _impacts(self, net: Net) -> dict[str, float]:
        """The held-out loss with each layer alone quantized; the layers' centres stay where they start."""
        everything = {name: torch.ones_like(layer.fixed) for name, layer in net.layers.items()}
        starts = {name: layer.codebook for name, layer in net.layers.items()}
        for name, layer in net.layers.items():
            layer.recluster(everything[name], self.rounds)
        losses = net.losses_if_snapped({name: [clusters] for name, clusters in everything.items()})
        for name, layer in net.layers.items():
            layer.start(starts[name])
        return {name: loss for name, (loss,) in losses.items()}

    def _groups(self, layers: int) -> int:
        if not self.compensation:
            return 1
        if self.groups is not None and self.groups > layers:
            raise ValueError(f"groups {self.groups} is more than the {layers} layers this network has for quantization")
        return self.groups or layers

    def _group(self, net: Net, group: int) -> list[str]:
        """The layers of a group; sizes differ by at most one, the earlier groups are the larger ones."""
        order: list[str] = net.memory["order"]
        size, larger = divmod(len(order), self._groups(len(order)))
        first = group * size + min(group, larger)
        return order[first : first + size + (group < larger)]

    def _advance(self, layer: Layer, state: int) -> None:
        """Move one layer to its next state: outer clusters first, at last every weight with all centres free."""
        if state == len(self.schedule) - 1:
            layer.recluster_all(self.rounds)
            layer.fix(torch.ones_like(layer.fixed))
        else:
            layer.recluster(~layer.fixed, self.rounds)
            layer.fix(per_layer({"": _outwardness(layer.codebook)}, {"": layer.fixed}, self.schedule[state])[""])


def _outwardness(centres: Tensor) -> Tensor:
    """How far each centre, (K,), is from the middle one in their order: the smallest and the largest are the outermost."""
    ranks = centres.argsort().argsort()
    return (ranks - (len(centres) - 1) / 2).abs()
