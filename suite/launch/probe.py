"""What trials of a new kind will cost: a minute of their own training and evaluation, on the hardware that will run them.

Not counted: reading data for the first time, compiling, and the losses that partitions are ranked by.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from suite.config import Recipe, Trial
from suite.data import BatchRequest, DataSource, open_data
from suite.errors import UserError
from suite.evaluate import BATCH
from suite.launch import frozen
from suite.launch.site import Site
from suite.ledger import Ledger, State
from suite.nets import build_network
from suite.session import best_device
from suite.train import Compute, Phase, TrainingData, make_deterministic, make_optimizer, plain, train

SECONDS = 60.0  # for all kinds together
WARM = 2  # batches that are not counted
ENDLESS = 10**9  # steps


@dataclass(frozen=True)
class Pace:
    """Seconds an image."""

    train: float  # forward, backward, step
    test: float


@dataclass(frozen=True)
class Probe:
    """What a compute node runs; the trials are JSON."""

    trials: tuple[str, ...]
    root: str
    sweep: str
    data_root: str

    def __call__(self) -> dict[str, float]:
        trials = [Trial.model_validate_json(trial) for trial in self.trials]
        return probe(trials, Ledger(Path(self.root), self.sweep), Path(self.data_root))


def probe(trials: Sequence[Trial], ledger: Ledger, data_root: Path, seconds: float = SECONDS) -> dict[str, float]:
    """Seconds that each trial will take, by id; the first trial of a baseline that is not made yet has that, too."""
    kinds = {_kind(trial): trial for trial in trials}
    sources = {trial.data: open_data(trial.data, data_root, ledger.root / "cache") for trial in kinds.values()}
    paces = {kind: measure(trial, sources[trial.data], seconds / len(kinds)) for kind, trial in kinds.items()}
    needed = {identity for trial in trials for identity in trial.start_ids}
    made = {identity for identity in needed if ledger.baseline(identity).state() is State.DONE}
    costs = {}
    for trial in trials:
        pace, data = paces[_kind(trial)], TrainingData.split(sources[trial.data], trial.holdout)
        missing = [identity for identity in trial.start_ids if identity not in made]
        costs[trial.id] = cost(trial, data, pace, missing)
        made.update(missing)
    return costs


def probe_on_site(
    trials: Sequence[Trial], ledger: Ledger, data_root: Path, site: Site, code: frozen.Frozen
) -> dict[str, float]:
    """Run the probe with the frozen code as a job of its own, and wait for it; if that is interrupted the job is cancelled.

    Raises:
        UserError: if the job fails.
    """
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, UncompletedJobError

    executor = SlurmExecutor(ledger.path / "probe", python=site.command())
    executor.update_parameters(
        **site.submitit_parameters(
            job_name=f"slq-probe-{ledger.sweep}", setup=frozen.shell_lines(code.path), teardown=[]
        )
    )
    texts = tuple(trial.model_dump_json() for trial in trials)
    try:
        job = executor.submit(Probe(texts, str(ledger.root), ledger.sweep, site.data_root or str(data_root)))
    except FailedJobError as error:
        raise UserError(f"the probe was refused: {error}\nsee: slq site check {site.name}") from None
    try:
        seconds: dict[str, float] = job.result()
    except UncompletedJobError as error:
        raise UserError(
            f"the probe failed: {error}\nsubmit without --probe, or see: slq site check {site.name}"
        ) from None
    finally:
        job.cancel(check=False)
    return seconds


def _kind(trial: Trial) -> str:
    """What decides how long an image takes."""
    settings = (trial.precision, trial.channels_last, trial.threads, trial.retrain.batch_size, trial.retrain.optimizer)
    return json.dumps([trial.network, trial.data, *settings])


def cost(trial: Trial, data: TrainingData, pace: Pace, starts: Sequence[str]) -> float:
    """Seconds of a trial: what it trains, its evaluations (two a stage, one at the end), and the `starts` it has to make first."""
    stages = trial.method.stages(len(trial.method.select(trial.layer_names())))
    phases = max(stages - 1, 0) if trial.retrain.budget == "stage" else min(stages - 1, 1)
    trained = max(phases, 0) * _images(data, trial.retrain)
    if trial.baseline_id in starts:
        trained += _images(data, trial.baseline)
    if trial.prune is not None and trial.start_id in starts:
        trained += _images(data, trial.prune)
    tested = data.source.count("test") * (2 * stages + 1 + len(starts))
    return trained * pace.train + tested * pace.test


def _images(data: TrainingData, recipe: Recipe) -> int:
    return data.steps(recipe) * recipe.batch_size


def measure(trial: Trial, source: DataSource, seconds: float) -> Pace:
    """Train and evaluate for so many seconds, half of them each."""
    make_deterministic(trial.threads)
    info, compute = source.info, Compute(best_device(), trial.precision == "bfloat16")
    model = build_network(trial.network, info.channels, info.size, info.classes, trial.seed).to(compute.device)
    if trial.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = TrainingData.split(source, trial.holdout)
    return Pace(_training(model, trial, data, compute, seconds / 2), _testing(model, source, compute, seconds / 2))


class _TimeIsUpError(Exception):
    pass


class _Watch:
    """Time of each batch after the first ones, until the time is up."""

    def __init__(self, seconds: float, device: torch.device) -> None:
        self._device, self._end = device, time.monotonic() + seconds
        self._moments: list[float] = []

    def tick(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self._moments.append(time.monotonic())
        if self._moments[-1] > self._end and len(self._moments) > WARM + 1:
            raise _TimeIsUpError

    def per_batch(self) -> float:
        first, last = self._moments[min(WARM, len(self._moments) - 2)], self._moments[-1]
        return (last - first) / max(1, len(self._moments) - 1 - WARM)


def _training(model: nn.Module, trial: Trial, data: TrainingData, compute: Compute, seconds: float) -> float:
    watch, recipe = _Watch(seconds, compute.device), trial.retrain
    optimizer = make_optimizer(list(model.parameters()), recipe)
    try:
        phase = Phase(0, ENDLESS)
        train(
            model,
            plain(model),
            optimizer,
            optimizer.step,
            data,
            recipe,
            trial.seed,
            phase,
            compute,
            lambda _: watch.tick(),
        )
    except _TimeIsUpError:
        pass
    return watch.per_batch() / min(recipe.batch_size, len(data.used))


@torch.inference_mode()
def _testing(model: nn.Module, source: DataSource, compute: Compute, seconds: float) -> float:
    model.eval()
    watch = _Watch(seconds, compute.device)
    requests = [BatchRequest(part, None) for part in torch.split(torch.arange(source.count("test")), BATCH)]
    try:
        for images, _ in _again_and_again(source, requests, compute.device):
            with compute.autocast():
                model(images)
            watch.tick()
    except _TimeIsUpError:
        pass
    return watch.per_batch() / min(BATCH, source.count("test"))


def _again_and_again(source: DataSource, requests: list[BatchRequest], device: torch.device) -> Iterator[Any]:
    return chain.from_iterable(source.batches("test", requests, device) for _ in iter(int, 1))
