"""A finished trial's packed network as an MLflow model: the file as it is, and the name of a loader. Nothing is pickled."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from suite.data import DATASETS
from suite.errors import UserError
from suite.files import read_json
from suite.track import served

TYPE = "packed network"
_UNNAMEABLE = str.maketrans(dict.fromkeys("/:.%\"'", "-"))  # MLflow takes none of these in a model's name


def log_model(client: Any, run: Any, trial: str, packed: Path, *, known: bool) -> None:
    """Give a run its model, unless it has it; a run that is not `known` from before has none.

    `packed` lies in the trial's folder, beside its settings.
    """
    if (data := (read_json(packed.parent / served.CONFIG) or {}).get("data")) not in DATASETS:
        raise UserError(f"{packed.parent} gets no model in MLflow: this version does not know its data {data!r}")
    identity = (_ready(client, run) if known else None) or _upload(client, run, trial, packed)
    _link(client, run, identity)


def _ready(client: Any, run: Any) -> str | None:
    """The id of the run's model; those that were broken off are deleted."""
    models = _models(client, run)
    ready: list[str] = [model.model_id for model in models if str(model.status) == "READY"]
    for model in models:
        if model.model_id not in ready:
            client.delete_logged_model(model.model_id)
    return ready[0] if ready else None


def delete_models(client: Any, run: Any) -> None:
    """Delete the models of a run that is to go, also those that were broken off before they were linked to it."""
    for model in _models(client, run):
        client.delete_logged_model(model.model_id)


def _models(client: Any, run: Any) -> Any:
    """Those that are not deleted."""
    of_run = f"source_run_id = '{run.info.run_id}'"
    return client.search_logged_models([run.info.experiment_id], filter_string=of_run)


def _upload(client: Any, run: Any, trial: str, packed: Path) -> str:
    """Returns the new model's id."""
    identity = str(
        client.create_logged_model(
            run.info.experiment_id, trial.translate(_UNNAMEABLE), run.info.run_id, model_type=TYPE
        ).model_id
    )
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        _write(folder, packed, run.info.run_id, identity)
        client.log_model_artifacts(identity, str(folder))
    client.finalize_logged_model(identity, "READY")
    return identity


def _link(client: Any, run: Any, identity: str) -> None:
    from mlflow.entities import LoggedModelOutput

    outputs = run.outputs.model_outputs if run.outputs else []
    if identity not in [output.model_id for output in outputs]:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(identity, 0)])


def _write(folder: Path, packed: Path, run: str, identity: str) -> None:
    """A folder in MLflow's format, with signature and input example."""
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    info = DATASETS[read_json(packed.parent / served.CONFIG)["data"]]
    shape = (info.channels, info.size, info.size)
    pixels = TensorSpec(np.dtype("uint8"), (-1, *shape))
    logits = TensorSpec(np.dtype("float32"), (-1, info.classes))
    with TemporaryDirectory() as temporary:
        network = Path(temporary) / "network"
        network.mkdir()
        shutil.copy(packed.parent / served.CONFIG, network / served.CONFIG)
        shutil.copy(packed, network / served.PACKED)
        mlflow.pyfunc.save_model(
            folder,
            loader_module=served.__name__,
            data_path=str(network),
            mlflow_model=Model(run_id=run, model_id=identity),
            signature=ModelSignature(Schema([pixels]), Schema([logits])),
            input_example=_example(shape),
            pip_requirements=[f"slq-suite=={version('slq-suite')}"],
        )


def _example(shape: tuple[int, int, int]) -> Any:
    """One image, (1, C, H, W) uint8: grey that becomes lighter from left to right. The ledger keeps no images."""
    return np.broadcast_to(np.linspace(0, 255, shape[-1], dtype=np.uint8), (1, *shape))
