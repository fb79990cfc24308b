"""Answers for a packed network behind MLflow's `pyfunc`: pixels in, logits out. MLflow imports this module by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from suite.data import DATASETS
from suite.data.normalise import Normalise
from suite.files import read_json
from suite.nets import build_network
from suite.pack.store import load_network
from suite.train import Compute

CONFIG, PACKED = "config.json", "model.slq"  # what a model's folder holds: the trial's settings, and the network


class PackedNetwork:
    """A trial's network on the CPU, with the normalisation of its data."""

    def __init__(self, folder: Path) -> None:
        """Raises PackError for a damaged file, and ValueError for one of another network."""
        config = read_json(folder / CONFIG)
        info = DATASETS[config["data"]]
        cpu = torch.device("cpu")
        self._model = build_network(config["network"], info.channels, info.size, info.classes, seed=0).eval()
        load_network(folder / PACKED, self._model)
        self._normalise = Normalise(info, cpu)
        self._compute = Compute(cpu, config["precision"] == "bfloat16")

    @torch.inference_mode()
    def predict(self, images: NDArray[np.uint8], params: dict[str, Any] | None = None) -> NDArray[np.float32]:
        """Pixels (B, C, H, W) uint8 to logits (B, classes) float32. `params`, which MLflow may pass, has no meaning here."""
        with self._compute.autocast():
            logits: torch.Tensor = self._model(self._normalise(torch.tensor(images)))
        return logits.float().numpy()


def _load_pyfunc(path: str) -> PackedNetwork:
    """Called by MLflow with the folder of the model's data."""
    return PackedNetwork(Path(path))
