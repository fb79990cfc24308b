"""The training loop's pieces: data order, learning rate, what may move."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from suite.config import Recipe, Retrain, Trial
from suite.data import open_data
from suite.ledger import Ledger
from suite.nets import build_network, load_published
from suite.pack.store import load_state
from suite.train import Compute, Phase, TrainingData, learning_rate, make_optimizer, mix, plain, train
from suite.trial import run_trial


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return TrainingData.split(open_data("digits", Path("data"), tmp_path_factory.mktemp("cache")), 100)


def numbers(data: TrainingData, seed: int, first: int, count: int) -> list[tuple[list[int], int | None]]:
    batches = [batch for epoch in data.epochs(128, seed, first, count) for batch in epoch]
    return [(batch.indices.tolist(), batch.seed) for batch in batches]


def test_held_out_images_are_never_trained_on(data: TrainingData) -> None:
    trained = {index for indices, _ in numbers(data, 0, 0, 40) for index in indices}
    held_out = set(data.held_out.tolist())
    assert len(held_out) == 100
    assert not trained & held_out
    assert trained == set(data.used.tolist())  # over several epochs, every other image has its turn


def test_an_epoch_shows_no_image_twice(data: TrainingData) -> None:
    size = data.steps_per_epoch(128)
    epoch = [index for indices, _ in numbers(data, 3, size, size) for index in indices]
    assert len(epoch) == len(set(epoch)) == size * 128


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_batches_depend_on_their_number_alone(data: TrainingData, first: int, before: int, count: int) -> None:
    """However training is cut into pieces, the stream of batches is the same."""
    whole = numbers(data, 1, first, before + count)
    assert whole == numbers(data, 1, first, before) + numbers(data, 1, first + before, count)
    assert len(whole) == before + count


@given(st.integers(1, 3000))
@settings(max_examples=50, deadline=None)
def test_no_batch_is_empty_or_cut_short(data: TrainingData, batch_size: int) -> None:
    """Images left over at an epoch's end wait for the next one; with fewer images than a batch holds, all are the batch."""
    steps = data.steps_per_epoch(batch_size)
    batches = [batch for epoch in data.epochs(batch_size, 0, max(0, steps - 2), 4) for batch in epoch]
    assert {len(batch.indices) for batch in batches} == {min(batch_size, len(data.used))}


def test_seeds_and_epochs_shuffle_differently(data: TrainingData) -> None:
    size = data.steps_per_epoch(128)

    def order(seed: int, first: int) -> list[list[int]]:
        return [indices for indices, _ in numbers(data, seed, first, 3)]

    assert order(1, 0) != order(2, 0)
    assert order(1, 0) != order(1, size)


def test_dropout_depends_on_the_step_alone(data: TrainingData) -> None:
    """Training in two pieces, with other random numbers drawn in between, is training in one."""
    recipe, compute = Recipe(batch_size=64), Compute(torch.device("cpu"), bfloat16=False)

    def trained(pieces: list[int]) -> torch.Tensor:
        model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))
        nn.init.constant_(model[2].weight, 0.01)
        nn.init.zeros_(model[2].bias)
        optimizer, phase = make_optimizer(list(model.parameters()), recipe), Phase(0, 6)
        for piece in pieces:
            torch.rand(piece)
            stop = _StopAfter(piece)
            with suppress(_StopAfter):
                train(model, plain(model), optimizer, optimizer.step, data, recipe, 0, phase, compute, stop)
        return model[2].weight.detach()

    assert torch.equal(trained([6]), trained([2, 4]))


class _StopAfter(Exception):  # noqa: N818 - a signal
    """Ends a training after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, rate: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise self


def test_a_session_makes_torch_deterministic(make_trial: Callable[..., Trial], ledger: Ledger) -> None:
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(2)
    run_trial(make_trial({"name": "full"}), ledger, Path("data"))
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 1


def test_a_holdout_that_leaves_nothing_is_refused(data: TrainingData) -> None:
    with pytest.raises(ValueError, match="holdout 1257 leaves nothing of the 1257 training images"):
        TrainingData.split(data.source, 1257)


@given(st.lists(st.integers(0, 2**63), min_size=1, max_size=4), st.integers(0, 3), st.integers(1, 1000))
def test_mixed_seeds_differ_when_one_number_does(numbers: list[int], at: int, change: int) -> None:
    at %= len(numbers)
    other = [n + change * (i == at) for i, n in enumerate(numbers)]
    assert mix(*numbers) != mix(*other)
    assert 0 <= mix(*numbers) < 2**63


def test_learning_rates() -> None:
    cosine = Recipe(learning_rate=0.1, schedule="cosine")
    assert [learning_rate(cosine, done, 100) for done in (0, 50)] == pytest.approx([0.1, 0.05])
    assert learning_rate(cosine, 99, 100) < 0.001
    step = Recipe(learning_rate=0.1, schedule="step", milestones=(0.5, 0.75), gamma=0.1)
    assert [learning_rate(step, done, 100) for done in (49, 50, 75)] == pytest.approx([0.1, 0.01, 0.001])
    assert learning_rate(Recipe(learning_rate=0.1, schedule="constant"), 99, 100) == 0.1


@pytest.mark.parametrize(("budget", "steps"), [("stage", [9, 9]), ("trial", [5, 4])])
def test_budget(budget: str, steps: list[int], make_trial: Callable[..., Trial], ledger: Ledger) -> None:
    """An epoch of 1,193 images is 9 steps of 128; SLQ at 2 bits re-trains after two of its three stages."""
    trial = make_trial(
        {"name": "slq", "bits": 2}, retrain=Retrain(epochs=1, batch_size=128, budget=budget), runtime={"log_steps": 1}
    )
    run_trial(trial, ledger, Path("data"))
    (attempt,) = ledger.trial(trial.id).attempts()
    ends = [event["step"] for event in attempt.events() if event["event"] == "eval"]
    assert ends == [steps[0], sum(steps)]
    trained = [event["step"] for event in attempt.events() if event["event"] == "train"]
    assert trained == list(range(1, sum(steps) + 1))
    result = ledger.trial(trial.id).result()
    assert result is not None
    assert result["cost"]["steps"] == sum(steps)


def moved(trial: Trial, ledger: Ledger) -> set[str]:
    """Names of the tensors in which the trial's network differs from its baseline."""
    run_trial(trial, ledger, Path("data"))
    before = load_state(ledger.baseline(trial.baseline_id).model)
    after = load_state(ledger.trial(trial.id).model)
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("options", [{}, {"train_biases": False}, {"train_batchnorm": False}])
def test_biases_and_batch_norm_move_unless_frozen(
    options: dict[str, Any], make_trial: Callable[..., Trial], ledger: Ledger
) -> None:
    method = {"name": "slq", "bits": 2, "partition": "magnitude", **options}
    trial = make_trial(method, network="resnet8", baseline={"epochs": 0}, retrain={"epochs": 0.1, "batch_size": 64})
    names = moved(trial, ledger)
    is_norm = {name for name in names if "bn" in name and name.endswith(("weight", "bias"))}
    assert bool(is_norm) == options.get("train_batchnorm", True)
    assert ("linear.bias" in names) == options.get("train_biases", True)
    assert "bn1.running_mean" in names  # the statistics always follow the data


def test_skipped_layers_stay_full_precision_but_are_trained(make_trial: Callable[..., Trial], ledger: Ledger) -> None:
    trial = make_trial({"name": "slq", "bits": 2, "quantize_first": False, "quantize_last": False})
    names = moved(trial, ledger)
    result, state = ledger.trial(trial.id).result(), load_state(ledger.trial(trial.id).model)
    assert result is not None
    first, *inner, last = trial.layer_names()
    assert [layer["name"] for layer in result["layers"]] == inner
    for name in (first, last):
        assert f"{name}.weight" in names
        assert len(torch.unique(state[f"{name}.weight"])) > 100


def test_a_diverging_training_says_so(make_trial: Callable[..., Trial], ledger: Ledger) -> None:
    trial = make_trial(
        {"name": "slq", "bits": 3}, retrain={"epochs": 1, "batch_size": 128, "learning_rate": 1e6, "budget": "trial"}
    )
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        run_trial(trial, ledger, Path("data"))
    assert "FloatingPointError" in ledger.trial(trial.id).why_failed()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {
            "precision": "bfloat16",
            "network": "lenet5",
        },  # a processor without bfloat16 takes minutes for a residual network
        {"channels_last": True, "network": "resnet8"},
    ],
)
def test_precision_and_layout_train_and_resume_alike(
    options: dict[str, Any], make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    few = {"epochs": 0.05, "batch_size": 16}
    settings = {"baseline": few, "retrain": few, **options}
    trial = make_trial({"name": "slq", "bits": 2, "partition": "magnitude"}, **settings)
    models = []
    for name in ("one", "two"):
        ledger = Ledger(tmp_path / name, "short")
        run_trial(trial, ledger, Path("data"))
        models.append(ledger.trial(trial.id).model.read_bytes())
    assert models[0] == models[1]


def test_published_weights_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"put them at one of: .*weights/cifar10-resnet20\.safetensors"):
        load_published(build_network("resnet20", 3, 32, 10, 0), "resnet20", tmp_path)


def test_other_data_under_the_same_name_is_refused(
    make_trial: Callable[..., Trial], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline made with other data is not taken for the one wanted."""
    run_trial(make_trial({"name": "full"}), ledger, Path("data"))
    source = open_data("digits", Path("data"), ledger.root / "cache")
    monkeypatch.setattr(source, "fingerprint", "f" * 64)
    with pytest.raises(Exception, match="was made with other Digits data"):
        run_trial(make_trial({"name": "kmeans", "bits": 3}), ledger, Path("data"))
