"""Self-organizing maps as the codebooks of layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from suite.methods.base import Net
from suite.methods.kmeans import KMeans
from suite.methods.shared import CENTRES
from suite.methods.som import SOM
from suite.quant.init import codebook_size
from suite.quant.layer import Layer

OPTIONS: list[dict[str, Any]] = [
    {},
    {"grid": "plane", "neighbourhood": "bubble"},
    {"neighbourhood": "parabola", "phases": [{"passes": 5, "radius": [0.5, 0.1], "decay": "linear"}]},
    {"training": "online", "sample": 500},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=["defaults", "plane", "one phase", "online"])


def normal(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def quantized(method: SOM | KMeans, weight: torch.Tensor, live: torch.Tensor | None = None, seed: int = 0) -> Layer:
    layer = Layer.untouched(weight.clone(), live)
    method.quantize(0, Net({"layer": layer}, lambda: 0.0, seed))
    return layer


@every_option
@pytest.mark.parametrize("bits", [2, 5])
def test_every_weight_takes_its_nearest_centre(options: dict[str, Any], bits: int) -> None:
    weight = normal(3000).view(30, 100)
    layer = quantized(SOM(bits=bits, **options), weight)
    assert len(layer.codebook) == codebook_size(bits)
    distances = (weight.double()[..., None] - layer.codebook).abs()
    chosen = (weight.double() - layer.weight.double()).abs()
    np.testing.assert_allclose(chosen.numpy(), distances.amin(-1).numpy(), atol=0)
    assert layer.frozen.all()
    assert torch.equal(layer.coded().decoded(), layer.weight)


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_the_defaults_are_as_good_as_k_means(bits: int) -> None:
    weight = normal(20_000)
    errors = [
        float((quantized(m, weight).weight - weight).square().mean()) for m in (SOM(bits=bits), KMeans(bits=bits))
    ]
    assert errors[0] < 1.01 * errors[1]


def test_a_sample_does_nearly_as_well_as_all() -> None:
    weight = normal(20_000)
    errors = [float((quantized(SOM(bits=4, sample=n), weight).weight - weight).square().mean()) for n in (4000, 20_000)]
    assert errors[0] < 1.05 * errors[1]


@every_option
def test_a_seed_decides_the_result(options: dict[str, Any]) -> None:
    method = SOM(bits=3, **({"sample": 500} | options))
    once, again, other = (quantized(method, normal(2000), seed=s) for s in (1, 1, 2))
    assert torch.equal(once.weight, again.weight)
    assert not torch.equal(once.codebook, other.codebook)


def test_pruned_weights_stay_zero_and_count_for_nothing() -> None:
    weight = normal(1000) + 5
    live = torch.arange(1000) % 3 == 0
    weight[~live] = 0
    layer = quantized(SOM(bits=3), weight, live)
    assert not layer.weight[~live].any()
    assert bool((layer.codebook > 1).all())
    assert torch.equal(layer.codebook, quantized(SOM(bits=3), weight[live]).codebook)


@every_option
@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [0.5, -0.25, 0.5, 0.0], [1.0], [0.0] * 5000 + [7.0]])
def test_few_different_values_are_kept_exactly(options: dict[str, Any], values: list[float]) -> None:
    layer = quantized(SOM(bits=3, **options), torch.tensor(values))
    assert layer.weight.tolist() == values
    assert layer.codebook.tolist() == sorted(set(values))


def test_a_layer_that_is_pruned_altogether() -> None:
    layer = quantized(SOM(bits=3), torch.zeros(4, 2), torch.zeros(4, 2, dtype=torch.bool))
    assert not layer.weight.any()
    assert torch.equal(layer.coded().decoded(), torch.zeros(4, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    layer = quantized(SOM(bits=8), normal(3000).to(dtype))
    assert layer.weight.dtype == dtype
    assert set(layer.weight.double().tolist()) <= set(layer.codebook.tolist())


def test_its_centres_can_be_tuned() -> None:
    layer = Layer.untouched(normal(200))
    net, method = Net({"layer": layer}, lambda: 0.0, seed=0), SOM(bits=2, tune="sum")
    assert method.stages(1) == 2
    method.quantize(0, net)
    seen = method.through(0, net.layers, 0.5)
    assert seen is not None
    assert torch.equal(seen.weights["layer"], layer.weight)
    layer.learned[CENTRES].data += 1
    before = layer.weight.clone()
    method.quantize(1, net)
    np.testing.assert_allclose(layer.weight.numpy(), before.numpy() + 1, rtol=1e-6)


def test_labels_and_defaults_follow_the_training() -> None:
    assert SOM(bits=5).label == "SOM 5b"
    online = SOM(bits=5, training="online")
    assert online.label == "SOM 5b online"
    assert online.sample < SOM(bits=5).sample
    assert SOM.model_validate_json(online.model_dump_json()) == online


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 1},
        {"bits": 9},
        {"bits": 3, "grid": "cube"},
        {"bits": 3, "neighbourhood": "square"},
        {"bits": 3, "training": "never"},
        {"bits": 3, "sample": 0},
        {"bits": 3, "phases": []},
        {"bits": 3, "phases": [{"passes": 0, "radius": [0, 0]}]},
        {"bits": 3, "phases": [{"passes": 1, "radius": [0.5, 0]}]},
        {"bits": 3, "phases": [{"passes": 1, "radius": [0, 0], "wat": 1}]},
        {"bits": 3, "phases": [{"passes": 1, "radius": [0, 0], "decay": "sudden"}]},
        {"bits": 3, "wat": 1},
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SOM.model_validate(options)
