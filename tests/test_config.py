"""Identity: the same experiment has the same id however it is written down, and any other experiment has another."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from suite.config import Trial

METHODS: list[dict[str, Any]] = [
    {"name": "full"},
    {"name": "kmeans", "bits": 4},
    {"name": "slq", "bits": 5},
    {"name": "mlq", "bits": 2},
    {"name": "inq", "bits": 3},
    {"name": "twn"},
    {"name": "ttq"},
    {"name": "deep-compression"},
    {"name": "hessian", "bits": 3, "tune": "mean"},
    {"name": "ecsq", "rate": 2, "tune": "mean"},
    {"name": "universal", "rate": 2, "tune": "mean"},
    {"name": "soft-to-hard"},
    {"name": "som", "bits": 3, "tune": "mean"},
    {"name": "mixed", "budget": 5, "tune": "mean"},
]
BASE = {"network": "lenet5", "data": "digits"}
OF_BASELINE = {"network", "data", "seed", "baseline", "holdout", "precision", "channels_last", "compile", "threads"}
CANNOT_MATTER = {"runtime"}


def trial(method: dict[str, Any] | None = None, **other: Any) -> Trial:
    return Trial.model_validate({**BASE, "method": method or METHODS[2], **other})


def dotted(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for key, value in flat.items():
        *outer, last = key.split(".")
        inner = config
        for step in outer:
            inner = inner.setdefault(step, {})
        inner[last] = value
    return config


def another(of: Trial, key: str, value: Any) -> Any:
    """Another allowed value of a setting, found from its type, so that a new setting is tested without anybody thinking of it."""
    special = {
        "network": "resnet20",
        "data": "fashion-mnist",
        "method.groups": 2,
        "method.sparsity": 0.5,
        "method.draws": 3,
    }
    special |= {"method.dimension": 3, "method.phases": [{"passes": 7, "radius": [0.5, 0.1]}]}
    special["prune"] = {"kept": 0.5}
    if key in special:
        return special[key]
    model: BaseModel = of
    *outer, last = key.split(".")
    for step in outer:
        model = getattr(model, step)
    annotation = type(model).model_fields[last].annotation
    if get_origin(annotation) is Literal:
        return next(choice for choice in get_args(annotation) if choice != value)
    match value:
        case bool():
            return not value
        case int():
            return value + 1 if not key.endswith("bits") else value - 1 if value > 2 else 3
        case float():
            return value / 2
        case list():
            return value[1:]
    raise NotImplementedError(f"give this test another value of {key}")


def changed(of: Trial, key: str) -> Trial:
    """The same trial with one setting changed; defaults that follow from it follow."""
    written = nested(dotted(of.model_dump(mode="json", exclude_unset=True)))
    return Trial.model_validate(merged(written, nested({key: another(of, key, dotted(of.config())[key])})))


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {k: merged(below[k], v) if isinstance(v, dict) and k in below else v for k, v in above.items()}
    return {**below, **both}


def every_setting() -> list[Any]:
    keys = [(method, key) for method in METHODS for key in dotted(trial(method).config()) if not only_one(method, key)]
    return [pytest.param(method, key, id=f"{method['name']}-{key}") for method, key in keys]


def only_one(method: dict[str, Any], key: str) -> bool:
    """Whether a setting has no other value: names, the bits of a ternary method, and what another setting excludes."""
    excluded = {
        "twn": ["bits"],
        "ttq": ["bits"],
        "hessian": ["clusters"],
        "ecsq": ["step", "clusters", "slope"],
        "universal": ["step"],
    }
    return key.removeprefix("method.") in ["name", *excluded.get(method["name"], [])]


def cannot_matter(method: dict[str, Any]) -> set[str]:
    """A method without a second stage never re-trains."""
    return {*CANNOT_MATTER, "retrain"} if method["name"] in ("full", "kmeans") else {*CANNOT_MATTER}


@pytest.mark.parametrize(("method", "key"), every_setting())
def test_every_setting_that_can_matter_changes_the_id(method: dict[str, Any], key: str) -> None:
    before = trial(method)
    after = changed(before, key)
    assert after.config() != before.config()
    assert (after.id == before.id) is (key.partition(".")[0] in cannot_matter(method))
    assert (after.baseline_id == before.baseline_id) is (key.partition(".")[0] not in OF_BASELINE)


def test_no_two_changes_give_the_same_id() -> None:
    base = trial()
    variants = [changed(base, key) for key in dotted(base.config()) if key != "method.name" and "runtime" not in key]
    variants += [trial(method) for method in METHODS]
    variants += [trial(prune={"kept": kept, "rounds": n}) for kept in (0.25, 0.5, {"fc1": 0.5}) for n in (2, 3)]
    assert len({variant.id for variant in variants}) == len(variants)


@settings(max_examples=60, deadline=None)
@given(method=st.sampled_from(METHODS), data=st.data())
def test_the_id_does_not_depend_on_how_it_is_written(method: dict[str, Any], data: st.DataObject) -> None:
    """Defaults spelled out or not, keys in any order, whole numbers as floats: one experiment, one id."""
    base = trial(method)
    everything = dotted(base.config())
    needed = {"network", "data", *(f"method.{key}" for key in method)}
    spelled = data.draw(st.sets(st.sampled_from(sorted(everything)))) | needed
    order = data.draw(st.permutations(sorted(spelled)))
    as_float = data.draw(st.booleans())
    written = {k: float(v) if as_float and type(v) is int else v for k, v in ((k, everything[k]) for k in order)}
    again = Trial.model_validate(nested(written))
    assert again == base
    assert (again.id, again.baseline_id) == (base.id, base.baseline_id)


def test_a_pinned_id() -> None:
    """If this fails, all results computed so far would be computed again: raise `config.SCHEMA` if that is meant, else undo it."""
    assert trial().id == "slq-5b-loss-lenet5-digits-s0-6e999fbc4f"
    assert trial().baseline_id == "lenet5-digits-s0-c064831a69"
    assert trial({"name": "mlq", "bits": 2}, seed=3).id == "mlq-2b-forward-lenet5-digits-s3-56e268b037"


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m["name"])
def test_ids_are_safe_as_folder_names_and_tell_what_they_are(method: dict[str, Any]) -> None:
    one = trial(method, seed=7)
    for identity in (one.id, one.baseline_id):
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*-[0-9a-f]{10}", identity)
        assert "-lenet5-digits-s7-" in f"-{identity}"


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m["name"])
def test_a_trial_survives_json(method: dict[str, Any]) -> None:
    one = trial(method)
    assert Trial.model_validate(one.config()) == one
    assert Trial.model_validate_json(one.model_dump_json()) == one


def test_trials_pruned_alike_begin_from_the_same_network() -> None:
    pruned = {"prune": {"kept": {"fc1": 0.1, "fc2": 0.2}}}
    starts = {trial(method, **pruned).start_id for method in METHODS}
    assert len(starts) == 1
    assert trial(**pruned).baseline_id == trial().baseline_id == trial().start_id
    others = [trial(**pruned, seed=1), trial(**pruned, baseline={"epochs": 7}), trial(prune={"kept": {"fc1": 0.1}})]
    assert len({*starts, *(other.start_id for other in others)}) == 4
    assert trial(**pruned).start_ids == (trial().baseline_id, starts.pop())


@pytest.mark.parametrize("kept", [0, 1.5, -0.1, {"fc1": 0}, {"fc9": 0.5}], ids=str)
def test_impossible_pruning_is_refused(kept: Any) -> None:
    with pytest.raises(ValidationError, match="fc9" if kept == {"fc9": 0.5} else "kept"):
        trial(prune={"kept": kept})


def test_all_methods_share_a_baseline() -> None:
    assert len({trial(method).baseline_id for method in METHODS}) == 1
    assert trial(retrain={"epochs": 7}).baseline_id == trial().baseline_id


@pytest.mark.parametrize(
    ("baseline", "shared"),
    [
        ({"weights": "published", "epochs": 0}, True),
        ({"weights": "published", "epochs": 1}, False),
        ({"weights": "random", "epochs": 0}, False),
        ({"weights": "random", "epochs": 1}, False),
    ],
    ids=["published", "published-trained", "random-untrained", "random-trained"],
)
def test_which_baselines_are_the_same_for_all_seeds(baseline: dict[str, Any], shared: bool) -> None:
    one, two = trial(baseline=baseline, seed=1), trial(baseline=baseline, seed=2)
    assert (one.baseline_id == two.baseline_id) is shared
    assert one.id != two.id


def test_default_schedules_follow_the_width() -> None:
    for bits in range(2, 9):
        assert trial({"name": "slq", "bits": bits}).config()["method"]["schedule"][-1] == 2 ** (bits - 1) + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"netwrok": "lenet5"},
        {"method": {"name": "slq", "bits": 5, "pinzero": True}},
        {"baseline": {"epoch": 1}},
        {"baseline": {"epochs": float("inf")}},
        {"retrain": {"learning_rate": float("nan")}},
        {"retrain": {"learning_rate": 0}},
        {"seed": -1},
        {"method": {"name": "slq", "bits": 1}},
        {"method": {"name": "mlq", "bits": 4}},
        {"method": {"name": "mlq", "bits": 2, "groups": 50}},
    ],
    ids=str,
)
def test_the_impossible_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Trial.model_validate({**BASE, "method": METHODS[2], **wrong})


def test_trials_do_not_change(make_trial: Callable[..., Trial]) -> None:
    one = make_trial({"name": "full"})
    with pytest.raises(ValidationError):
        one.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        one.baseline.epochs = 1  # type: ignore[misc]
