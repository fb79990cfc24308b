"""A finished trial's packed network as an MLflow model: the file as it is, and the name of a loader. Nothing is pickled."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np
import yaml

from suite.data import DATASETS
from suite.errors import UserError
from suite.files import read_json
from suite.track import served

TYPE = "packed network"
MODEL = "MLmodel"  # MLflow's name for the file that describes a model
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # twenty times faster, where PyYAML has it
_UNNAMEABLE = str.maketrans(dict.fromkeys("/:.%\"'", "-"))  # MLflow takes none of these in a model's name


def log_model(client: Any, run: Any, trial: str, packed: Path, *, known: bool) -> None:
    """Give a run its model, unless it has it; a run that is not `known` from before has none.

    `packed` lies in the trial's folder, beside its settings.
    """
    data_of(packed)
    identity = (_ready(client, run) if known else None) or _upload(client, run, trial, packed)
    _link(client, run, identity)


def _ready(client: Any, run: Any) -> str | None:
    """The id of the run's model; those that were broken off are deleted."""
    models = _models(client, run.info.experiment_id, run.info.run_id)
    ready: list[str] = [model.model_id for model in models if str(model.status) == "READY"]
    for model in models:
        if model.model_id not in ready:
            client.delete_logged_model(model.model_id)
    return ready[0] if ready else None


def delete_models(client: Any, experiment: str, run: str) -> None:
    """Delete the models of a run that is to go, also those that were broken off before they were linked to it."""
    for model in _models(client, experiment, run):
        client.delete_logged_model(model.model_id)


def _models(client: Any, experiment: str, run: str) -> Any:
    """Those that are not deleted."""
    return client.search_logged_models([experiment], filter_string=f"source_run_id = '{run}'")


def _upload(client: Any, run: Any, trial: str, packed: Path) -> str:
    """Returns the new model's id."""
    identity = str(
        client.create_logged_model(run.info.experiment_id, model_name(trial), run.info.run_id, model_type=TYPE).model_id
    )
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        write_model(folder, packed, run.info.run_id, identity)
        client.log_model_artifacts(identity, str(folder))
    client.finalize_logged_model(identity, "READY")
    return identity


def _link(client: Any, run: Any, identity: str) -> None:
    from mlflow.entities import LoggedModelOutput

    outputs = run.outputs.model_outputs if run.outputs else []
    if identity not in [output.model_id for output in outputs]:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(identity, 0)])


def model_name(trial: str) -> str:
    """A trial's id without what MLflow takes in no model's name."""
    return trial.translate(_UNNAMEABLE)


def write_model(folder: Path, packed: Path, run: str, identity: str) -> None:
    """A new folder in MLflow's format, with signature and input example.

    `packed` lies in the trial's folder, beside its settings. Raises `UserError` for data that this version does not know.
    """
    files, settings = _form(data_of(packed))
    network = folder / "data" / "network"
    network.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    shutil.copyfile(packed.parent / served.CONFIG, network / served.CONFIG)
    shutil.copyfile(packed, network / served.PACKED)
    size = sum(file.stat().st_size for file in [*folder.iterdir(), *network.iterdir()] if file.is_file())
    ours = {"run_id": run, "model_id": identity, "model_uuid": uuid4().hex, "model_size_bytes": size}
    ours |= {"utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")}
    (folder / MODEL).write_text(yaml.dump(settings | ours, Dumper=_DUMPER))


def data_of(packed: Path) -> str:
    """The data that the network was trained on. Raises `UserError` for some that this version does not know."""
    data = (read_json(packed.parent / served.CONFIG) or {}).get("data")
    if data not in DATASETS:
        raise UserError(f"{packed.parent} gets no model in MLflow: this version does not know its data {data!r}")
    return str(data)


@cache
def _form(data: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """What all models of networks for these data share: files by name, and what stands in `MLmodel`.

    Made once, as MLflow looks through all installed packages for each model that it writes.
    """
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    info = DATASETS[data]
    shape = (info.channels, info.size, info.size)
    pixels = TensorSpec(np.dtype("uint8"), (-1, *shape))
    logits = TensorSpec(np.dtype("float32"), (-1, info.classes))
    with TemporaryDirectory() as temporary:
        folder, network = Path(temporary) / "model", Path(temporary) / "network"
        network.mkdir()
        mlflow.pyfunc.save_model(
            folder,
            loader_module=served.__name__,
            data_path=str(network),
            signature=ModelSignature(Schema([pixels]), Schema([logits])),
            input_example=_example(shape),
            pip_requirements=[f"slq-suite=={version('slq-suite')}"],
        )
        settings: dict[str, Any] = yaml.safe_load((folder / MODEL).read_text())
        files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and file.name != MODEL}
        return files, settings


def _example(shape: tuple[int, int, int]) -> Any:
    """One image, (1, C, H, W) uint8: grey that becomes lighter from left to right. The ledger keeps no images."""
    return np.broadcast_to(np.linspace(0, 255, shape[-1], dtype=np.uint8), (1, *shape))
