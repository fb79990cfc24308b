"""Pruned starting points: made once per description from a baseline, shared by every trial that describes the same one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from suite.baseline import obtain, refuse_other_data
from suite.config import Prune, Trial
from suite.data import DataSource
from suite.ledger import Ledger, OpenAttempt, Work
from suite.methods import FullPrecision
from suite.pack.store import load_network, save_network, verify
from suite.quant.layer import Layer
from suite.quant.prune import keep_largest, keep_largest_of_all, kept_after
from suite.session import Session


def obtain_start(trial: Trial, ledger: Ledger, source: DataSource, baseline: Work, asker: OpenAttempt) -> Work:
    """The network that the trial's method begins from: the baseline, or its pruned form, found, made or waited for."""
    prune = trial.prune
    if prune is None:
        return baseline
    work = ledger.baseline(trial.start_id)
    obtain(work, trial.start_config(), lambda attempt: _make(trial, prune, source, baseline.model, attempt), asker)
    refuse_other_data(work, source)
    return work


def _make(trial: Trial, prune: Prune, source: DataSource, baseline: Path, attempt: OpenAttempt) -> dict[str, Any]:
    session = Session(trial, FullPrecision(), attempt, source, lambda model: load_network(baseline, model), pruned=True)
    steps = _steps(session.data.steps(prune), prune)
    position = session.position
    for number in range(position.stage, prune.rounds):
        if not position.snapped:
            kept = _prune(session.pruned, prune, number + 1)
            attempt.say(f"round {number + 1} of {prune.rounds}: {kept:.2%} of the weights are kept")
            position.snapped = True
            session.save()
        session.train(prune, steps[number], sum(steps), stage=number + 1, stages=prune.rounds)
        position.step, position.done = position.step + steps[number], 0
        position.stage, position.snapped = number + 1, False
        session.save()
    metrics = asdict(session.evaluate())
    attempt.emit("final", step=position.step, **metrics)
    attempt.check()
    save_network(attempt.work.model, session.model, {})
    verify(attempt.work.model, session.model)
    return {
        "baseline": trial.baseline_id,
        "config": trial.start_config(),
        "metrics": metrics | {"kept": _kept(session.pruned)},
        "layers": {
            name: float(layer.live.float().mean()) for name, layer in session.pruned.items() if layer.live is not None
        },
        "cost": session.cost(),
        "data_sha256": source.fingerprint,
    }


def _prune(layers: dict[str, Layer], prune: Prune, number: int) -> float:
    """Prune for round 1, 2, ...; returns the fraction kept. What is pruned stays pruned, as its magnitude is zero."""
    weights = {name: layer.weight for name, layer in layers.items()}
    if isinstance(prune.kept, float):
        masks = keep_largest_of_all(weights, kept_after(prune.kept, number, prune.rounds))
    else:
        fractions = {name: kept_after(prune.kept.get(name, 1.0), number, prune.rounds) for name in layers}
        masks = keep_largest(weights, fractions)
    for name, layer in layers.items():
        layer.live, layer.frozen = masks[name], ~masks[name]
        layer.weight.data.masked_fill_(layer.frozen, 0.0)
    return _kept(layers)


def _kept(layers: dict[str, Layer]) -> float:
    live = sum(int(layer.live.sum()) for layer in layers.values() if layer.live is not None)
    return live / sum(layer.weight.numel() for layer in layers.values())


def _steps(steps: int, prune: Prune) -> list[int]:
    """Training steps after each round: all but the last share the ramp equally, the last has the rest."""
    if prune.rounds == 1:
        return [steps]
    each = round(steps * prune.ramp) // (prune.rounds - 1)
    return [each] * (prune.rounds - 1) + [steps - each * (prune.rounds - 1)]
