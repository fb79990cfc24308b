"""SLQ with the magnitude partition against a transcription, in plain NumPy, of the procedure of the authors' released code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from suite.methods import SLQ
from suite.methods.base import Net
from suite.quant.layer import Layer

KEEP = [1, 5, 9, 13, 15]  # centres with this index and above may move, per stage
DONE = [5, 9, 13, 15, 17]  # clusters below this index are fixed afterwards, per stage


class Released:
    """One layer as the released code treats it: called once per stage, on the weights that training left behind."""

    def __init__(self) -> None:
        self.centres: np.ndarray | None = None

    def load(self, w: np.ndarray, stage: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the snapped weights and the mask of trainable ones."""
        w = w.astype(np.float64)
        if self.centres is None:
            c = np.zeros(17)
            m = 2.0 ** np.floor(np.log2(np.abs(w).max()))
            for j in range(8):
                c[2 * j + 1], c[2 * j + 2] = m / 2**j, -m / 2**j
        else:
            c = self.centres.copy()
        for _ in range(10):
            a = np.argmin((w[:, None] - c[None, :]) ** 2, axis=1)
            for j in range(KEEP[stage], 17):
                if (a == j).any():
                    c[j] = w[a == j].mean()
        self.centres = c.astype(np.float32).astype(np.float64)
        fixed = a < DONE[stage]
        snapped = np.where(fixed, self.centres[a], w)
        return snapped.astype(np.float32), ~fixed


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("distribution", ["normal", "heavy", "uniform"])
def test_stage_by_stage_equal_to_the_released_procedure(seed: int, distribution: str) -> None:
    random = np.random.default_rng(seed)
    draw = {"normal": random.standard_normal, "heavy": lambda n: random.standard_t(2, n), "uniform": random.random}
    w = (0.1 * draw[distribution](3000)).astype(np.float32)
    weight = torch.tensor(w.copy())
    layer = Layer.untouched(weight)
    net = Net({"fc": layer}, loss=lambda: 0.0, seed=0)
    slq, released = SLQ(bits=5, partition="magnitude"), Released()
    for stage in range(5):
        theirs, trainable = released.load(w, stage)
        slq.quantize(stage, net)
        np.testing.assert_array_equal(~layer.frozen.numpy(), trainable, err_msg=f"mask after stage {stage + 1}")
        np.testing.assert_allclose(weight.numpy(), theirs, rtol=2e-7, atol=1e-9)
        drift = (0.02 * random.standard_normal(3000)).astype(np.float32)
        w = np.where(trainable, theirs + drift, theirs).astype(np.float32)  # stands for re-training the free weights
        weight.copy_(torch.where(layer.frozen, weight, torch.tensor(w)))
        w = weight.numpy().copy()
    assert not trainable.any()
    assert len(np.unique(w)) <= 17
    assert (w == 0).any()
