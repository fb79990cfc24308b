"""Sweep files: what they expand to, and that every mistake is refused with its line, what is allowed and the nearest name."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite.errors import UserError
from suite.methods import MLQ, SLQ, KMeans
from suite.sweep import Sweep, load_sweep, sweep_schema

JOBS = sorted((Path(__file__).parent.parent / "jobs").glob("*.yaml"))

Load = Callable[[str], Sweep]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a sweep from its text."""

    def load(text: str) -> Sweep:
        path = tmp_path / "x.yaml"
        path.write_text(textwrap.dedent(text).lstrip("\n"))
        return load_sweep(path)

    return load


# What a file expands to


def test_product_trials_exclusions_and_defaults(load: Load) -> None:
    sweep = load("""
        description: |
          What it shows.
        defaults:
          network: lenet5
          data: digits
          baseline: {epochs: 3, batch_size: 32}
        grid:
          - method: [{name: full}, {name: slq, bits: 5}]
            seed: [0, 1]
          - method.name: [kmeans]
            method.bits: [2, 3, 4]
        trials:
          - {method: {name: mlq, bits: 2}, baseline: {epochs: 9}, seed: 5}
          - {method.name: slq, method.bits: 3, baseline.epochs: 9}
        exclude:
          - {method.name: full, seed: 1}
          - {method.name: kmeans, method.bits: [2, 4]}
    """)
    assert (sweep.name, sweep.description) == ("x", "What it shows.")
    found = [(t.method.label, t.seed, t.baseline.epochs, t.baseline.batch_size) for t in sweep.trials]
    assert found == [
        ("full precision", 0, 3, 32),
        ("SLQ 5b loss", 0, 3, 32),
        ("SLQ 5b loss", 1, 3, 32),
        ("k-means 3b", 0, 3, 32),
        ("MLQ 2b forward", 5, 9, 32),
        ("SLQ 3b loss", 0, 9, 32),
    ]


def test_defaults_merge_at_every_depth_and_may_be_dotted(load: Load) -> None:
    (trial,) = load("""
        defaults: {network: lenet5, data: digits, method: {name: slq, bits: 5, rounds: 3}, method.scope: network, retrain.epochs: 2}
        trials: [{method: {bits: 4}, method.init: linear, retrain: {batch_size: 16}}]
    """).trials
    assert isinstance(trial.method, SLQ)
    assert (trial.method.bits, trial.method.rounds, trial.method.scope, trial.method.init) == (
        4,
        3,
        "network",
        "linear",
    )
    assert (trial.retrain.epochs, trial.retrain.batch_size) == (2, 16)


def test_a_grid_of_blocks_and_of_their_parts(load: Load) -> None:
    sweep = load("""
        defaults: {network: lenet5, data: digits}
        grid:
          - method.bits: [2, 3]
            method: [{name: mlq}, {name: slq, partition: random}]
    """)
    assert [t.method.label for t in sweep.trials] == [
        "MLQ 2b forward",
        "SLQ 2b random",
        "MLQ 3b forward",
        "SLQ 3b random",
    ]


def test_shared_anchors_stay_as_they_are(load: Load) -> None:
    sweep = load("""
        defaults: {network: lenet5, data: digits}
        grid:
          - method: [&slq {name: slq, bits: 5, rounds: 2}, {name: kmeans, bits: 5, rounds: 2}]
            method.rounds: [7, 8]
        trials:
          - {method: *slq}
          - {method: *slq, method.bits: 4}
          - {method: *slq, method.bits: 3, method.rounds: 4}
          - {method: *slq, seed: 1}
    """)
    found = [(t.method.bits, t.method.rounds) for t in sweep.trials if isinstance(t.method, SLQ | KMeans)]
    assert found == [(5, 7), (5, 8), (5, 7), (5, 8), (5, 2), (4, 2), (3, 4), (5, 2)]


def test_numbers_as_yaml_reads_them(load: Load) -> None:
    """YAML takes 1e-3 for a word; people do not."""
    (trial,) = load(
        "trials: [{network: lenet5, data: digits, method: {name: full}, baseline: {learning_rate: 1e-3}}]"
    ).trials
    assert trial.baseline.learning_rate == 0.001


def test_null_is_a_value_of_exclude(load: Load) -> None:
    sweep = load("""
        defaults: {network: lenet5, data: digits}
        trials: [{method: {name: mlq, bits: 2}}, {method: {name: mlq, bits: 2, groups: 2}}, {method: {name: full}}]
        exclude: [{method.groups: null}]
    """)
    assert [t.method.groups for t in sweep.trials if isinstance(t.method, MLQ)] == [2]
    assert len(sweep.trials) == 2, "full precision has no groups at all and stays"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bits=st.lists(st.integers(2, 8), min_size=1, max_size=4, unique=True),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True),
    out=st.integers(0, 99),
)
def test_the_size_of_a_product(load: Load, bits: list[int], seeds: list[int], out: int) -> None:
    content: dict[str, Any] = {
        "defaults": {"network": "lenet5", "data": "digits", "method": {"name": "kmeans"}},
        "grid": [{"method.bits": bits, "seed": seeds}],
        "trials": [{"method.bits": 2, "seed": 100}],
    }
    if out in seeds:
        content["exclude"] = [{"seed": out}]
    sweep = load(yaml.safe_dump(content))
    found = [(t.method.bits, t.seed) for t in sweep.trials if isinstance(t.method, KMeans)]
    assert found == [(b, s) for b in bits for s in seeds if s != out] + [(2, 100)]
    assert len({t.id for t in sweep.trials}) == len(sweep.trials)


# What is refused: file text, line, words of the message

TOP = "defaults: {network: lenet5, data: digits}\n"
ONE = "trials:\n  - {method: {name: slq, bits: 5}}\n"


def one(settings: str) -> str:
    return f"{TOP}trials:\n  - {{{settings}}}\n"


def method(settings: str) -> str:
    return one(f"method: {{{settings}}}")


MISTAKES: dict[str, tuple[str, int, list[str]]] = {
    "unknown top key": (f"{TOP}{ONE}gird: []\n", 4, ["'gird'", "grid", "trials", "did you mean 'grid'"]),
    "unknown trial key": (one("method: {name: full}, sede: 1"), 3, ["'sede'", "network", "did you mean 'seed'"]),
    "unknown key in defaults": (
        f"defaults:\n  dat: digits\n  network: lenet5\n  data: digits\n{ONE}",
        2,
        ["unknown key 'dat'", "did you mean 'data'"],
    ),
    "unknown method option": (
        method("name: slq, bits: 5, partitoin: loss"),
        3,
        ["'method.partitoin'", "pin_zero", "did you mean 'partition'"],
    ),
    "option of another method": (method("name: kmeans, bits: 5, partition: loss"), 3, ["'method.partition'", "init"]),
    "unknown recipe key": (
        one("method: {name: full}, baseline: {epoch: 3}"),
        3,
        ["'baseline.epoch'", "weight_decay", "did you mean 'epochs'"],
    ),
    "wrong literal": (
        method("name: slq, bits: 5, partition: magnitud"),
        3,
        ["method.partition", "'magnitud'", "loss, absolute, magnitude, random, reverse", "did you mean 'magnitude'"],
    ),
    "wrong literal in a recipe": (
        one("method: {name: full}, retrain: {budget: trail}"),
        3,
        ["retrain.budget", "stage, trial", "did you mean 'trial'"],
    ),
    "unknown method": (
        method("name: sql, bits: 5"),
        3,
        ["method.name", "'sql'", "mixed, mlq, slq, soft-to-hard", "did you mean 'slq'"],
    ),
    "method without a name": (method("bits: 5"), 3, ["method.name is missing", "mixed, mlq, slq, soft-to-hard"]),
    "method that is a word": (one("method: slq"), 3, ["method: 'slq'", "must be a mapping such as {name: slq"]),
    "unknown network": (
        "trials:\n  - network: lenet\n    data: digits\n    method: {name: full}\n",
        2,
        ["'lenet'", "resnet20", "did you mean 'lenet5'"],
    ),
    "unknown data set": (
        "trials:\n  - network: lenet5\n    data: cifar-10\n    method: {name: full}\n",
        3,
        ["'cifar-10'", "fashion-mnist", "did you mean 'cifar10'"],
    ),
    "network that does not take the data": (
        "trials:\n  - {network: resnet18, data: digits, method: {name: full}}\n",
        2,
        ["resnet18", "3 channels", "lenet5"],
    ),
    "wrong type": (one("method: {name: full}, seed: one"), 3, ["seed: 'one'", "a whole number, at least 0"]),
    "fraction for a whole number": (
        method("name: slq, bits: 2.5"),
        3,
        ["method.bits: 2.5", "whole number", "at most 8"],
    ),
    "wrong truth value": (method("name: slq, bits: 5, pin_zero: maybe"), 3, ["'maybe'", "true or false"]),
    "number for a block": (
        one("method: {name: full}, baseline: 30"),
        3,
        ["baseline: 30", "mapping of epochs, batch_size"],
    ),
    "number for a list": (
        method("name: slq, bits: 5, schedule: 17"),
        3,
        ["method.schedule: 17", "a list", "whole number"],
    ),
    "word in a list": (
        method("name: slq, bits: 5, schedule: [5, all]"),
        3,
        ["method.schedule.1: 'all'", "whole number"],
    ),
    "no value": ("defaults:\n  network: lenet5\n  data:\n" + ONE, 3, ["data: None", "digits"]),
    "too small a number": (
        one("method: {name: full}, retrain: {learning_rate: 0}"),
        3,
        ["retrain.learning_rate: 0", "above 0"],
    ),
    "too large a number": (one("method: {name: full}, retrain: {momentum: 1}"), 3, ["at least 0 and below 1"]),
    "infinite number": (
        one("method: {name: full}, retrain: {epochs: .inf}"),
        3,
        ["retrain.epochs: inf", "a number, at least 0"],
    ),
    "null or number": (method("name: mlq, bits: 2, groups: 0"), 3, ["method.groups: 0", "at least 1 or null"]),
    "missing key": ("defaults: {data: digits}\n" + ONE, 3, ["network is missing", "defaults"]),
    "missing bits": (method("name: slq"), 3, ["method.bits is missing"]),
    "SLQ at 1 bit": (method("name: slq, bits: 1"), 3, ["method.bits: 1", "at least 2 and at most 8"]),
    "MLQ at 4 bits": (method("name: mlq, bits: 4"), 3, ["method.bits: 4", "at least 2 and at most 3"]),
    "more groups than layers": (method("name: mlq, bits: 2, groups: 6"), 3, ["groups 6", "5 layers"]),
    "groups without compensation": (
        method("name: mlq, bits: 2, groups: 2, compensation: false"),
        3,
        ["groups 2", "compensation false"],
    ),
    "schedule that leaves clusters": (
        method("name: slq, bits: 3, schedule: [2, 4]"),
        3,
        ["[2, 4]", "end with all 5 clusters"],
    ),
    "schedule that does not rise": (method("name: slq, bits: 3, schedule: [2, 2, 5]"), 3, ["[2, 2, 5]", "must rise"]),
    "schedule that starts with nothing": (method("name: slq, bits: 3, schedule: [0, 5]"), 3, ["[0, 5]", "at least 1"]),
    "empty schedule": (method("name: mlq, bits: 2, schedule: []"), 3, ["[]", "all 3 clusters"]),
    "duplicate key": (
        "defaults:\n  data: digits\n  network: lenet5\n  data: mnist\n" + ONE,
        4,
        ["'data' is given twice"],
    ),
    "duplicate top key": (f"{TOP}{ONE}trials: []\n", 4, ["'trials' is given twice"]),
    "braces twice": (f"{TOP}trials:\n  - {{{{method}}: 1}}\n", 3, ["a key must be a word"]),
    "duplicate trials": (
        f"{TOP}{ONE}  - {{method: {{name: slq, bits: 5, rounds: 10}}}}\n",
        4,
        ["same trial", "line 3"],
    ),
    "trial that is in the grid": (
        f"{TOP}grid:\n  - method: [{{name: full}}]\ntrials:\n  - {{method: {{name: full}}}}\n",
        5,
        ["line 3"],
    ),
    "runtime makes no other trial": (
        f"{TOP}{ONE}  - {{method: {{name: slq, bits: 5}}, runtime: {{log_steps: 1}}}}\n",
        4,
        ["line 3"],
    ),
    "exclude that matches nothing": (f"{TOP}{ONE}exclude:\n  - {{method.bits: 4}}\n", 5, ["matches no trial", "4"]),
    "exclude of an unknown key": (
        f"{TOP}{ONE}exclude:\n  - {{seed: 0,\n     method.bit: 5}}\n",
        6,
        ["exclude", "'method.bit'", "did you mean 'method.bits'"],
    ),
    "exclude of a block": (f"{TOP}{ONE}exclude:\n  - {{method: {{name: slq}}}}\n", 5, ["'method'", "method.name"]),
    "exclude that is no list": (f"{TOP}{ONE}exclude: {{seed: 0}}\n", 4, ["list of mappings"]),
    "part of a word": (
        f"{TOP}trials:\n  - {{method: slq, method.bits: 5}}\n",
        3,
        ["method.bits", "'slq'", "has no parts"],
    ),
    "grid value that is not a list": (
        f"{TOP}grid:\n  - seed: 3\n    method: [{{name: full}}]\n",
        3,
        ["seed", "list of values", "3"],
    ),
    "grid value without values": (
        f"{TOP}grid:\n  - method: [{{name: full}}]\n    seed: []\n",
        4,
        ["seed", "list of values"],
    ),
    "grid that is a mapping": (f"{TOP}grid:\n  seed: [1, 2]\n", 2, ["grid", "list of mappings"]),
    "trials that are words": (f"{TOP}trials: [a, b]\n", 2, ["trials", "list of mappings"]),
    "defaults that are a list": ("defaults: [1]\n" + ONE, 1, ["defaults", "mapping"]),
    "not YAML": ("defaults: {network: lenet5\ntrials:\n  - a: [\n", 2, ["not YAML"]),
    "tab": (f"{TOP}trials:\n\t- {{}}\n", 3, ["not YAML"]),
    "a list at the top": ("- 1\n- 2\n", 1, ["mapping"]),
    "nothing at all": ("# only a comment\n", 1, ["mapping"]),
    "two documents": (f"{TOP}---\n{TOP}", 2, ["not YAML"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_at_its_line(tmp_path: Path, mistake: str) -> None:
    text, line, words = MISTAKES[mistake]
    path = tmp_path / "x.yaml"
    path.write_text(text)
    message = refused(path)
    at = re.findall(rf"^{re.escape(str(path))}:(\d+): ", message, re.MULTILINE)
    assert [*map(int, at)] == [line], message  # one mistake, one message
    assert [word for word in words if word not in message] == [], message
    assert "Input should" not in message, "pydantic's words are for programmers"
    assert "Pydantic" not in message


def test_a_mistake_in_a_product_is_named_at_the_value(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"{TOP}grid:\n  - method.name: [slq]\n    method.bits:\n      - 3\n      - 9\n")
    assert refused(path).startswith(f"{path}:6: method.bits: 9")


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(one("method: {name: slq, bits: 9, rounds: 0}, sed: 1"))
    found = [re.split("[:;] ", line)[1] for line in refused(path).splitlines()]
    assert found == ["method.bits", "method.rounds", "unknown key 'sed'"]


@pytest.mark.parametrize(
    "text", ["description: nothing\n", TOP, f"{TOP}{ONE}exclude:\n  - seed: 0\n", f"{TOP}trials: []\n"]
)
def test_an_empty_sweep_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert refused(path).startswith(f"{path}: ")
    assert "no trial" in refused(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "jobs/*.yaml" in refused(tmp_path / "none.yaml")
    assert str(tmp_path) in refused(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "binary.yaml" in refused(tmp_path / "binary.yaml")
    assert "binary.yaml" in refused(tmp_path / "binary.yaml" / "x.yaml")


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_sweep(path)
    return str(caught.value)


# The jobs that come with the suite, and the schema for editors


def test_there_are_jobs() -> None:
    assert "quickstart" in [path.stem for path in JOBS]


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.stem)
def test_every_job_loads_and_says_what_it_shows(path: Path) -> None:
    sweep = load_sweep(path)
    assert sweep.trials
    assert len(sweep.description) > 40


def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(sweep_schema())
    return jsonschema.Draft202012Validator(sweep_schema())


def test_the_schema_is_json() -> None:
    assert json.loads(json.dumps(sweep_schema())) == sweep_schema()


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.stem)
def test_the_schema_accepts_every_job(path: Path) -> None:
    validator().validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "text",
    [
        f"{TOP}{ONE}",
        "defaults: {network: lenet5, method: {bits: 5}}\ntrials: [{data: digits, method: {name: slq}}]\n",
        "defaults: {network: lenet5, data: digits, method.name: slq}\ngrid: [{method.bits: [2, 3], seed: [0]}]\n",
        f"{TOP}{ONE}exclude: [{{method.bits: [1, 2], seed: 0}}]\n",
    ],
)
def test_the_schema_accepts_settings_split_over_blocks(text: str) -> None:
    validator().validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "mistake",
    [
        "unknown top key",
        "unknown trial key",
        "unknown key in defaults",
        "unknown method option",
        "unknown recipe key",
        "wrong literal",
        "option of another method",
        "unknown method",
        "unknown network",
        "wrong type",
        "SLQ at 1 bit",
        "grid value that is not a list",
        "grid that is a mapping",
        "trials that are words",
    ],
)
def test_the_schema_refuses(mistake: str) -> None:
    assert not validator().is_valid(yaml.safe_load(MISTAKES[mistake][0]))
