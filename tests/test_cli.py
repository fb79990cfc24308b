"""The command line: help, exit codes, messages without tracebacks, and every command on a small ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer
from PIL import Image
from safetensors.torch import save_file

from suite import cli
from suite.cli.app import check_file
from suite.data import DATASETS, open_data
from suite.errors import UserError
from suite.ledger import Ledger
from suite.pack.convert import pack_tensors
from suite.sweep import load_sweep, sweep_schema
from suite.track import store
from suite.track.store import check_uri
from suite.trial import run_trial
from tests.conftest import Slq

TEXT = """
defaults:
  network: lenet5
  data: digits
  baseline: {epochs: 2, batch_size: 128}
  retrain: {epochs: 1, batch_size: 128}
  holdout: 64
trials:
  - method: {name: kmeans, bits: 3}
  - method: {name: full}
  - {method: {name: slq, bits: 3}, seed: 0}
  - {method: {name: slq, bits: 3}, seed: 1}
"""
WITH_SWEEP = [
    "plan",
    "run",
    "submit",
    "status",
    "logs",
    "usage",
    "cancel",
    "retry",
    "sync",
    "ui",
    "tables",
    "figures",
    "report",
]
COMMANDS = [*WITH_SWEEP, "pack", "unpack", "verify", "inspect", "export", "schema", "colors"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A sweep file and a root where one trial is done, one has failed, and two are new."""
    folder = tmp_path_factory.mktemp("small")
    file = folder / "short.yaml"
    file.write_text(TEXT)
    ledger, trials = Ledger(folder / "runs", "short"), load_sweep(file).trials
    assert run_trial(trials[0], ledger, folder / "data")
    attempt = ledger.trial(trials[2].id).try_claim(trials[2].config())
    assert attempt is not None
    with pytest.raises(OSError, match="melted"), attempt.running():
        raise OSError("the disk [red]melted[/red]")
    return file, folder / "runs"


# Help and exit codes


def test_these_are_the_commands() -> None:
    assert list(typer.main.get_command(cli.app).commands) == [*COMMANDS, "site"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(slq: Slq, command: str) -> None:
    ended = slq(command, "--help")
    assert ended.code == 0
    assert f" {command} [OPTIONS]" in ended.out
    if command in WITH_SWEEP:
        assert "SWEEP" in ended.out
        assert "--root" in ended.out


def test_help_lists_the_commands(slq: Slq) -> None:
    ended = slq("--help")
    assert ended.code == 0
    assert [command for command in COMMANDS if command not in ended.out] == []


def test_a_mistake_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from suite.cli import main; main()", "plan", "none.yaml"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: no file none.yaml; the sweeps that come with the suite are jobs/*.yaml\n"


def test_a_mistake_moves_no_cursor(slq: Slq) -> None:
    ended = slq("verify", "none\x1b[2J.slq")
    assert (ended.code, ended.err) == (2, "error: no file none\\x1b[2J.slq\n")


@pytest.mark.parametrize("command", WITH_SWEEP)
def test_every_command_refuses_a_broken_sweep(slq: Slq, tmp_path: Path, command: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("defaults: {network: lenet5, data: digits}\ntrials: [{method: {name: sqq}}]\n")
    more = {"logs": ["part"], "submit": ["--site", "dev-cluster"]}.get(command, [])
    ended = slq(command, file, *more, "--root", tmp_path / "runs")
    assert ended.code == 2
    assert ended.err.startswith(f"error: {file}:2: method.name: unknown method 'sqq'")
    assert not (tmp_path / "runs").exists()


SWEEP = "defaults: {network: lenet5, data: digits}\ntrials: [{method: {name: full}}]\n"


@pytest.mark.parametrize("command", [command for command in WITH_SWEEP if command != "ui"])
def test_a_root_that_is_a_file_is_refused(slq: Slq, tmp_path: Path, command: str) -> None:
    file, root = tmp_path / "x.yaml", tmp_path / "root"
    file.write_text(SWEEP)
    root.write_text("")
    more = {"logs": ["full"], "submit": ["--site", "dev-cluster"]}.get(command, [])
    ended = slq(command, file, *more, "--root", root)
    assert (ended.code, ended.err) == (2, f"error: {root} is a file; name a folder\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("defaults:\n\tnetwork: lenet5\n", ":2: not YAML: found character '\\t'"),
        ("", ":1: expected a mapping (key: value) at the top"),
        (f"{SWEEP}exclude: [{{seed: 2020-13-45}}]\n", ":3: month must be in 1..12"),
        ("\0", ": not a YAML file: "),
        (f"description: [1]\n{SWEEP}", ":1: description must be a text: what the sweep shows"),
        (f"description: 0\n{SWEEP}", ":1: description must be a text: what the sweep shows"),
        (f"description: []\n{SWEEP}", ":1: description must be a text: what the sweep shows"),
        ("grid: []\n", ": the sweep has no trial; give a grid or trials"),
    ],
    ids=["tab", "empty", "date", "null byte", "description", "description 0", "description list", "no trial"],
)
def test_a_sweep_file_with_a_mistake_is_told_with_its_line(slq: Slq, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    ended = slq("plan", file)
    assert ended.code == 2
    assert ended.err.startswith(f"error: {file}{words}")
    assert ended.err.count("\n") == 1


def test_a_sweep_file_that_is_no_text_or_a_folder(slq: Slq, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"a: \xff\n")
    assert slq("plan", file).err == f"error: {file}: not a YAML file: byte 3 is no text in UTF-8\n"
    words = "cannot be read: Is a directory; name a YAML file, such as jobs/quickstart.yaml"
    assert slq("plan", tmp_path).err == f"error: {tmp_path} {words}\n"


@pytest.mark.parametrize("command", ["status", "usage", "cancel", "submit"])
def test_a_damaged_record_of_a_submission_is_told(slq: Slq, tmp_path: Path, command: str) -> None:
    file, folder = tmp_path / "x.yaml", tmp_path / "runs" / "x" / "submissions" / "s"
    file.write_text(SWEEP)
    folder.mkdir(parents=True)
    (folder / "submission.json").write_text('{"schema": 1, "tri')
    more = {"submit": ["--site", "dev-cluster", "--dry-run"]}.get(command, [])
    ended = slq(command, file, *more, "--root", tmp_path / "runs")
    assert ended.code == 2
    assert f"error: {folder}/submission.json is damaged (Unterminated string" in ended.err
    assert ended.err.endswith("restore it, or remove its folder once squeue shows no job of it\n")


def test_what_the_system_refuses_is_told_in_a_line(slq: Slq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/scratch/x")

    file = tmp_path / "x.yaml"
    file.write_text(SWEEP)
    monkeypatch.setattr("suite.launch.plan.make_plan", full)
    ended = slq("plan", file, "--root", tmp_path / "runs")
    assert (ended.code, ended.err) == (2, "error: /scratch/x: No space left on device\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["plann"],
        ["plan"],
        ["plan", "x.yaml", "--wide"],
        ["run", "x.yaml", "--workers", "0"],
        ["run", "x.yaml", "--gpus", "-1"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_2(slq: Slq, arguments: list[str]) -> None:
    ended = slq(*arguments)
    assert ended.code == 2
    assert "Usage: " in ended.err


def test_ctrl_c_is_130_and_says_what_to_do(slq: Slq, small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("suite.sweep.load_sweep", interrupted)
    ended = slq("plan", small[0])
    assert ended.code == 130
    assert "the same command goes on" in ended.err


# What is missing is told before anything starts


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("data: mnist", ["MNIST not found", "MNIST/raw", "--data-root"]),
        ("data: cifar10, network: resnet20", ["CIFAR-10 not found", "--data-root"]),
        ("network: resnet20, baseline: {weights: published}", ["cifar10-resnet20", "data"]),
    ],
    ids=["mnist", "cifar10", "weights"],
)
def test_missing_data_says_where_to_put_it(slq: Slq, tmp_path: Path, settings: str, words: list[str]) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        f"defaults: {{network: lenet5, data: digits}}\ntrials:\n  - {{method: {{name: full}}, {settings}}}\n"
    )
    ended = slq("run", file, "--root", tmp_path / "runs", "--data-root", tmp_path / "data")
    assert ended.code == 2
    assert [word for word in [*words, str(tmp_path / "data")] if word not in ended.err] == [], ended.err
    assert not (tmp_path / "runs" / "x").exists(), "nothing was started"


@pytest.mark.parametrize("command", ["plan", "run", "status"])
def test_a_holdout_that_leaves_nothing_to_train_on(slq: Slq, tmp_path: Path, command: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("defaults: {network: lenet5, data: digits, holdout: 1257}\ntrials: [{method: {name: full}}]\n")
    ended = slq(command, file, "--root", tmp_path / "runs")
    assert ended.code == 2
    assert (
        ended.err == f"error: {file}:2: holdout 1257 leaves nothing of the 1257 training images; choose a smaller one\n"
    )


def test_the_number_of_training_images_is_that_of_the_data() -> None:
    assert open_data("digits", Path("none"), Path("none")).count("train") == DATASETS["digits"].training


@pytest.mark.parametrize("command", ["tables", "figures", "report", "pack", "unpack", "colors --out", "colors --table"])
def test_a_folder_for_what_a_command_writes_is_made(
    slq: Slq, small: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)  # where the published figures are
    file, root = small
    there = tmp_path / "a" / "b"
    weights, packed, picture = tmp_path / "w.safetensors", tmp_path / "w.slq", tmp_path / "p.png"
    save_file({"w": torch.ones(4)}, weights)
    packed.write_bytes(pack_tensors({"w": torch.ones(4)}))
    Image.new("RGB", (4, 4)).save(picture)
    arguments: dict[str, list[object]] = {
        "tables": ["tables", file, "--root", root, "--out", there],
        "figures": ["figures", file, "--root", root, "--out", there],
        "report": ["report", file, "--root", root, "--out", there / "x.html"],
        "pack": ["pack", weights, there / "x.slq"],
        "unpack": ["unpack", packed, there / "x.safetensors"],
        "colors --out": ["colors", picture, "--colors", 2, "--out", there / "x.png"],
        "colors --table": ["colors", picture, "--colors", 2, "--compare", "--table", there / "x.md"],
    }
    ended = slq(*arguments[command])
    assert (ended.code, list(there.iterdir()) != []) == (0, True), ended.err


# Every command on a small ledger


def test_plan(slq: Slq, small: tuple[Path, Path]) -> None:
    file, root = small
    ended = slq("plan", file, "--root", root)
    assert ended.code == 0
    assert ended.out.startswith("short: 4 trials (2 new, 1 retry, 1 done); 3 to run, time unknown")
    assert ended.out.count("\n") == 1
    verbose = slq("plan", file, "--root", root, "--verbose").out
    for trial in load_sweep(file).trials:
        assert trial.id in verbose
        assert trial.label in verbose


def test_status(slq: Slq, small: tuple[Path, Path]) -> None:
    ended = slq("status", small[0], "--root", small[1])
    assert ended.code == 0
    for words in ("1 of 4 trials done", "2 new", "1 failed", "OSError: the disk [red]melted[/red]"):
        assert words in ended.out


def test_logs(slq: Slq, small: tuple[Path, Path]) -> None:
    file, root = small
    ended = slq("logs", file, "k-means", "--root", root)
    assert ended.code == 0
    assert "attempt 1, done" in ended.out
    assert "making lenet5-digits-s0-" in ended.out
    failed = slq("logs", file, "slq-3b-loss-lenet5-digits-s0", "--root", root)
    assert "attempt 1, failed" in failed.out
    assert "Traceback (most recent call last)" in failed.out
    assert "OSError: the disk [red]melted[/red]" in failed.out


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("full", ["has not been tried yet", "slq run"]),
        ("slq-3b", ["part of 2 trials", "slq-3b-loss-lenet5-digits-s0", "slq-3b-loss-lenet5-digits-s1"]),
        (
            "slq-4b-loss-lenet5-digits-s1",
            ["no trial", "did you mean 'slq-3b-loss-lenet5-digits-s1", "or 'slq-3b-loss", "plan --verbose lists all"],
        ),
        ("?", ["no trial '?' in short; ", "plan --verbose lists all"]),
    ],
    ids=["untried", "ambiguous", "unknown", "far from all"],
)
def test_logs_of_no_trial(slq: Slq, small: tuple[Path, Path], part: str, words: list[str]) -> None:
    ended = slq("logs", small[0], part, "--root", small[1])
    assert ended.code == 2
    assert [word for word in words if word not in ended.err] == [], ended.err


def test_tables(slq: Slq, small: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)  # where the published figures are
    ended = slq("tables", small[0], "--root", small[1], "--out", tmp_path / "tables")
    assert ended.code == 0
    assert "k-means" in ended.out
    assert "missing" in ended.out
    assert {".md", ".tex", ".html", ".csv"} <= {path.suffix for path in (tmp_path / "tables").rglob("*")}
    for path in (tmp_path / "tables").rglob("*.*"):
        assert str(path) in ended.out


# On a cluster; what needs one is tested in tests/slurm and tests/test_submit.py


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "FILE", "--site", "nowhere"], ["nowhere", "dev-cluster"]),
        (["submit", "FILE", "--site", "dev-cluster", "--gpus-per-trial", "0.5"], ["--backend ray"]),
        (["usage", "FILE"], ["never submitted", "slq submit"]),
        (["cancel", "FILE", "k-means"], ["does not run in a job of this sweep"]),
        (["site", "check", "nowhere"], ["nowhere", "dev-cluster"]),
    ],
    ids=lambda value: " ".join(value[:2]),
)
def test_mistakes_on_the_way_to_a_cluster(
    slq: Slq, small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)  # where the site profiles are
    file, root = small
    ended = slq(
        *[str(file) if a == "FILE" else a for a in arguments], *(["--root", root] if "FILE" in arguments else [])
    )
    assert ended.code == 2
    assert [word for word in words if word not in ended.err] == [], ended.err


def test_retry_forgives_what_was_given_up(slq: Slq, tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text(TEXT)
    ledger, trial = Ledger(tmp_path / "runs", "short"), load_sweep(file).trials[2]
    for _ in range(3):
        attempt = ledger.trial(trial.id).try_claim(trial.config())
        assert attempt is not None
        with pytest.raises(OSError, match="melted"), attempt.running():
            raise OSError("the disk melted")
    assert "1 failed" in slq("plan", file, "--root", tmp_path / "runs").out
    forgiven = slq("retry", file, "--root", tmp_path / "runs")
    assert forgiven.code == 0
    assert f"will be tried again: {trial.id}" in forgiven.out
    assert "1 retry" in slq("plan", file, "--root", tmp_path / "runs").out
    assert "0 trials" in slq("retry", file, "--root", tmp_path / "runs").out


def test_schema(slq: Slq) -> None:
    ended = slq("schema")
    assert ended.code == 0
    assert json.loads(ended.out) == sweep_schema()


@pytest.mark.slow
def test_sync(slq: Slq, small: tuple[Path, Path], tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    first = slq("sync", small[0], "--root", small[1], "--tracking-uri", uri)
    assert first.code == 0
    assert first.out.startswith(f"{uri}: 2 runs created")
    assert (
        ": 0 runs created, 0 updated, 2 unchanged"
        in slq("sync", small[0], "--root", small[1], "--tracking-uri", uri).out
    )


def test_an_address_without_a_file(slq: Slq, small: tuple[Path, Path]) -> None:
    ended = slq("sync", small[0], "--root", small[1], "--tracking-uri", "sqlite:///")
    assert (ended.code, ended.err) == (
        2,
        "error: MLflow at sqlite:///: no file is named; write sqlite:///results/mlflow.db, for instance\n",
    )


@pytest.mark.parametrize("uri", ["postgres://h/x", "HTPS://h", "sqllite:///x", "://x", "a b://x"])
def test_addresses_with_a_scheme_that_is_mistyped_or_none(uri: str) -> None:
    with pytest.raises(UserError, match="; allowed: sqlite, http, https,"):
        check_uri(uri)


@pytest.mark.parametrize(
    ("uri", "known_as"),
    [
        ("HTTP://Host/X", "http://Host/X"),
        ("SQLite:///A.db", "sqlite:///A.db"),
        ("PostgreSQL+psycopg2://u:P@h/x", "postgresql+psycopg2://u:P@h/x"),
        ("file-plugin://x", "file-plugin://x"),  # of MLflow's own tests
        ("azureml://x", "azureml://x"),
        ("databricks", "databricks"),
        ("results/mlruns", "results/mlruns"),
    ],
)
def test_schemes_have_no_case_and_mlflow_judges_those_of_others(uri: str, known_as: str) -> None:
    assert check_uri(uri) == known_as


def test_a_scheme_of_a_plugin_may_be_like_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="did you mean 'databricks'"):
        check_uri("databrick://x")
    monkeypatch.setattr(store, "entry_points", lambda group: SimpleNamespace(names={"databrick"}))
    assert check_uri("databrick://x") == "databrick://x"


@pytest.mark.slow
def test_what_mlflow_says_of_a_scheme_is_one_line(slq: Slq, small: tuple[Path, Path]) -> None:
    ended = slq("sync", small[0], "--root", small[1], "--tracking-uri", "azureml://x")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended
    assert ended.err.startswith("error: MLflow at azureml://x: ")


@pytest.mark.parametrize("command", ["sync", "run"])
def test_an_address_that_mlflow_does_not_know(slq: Slq, tmp_path: Path, command: str) -> None:
    file = tmp_path / "short.yaml"
    file.write_text(TEXT)
    ended = slq(command, file, "--root", tmp_path / "runs", "--tracking-uri", "htp://ada:secret@host")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith("error: MLflow at htp://host: unknown scheme 'htp'; allowed: sqlite, http, https,")
    assert ended.err.endswith("- did you mean 'http'?\n")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_sync_without_mlflow(slq: Slq, small: tuple[Path, Path]) -> None:
    ended = slq("sync", small[0], "--root", small[1], "--tracking-uri", "http://127.0.0.1:1")
    assert ended.code == 2
    assert "sync again later" in ended.err


def test_a_command_that_fails_leaves_no_folder(slq: Slq, tmp_path: Path) -> None:
    (tmp_path / "no.safetensors").write_text("nothing of the kind")
    ended = slq("pack", tmp_path / "no.safetensors", tmp_path / "nn" / "deep" / "x.slq")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended
    assert not (tmp_path / "nn").exists()


def test_commands_make_the_folders_of_what_they_write(slq: Slq, tmp_path: Path) -> None:
    save_file({"w": torch.zeros(4)}, tmp_path / "w.safetensors")
    target = tmp_path / "nn" / "deep" / "w.slq"
    assert slq("pack", tmp_path / "w.safetensors", target).code == 0
    assert slq("unpack", target, tmp_path / "out" / "w.safetensors").code == 0
    assert (tmp_path / "out" / "w.safetensors").is_file()


def test_a_file_to_write_must_be_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    for target, words in (
        (tmp_path, "is a folder; name a file in it"),
        (tmp_path / "file" / "x", "/file is a file; name a folder"),
        (Path("file/a/x"), "file is a file; name a folder"),
    ):
        with pytest.raises(UserError, match=words):
            check_file(target)
    assert check_file(Path("a/b/x")) == Path("a/b/x")
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(UserError, match=f"a/b/x cannot be written: {tmp_path} is not yours to write to"):
        check_file(Path("a/b/x"))
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
