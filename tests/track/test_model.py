"""The packed network as an MLflow model: loaded by MLflow, it is the network that was evaluated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from suite.config import Trial
from suite.data import BatchRequest, open_data
from suite.ledger import Ledger
from suite.nets import build_network
from suite.pack.store import load_network
from suite.track import default_uri, store, sync
from suite.trial import run_trial
from tests.track.trials import (
    begin,
    client_of,
    finish,
    folder_of,
    models_of,
    planned,
    run,
    run_of,
)

Make = Callable[..., Trial]


def sorted_files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_model_is_the_packed_file_and_its_settings(ledger: Ledger) -> None:
    trial = planned("2.0b")
    run(ledger, trial)
    sync(ledger, [trial], default_uri(ledger.root))
    client, found = client_of(ledger), run_of(ledger, trial)
    (model,) = models_of(client, found)
    assert (model.name, str(model.status), model.model_type) == ("2-0b", "READY", "packed network")
    assert [output.model_id for output in found.outputs.model_outputs] == [model.model_id]
    folder, kept = folder_of(model.artifact_location), ledger.trial(trial.id).path
    assert [file for file in sorted_files(folder) if file.startswith("data/")] == [
        "data/network/config.json",
        "data/network/model.slq",
    ]
    assert (folder / "data/network/model.slq").read_bytes() == (kept / "model.slq").read_bytes()
    assert (folder / "data/network/config.json").read_bytes() == (kept / "config.json").read_bytes()
    assert "slq-suite==" in (folder / "requirements.txt").read_text()


def test_a_second_sync_makes_no_second_copy(ledger: Ledger) -> None:
    trial, uri = planned("a"), default_uri(ledger.root)
    run(ledger, trial)
    sync(ledger, [trial], uri)
    before = sorted_files(ledger.root / "mlartifacts")
    sync(ledger, [], uri)  # an orphan now: its run is written to
    sync(ledger, [trial], uri)
    assert sorted_files(ledger.root / "mlartifacts") == before


def test_a_result_made_again_replaces_the_model(ledger: Ledger) -> None:
    trial, uri = planned("a"), default_uri(ledger.root)
    run(ledger, trial)
    sync(ledger, [trial], uri)
    (first,) = models_of(client_of(ledger), run_of(ledger, trial))
    (ledger.trial("a").path / "result.json").unlink()
    with begin(ledger, trial).running() as attempt:
        finish(attempt, top1=0.5)
    sync(ledger, [trial], uri)
    experiment = run_of(ledger, trial).info.experiment_id
    (second,) = client_of(ledger).search_logged_models([experiment])
    assert second.model_id != first.model_id


@pytest.mark.parametrize("content", [None, b"a file of plain numbers"], ids=["deleted", "full precision"])
def test_without_a_packed_network_there_is_no_model(ledger: Ledger, content: bytes | None) -> None:
    trial = planned("a")
    run(ledger, trial)
    file = ledger.trial("a").model
    file.unlink() if content is None else file.write_bytes(content)
    sync(ledger, [trial], default_uri(ledger.root))
    assert run_of(ledger, trial).info.status == "FINISHED"
    assert models_of(client_of(ledger), run_of(ledger, trial)) == []


def evaluated(trial: Trial, ledger: Ledger) -> NDArray[np.float32]:
    """Logits of the first test images, (5, 10), from the trial's network as `suite.evaluate` sees it."""
    model = build_network(trial.network, 1, 28, 10, seed=1).eval()
    load_network(ledger.trial(trial.id).model, model)
    source = open_data(trial.data, Path("data"), ledger.root / "cache")
    ((images, _),) = source.batches("test", [BatchRequest(torch.arange(5), None)], torch.device("cpu"))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=trial.precision == "bfloat16"):
        return model(images).float().numpy()


def pixels() -> NDArray[np.uint8]:
    from suite.data.digits import load_digits

    return load_digits()["test"].images[:5].numpy()


@pytest.mark.slow
def test_mlflow_predicts_what_was_evaluated(ledger: Ledger, make_trial: Make, tmp_path: Path) -> None:
    """`mlflow models predict`, in a process of its own, and MLflow's `load_model` with its checks of the signature."""
    import mlflow

    trials = [make_trial({"name": "slq", "bits": 3}), make_trial({"name": "kmeans", "bits": 3}, precision="bfloat16")]
    for trial in trials:
        assert run_trial(trial, ledger, tmp_path / "data")
    uri = default_uri(ledger.root)
    sync(ledger, trials, uri)
    for trial in trials:
        (model,) = models_of(client_of(ledger), run_of(ledger, trial))
        loaded = mlflow.pyfunc.load_model(str(folder_of(model.artifact_location)))
        np.testing.assert_allclose(loaded.predict(pixels()), evaluated(trial, ledger), atol=1e-5)
        with pytest.raises(mlflow.MlflowException, match="shape"):
            loaded.predict(pixels()[:, 0])
        assert loaded.predict(loaded.input_example).shape == (1, 10)
    (model,) = models_of(client_of(ledger), run_of(ledger, trials[0]))
    answer = predicted(model.model_id, uri, tmp_path)
    np.testing.assert_allclose(answer, evaluated(trials[0], ledger), atol=1e-5)


def predicted(model: str, uri: str, folder: Path) -> Any:
    (folder / "images.json").write_text(json.dumps({"inputs": pixels().tolist()}))
    command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", f"models:/{model}", "--env-manager", "local"]
    files = ["-i", "images.json", "-o", "answer.json", "-t", "json"]
    environment = {**os.environ, **store.ENVIRONMENT, "MLFLOW_TRACKING_URI": uri}
    subprocess.run([*command, *files], cwd=folder, env=environment, check=True, timeout=120)
    return json.loads((folder / "answer.json").read_text())["predictions"]
