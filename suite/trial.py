"""One trial from start to end: baseline, stages of quantization and re-training, evaluation, packing, result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from suite.baseline import obtain_baseline
from suite.config import Trial
from suite.data import open_data
from suite.evaluate import HeldOutLoss
from suite.ledger import Ledger, OpenAttempt, Work
from suite.methods.base import Net
from suite.pack.size import index_width, measure
from suite.pack.store import load_network, save_network, verify
from suite.pruning import obtain_start
from suite.quant.layer import Layer, frozen_fraction
from suite.session import Session
from suite.system import sampled


def run_trial(trial: Trial, ledger: Ledger, data_root: Path) -> bool:
    """Claim the trial and carry it to its result, from its last checkpoint if there is one.

    Returns:
        False if the trial is done already or somebody else is at it.

    Raises:
        Whatever went wrong, after it has been recorded in the attempt's folder.
    """
    attempt = ledger.trial(trial.id).try_claim(trial.config())
    if attempt is None:
        return False
    with attempt.running():
        attempt.finish(_carry_out(trial, ledger, data_root, attempt))
    return True


def _carry_out(trial: Trial, ledger: Ledger, data_root: Path, attempt: OpenAttempt) -> dict[str, Any]:
    source = open_data(trial.data, data_root, ledger.root / "cache", trial.runtime.readers)
    baseline = obtain_baseline(trial, ledger, source, data_root, attempt)
    found = baseline.result() or {}
    attempt.emit("baseline", id=baseline.id, **found["metrics"])
    start = obtain_start(trial, ledger, source, baseline, attempt)
    began = (start.result() or {})["metrics"]
    session = Session(
        trial,
        trial.method,
        attempt,
        source,
        lambda model: load_network(start.model, model),
        pruned=trial.prune is not None,
    )
    _refuse_not_finite(session.layers)
    with sampled(attempt.path, session.compute.device):
        _stages(session)
        metrics = session.evaluate()
    attempt.emit("final", step=session.position.step, **asdict(metrics))
    _pack(session, attempt.work)
    return {
        "trial": trial.id,
        "config": trial.config(),
        "baseline": {"id": baseline.id, **found["metrics"]},
        "start": {"id": start.id, "kept": 1.0, **began},
        "quantized": asdict(metrics),
        "stages": session.position.records,
        "layers": [_layer_facts(name, layer) for name, layer in session.layers.items()],
        "size": asdict(measure(session.model, session.layers, attempt.work.model)),
        "cost": session.cost(),
        "sources": {"data_sha256": source.fingerprint, "attempts": [a.number for a in attempt.work.attempts()]},
    }


def _stages(session: Session) -> None:
    """Quantize some, re-train the rest, and so on; nothing is trained after the last snap."""
    position = session.position
    net = network_of(session)
    stages = session.method.stages(len(session.layers))
    steps = _steps(session, stages)
    while position.stage < stages:
        if not position.snapped:
            _snap(session, net, stages)
        if position.stage == stages - 1:
            return
        count = steps[position.stage]
        session.train(session.trial.retrain, count, sum(steps), stage=position.stage + 1, stages=stages)
        _close_stage(session, count, stages)


def network_of(session: Session) -> Net:
    """The running trial as its method sees it."""
    loss = HeldOutLoss(session.model, session.data, session.compute)

    def sample(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        return session.data.sample(count, session.compute.device)

    return Net(session.layers, loss, session.trial.seed, session.model, sample, session.position.memory, loss.changed)


def _snap(session: Session, net: Net, stages: int) -> None:
    position = session.position
    decision = session.method.quantize(position.stage, net)
    with session.seen_weights(0.0) if position.stage < stages - 1 else nullcontext():
        metrics = asdict(session.evaluate())
    frozen = frozen_fraction(session.layers)
    facts = {"stage": position.stage + 1, "frozen": frozen}
    by_layer = {name: frozen_fraction({name: layer}) for name, layer in session.layers.items()}
    session.attempt.emit(
        "snap", stages=stages, step=position.step, **facts, frozen_by_layer=by_layer, **metrics, **decision
    )
    session.attempt.say(
        f"stage {position.stage + 1} of {stages}: {frozen:.1%} of the weights are frozen, top-1 {metrics['top1']:.2%}"
    )
    position.records.append({**facts, "clusters": decision["clusters"], "snapped": metrics, "retrained": None})
    position.snapped = True
    session.save()


def _close_stage(session: Session, steps: int, stages: int) -> None:
    position = session.position
    with session.seen_weights(1.0):
        metrics = asdict(session.evaluate())
    position.step, position.done = position.step + steps, 0
    session.attempt.emit("eval", stage=position.stage + 1, stages=stages, step=position.step, **metrics)
    position.records[-1]["retrained"] = metrics
    position.stage, position.snapped = position.stage + 1, False
    session.save()


def _steps(session: Session, stages: int) -> list[int]:
    """Training steps after each stage but the last."""
    phases, steps = max(stages - 1, 0), session.data.steps(session.trial.retrain)
    if session.trial.retrain.budget == "stage":
        return [steps] * phases
    return [steps // phases + (i < steps % phases) for i in range(phases)]


def _pack(session: Session, work: Work) -> None:
    session.attempt.check()
    save_network(work.model, session.model, session.masked())
    verify(work.model, session.model)


def _refuse_not_finite(layers: dict[str, Layer]) -> None:
    for name, layer in layers.items():
        if not bool(torch.isfinite(layer.weight).all()):
            raise ValueError(
                f"layer {name} has NaN or infinite weights and cannot be quantized; its baseline is broken"
            )


def _layer_facts(name: str, layer: Layer) -> dict[str, Any]:
    return {
        "name": name,
        "weights": layer.weight.numel(),
        "values": len(torch.unique(layer.weight.detach())),
        "index_bits": index_width(len(layer.codebook)),
        "codebook": layer.codebook.tolist(),
    }
