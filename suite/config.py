"""A trial: everything that decides its outcome, frozen, typed, strict. Its identity is the hash of its canonical form.

All defaults of a sweep file are the defaults of the fields here and of the methods' own options (suite/methods).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from suite.data import DATASETS
from suite.errors import choices
from suite.methods import AnyMethod
from suite.nets import NETWORKS, layer_names

SCHEMA = 2  # of the canonical form; raising it gives every trial a new identity
NOT_IDENTITY = {"runtime"}  # fields that cannot change the outcome


def _known(name: str, registry: dict[str, Any], what: str) -> str:
    if name not in registry:
        raise ValueError(f"unknown {what} {name!r}{choices(name, registry)}")
    return name


NetworkName = Annotated[
    str, AfterValidator(lambda name: _known(name, NETWORKS, "network")), Field(json_schema_extra={"enum": [*NETWORKS]})
]
DataName = Annotated[
    str, AfterValidator(lambda name: _known(name, DATASETS, "data set")), Field(json_schema_extra={"enum": [*DATASETS]})
]


class Strict(BaseModel):
    """Unknown keys are errors, values cannot change, numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Recipe(Strict):
    """How to train. The learning rate starts anew whenever training starts."""

    epochs: float = Field(10, ge=0)
    batch_size: int = Field(128, ge=1)
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(0.05, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="Of SGD; Adam has its own.")
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["constant", "step", "cosine"] = "cosine"
    milestones: tuple[float, ...] = Field(
        (0.5, 0.75), description="step: where the rate falls, as fractions of the training."
    )
    gamma: float = Field(0.1, gt=0, description="step: factor at each milestone.")


class Baseline(Recipe):
    """The full-precision starting point, trained once for all trials that describe it alike."""

    weights: Literal["random", "published"] = Field(
        "random", description="Where training starts; published: weights that lie below the data root."
    )


class Retrain(Recipe):
    """Re-training between the stages of a method."""

    epochs: float = Field(3, ge=0)
    learning_rate: float = Field(0.01, gt=0)
    budget: Literal["stage", "trial"] = Field(
        "stage",
        description="Whether `epochs` is spent at every stage (as published) or is shared equally by all stages of a trial, "
        "so that methods with different numbers of stages train equally long.",
    )


class Prune(Recipe):
    """Magnitude pruning with re-training, before the method begins; made once for all trials that describe it alike."""

    kept: float | dict[str, float] = Field(
        description="Fraction of the weights that stays: a number is of all layers together, which share one threshold; by layer "
        "(`{conv1: 0.66, fc1: 0.08}`) as published by Deep Compression; layers that are not named stay whole."
    )
    rounds: int = Field(1, ge=1, description="Prune so often, less and less each time (cubic, Zhu and Gupta 2017).")
    ramp: float = Field(0.5, gt=0, lt=1, description="Part of the epochs that lies before the last round.")
    learning_rate: float = Field(0.01, gt=0)

    @field_validator("kept")
    @classmethod
    def _fractions(cls, kept: float | dict[str, float]) -> float | dict[str, float]:
        wrong = [f for f in (kept.values() if isinstance(kept, dict) else [kept]) if not 0 < f <= 1]
        if wrong:
            raise ValueError(f"kept {wrong[0]} is not a fraction of the weights; it must be above 0 and at most 1")
        return kept


class Runtime(Strict):
    """How to run, without any influence on the outcome: not part of a trial's identity."""

    checkpoint_seconds: float = Field(30, gt=0, description="Time between checkpoints, at step boundaries.")
    log_steps: int = Field(20, ge=1, description="Training steps per recorded point.")
    readers: int = Field(4, ge=0, description="Processes that read and augment ImageNet's images.")


class Trial(Strict):
    """One run: a network trained on data, quantized by a method, with one seed."""

    network: NetworkName
    data: DataName
    method: AnyMethod
    seed: int = Field(0, ge=0)
    baseline: Baseline = Baseline()
    prune: Prune | None = None
    retrain: Retrain = Retrain()
    holdout: int = Field(
        256,
        ge=1,
        description="Training images set aside for measuring the loss of partitions; no training here uses them.",
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Of activations; bfloat16 by autocast.")
    channels_last: bool = Field(False, description="Memory layout; pays for convolutions on most machines.")
    compile: bool = Field(False, description="torch.compile; pays on CUDA for long trials.")
    threads: int = Field(1, ge=1, description="CPU threads of torch; part of the identity, as sums depend on it.")
    runtime: Runtime = Runtime()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.method.stages(len(self.method.select(self.layer_names())))
        images = DATASETS[self.data].training
        if images is not None and self.holdout >= images:
            raise ValueError(
                f"holdout {self.holdout} leaves nothing of the {images} training images; choose a smaller one"
            )
        if self.prune is not None and isinstance(self.prune.kept, dict):
            for name in self.prune.kept:
                _known(name, dict.fromkeys(self.layer_names()), f"layer of {self.network}")
        return self

    def _retrains(self) -> bool:
        """Whether there is a stage to re-train after: settings of a re-training that never happens decide nothing."""
        return self.method.stages(len(self.method.select(self.layer_names()))) > 1

    def layer_names(self) -> tuple[str, ...]:
        """Names of all layers of the network that could be quantized."""
        info = DATASETS[self.data]
        return layer_names(self.network, info.channels, info.size, info.classes)

    def config(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return self.model_dump(mode="json")

    def canonical(self) -> dict[str, Any]:
        """Those of the settings that decide the outcome, as JSON values: what `id` is the hash of."""
        without = NOT_IDENTITY if self._retrains() else NOT_IDENTITY | {"retrain"}
        return {name: value for name, value in self.config().items() if name not in without}

    @property
    def title(self) -> str:
        """The method's name in tables."""
        return self.method.title

    @property
    def as_published(self) -> bool:
        """Whether a published figure of the method may stand beside this trial."""
        return self.method.as_published

    @property
    def label(self) -> str:
        """Short name for people, what differs within a sweep first: "SLQ 5b loss s0 lenet5 digits"."""
        return f"{self.method.label} s{self.seed} {self.network} {self.data}"

    @property
    def id(self) -> str:
        """Readable prefix and hash: two trials have the same id exactly if they are the same experiment."""
        return f"{slug(self.method.label)}-{self.network}-{self.data}-s{self.seed}-{digest(self.canonical())}"

    @property
    def start_id(self) -> str:
        """Identity of the network that the method begins from: the baseline, or its pruned form."""
        if self.prune is None:
            return self.baseline_id
        return f"{self.network}-{self.data}-s{self.seed}-pruned-{digest(self.start_config())}"

    @property
    def start_ids(self) -> tuple[str, ...]:
        """What has to be made before the method begins, in this order."""
        return tuple(dict.fromkeys((self.baseline_id, self.start_id)))

    def start_config(self) -> dict[str, Any]:
        """Everything that decides the network that the method begins from."""
        if self.prune is None:
            return self.baseline_config()
        return self.baseline_config() | {"seed": self.seed, "prune": self.config()["prune"]}

    def baseline_config(self) -> dict[str, Any]:
        """Everything that decides the baseline. Published weights that are not trained further are the same for every seed."""
        whole = self.config()
        shared = ("network", "data", "baseline", "seed", "holdout", "precision", "channels_last", "compile", "threads")
        seed = self.seed if self.baseline.epochs or self.baseline.weights == "random" else 0
        return {name: whole[name] for name in shared} | {"seed": seed}

    @property
    def baseline_id(self) -> str:
        """Identity of the baseline: a readable prefix and the hash of `baseline_config`."""
        config = self.baseline_config()
        return f"{self.network}-{self.data}-s{config['seed']}-{digest(config)}"


def slug(text: str) -> str:
    """Lower case, with dashes for all but letters, digits and dots."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def digest(config: dict[str, Any]) -> str:
    """First 10 hexadecimal digits of the hash of a configuration in canonical form."""
    canonical = json.dumps({"schema": SCHEMA, **config}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def shared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of dotted settings, those that the trials of one row of a table have in common: no seed, and none without influence."""
    return {
        name: value
        for name, value in settings.items()
        if name.rpartition(".")[2] != "seed" and name.partition(".")[0] not in NOT_IDENTITY
    }


def dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level: `{"method": {"bits": 5}}` is `{"method.bits": 5}`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
