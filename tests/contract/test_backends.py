"""What every backend must do with a sweep: the same ledger, the same table, the same numbers, and nothing twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from suite.files import read_json
from suite.launch.submission import Submission, submissions
from suite.ledger import Ledger, State, Work
from suite.report import build_tables, load_references, write_tables
from suite.sweep import Sweep, load_sweep
from tests.contract.test_methods import outcome
from tests.fake_slurm import store
from tests.fake_slurm.__main__ import install
from tests.slurm.dev_cluster import DevCluster, dev_cluster, until, why_not
from tests.slurm.sweeps import points

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:1"  # no MLflow
SECONDS = 600.0  # for a whole sweep, on a machine that is busy with other things

GOOD = """
defaults:
  network: lenet5
  data: digits
  baseline: {epochs: 2, batch_size: 128}
  retrain: {epochs: 1, batch_size: 128}
  holdout: 64
  runtime: {log_steps: 2}
grid:
  - method: [{name: full}, {name: kmeans, bits: 3}, {name: slq, bits: 3}]
    seed: [0, 1]
"""
DIVERGES = """
trials:
  - {method: {name: slq, bits: 4}, retrain: {learning_rate: 1.0e+30}}
"""
# Three tasks in two arrays, of which two run at once.
ARRAY = 'partition = "main"\ntime = "10"\nmemory = "900M"\nmax_array_size = 2\nmax_submit = 3\nmax_parallel = 2\n'
ALLOCATION = 'partition = "main"\ntime = "10"\nmemory = "3G"\nnodes = 2\n'


@dataclass(frozen=True)
class Run:
    """The sweep in a folder of its own, and the command that runs it."""

    folder: Path
    environment: dict[str, str]
    command: tuple[str, ...]
    on_slurm: bool = True

    @property
    def file(self) -> Path:
        return self.folder / "x.yaml"

    @cached_property
    def sweep(self) -> Sweep:
        """With the trial that fails, which is the last one."""
        return load_sweep(self.file)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "runs", "x")

    @cached_property
    def good(self) -> list[Work]:
        return [self.ledger.trial(trial.id) for trial in self.sweep.trials[:-1]]

    @property
    def bad(self) -> Work:
        return self.ledger.trial(self.sweep.trials[-1].id)

    @property
    def submissions(self) -> list[Submission]:
        return submissions(self.ledger)

    def call(self) -> subprocess.CompletedProcess[str]:
        verb, *options = self.command
        slq = [sys.executable, "-c", "from suite.cli import main; main()"]
        command = [*slq, verb, str(self.file), "--root", str(self.ledger.root), *options]
        return subprocess.run(command, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True)

    def finish(self) -> Run:
        """Run the sweep until nothing runs any more."""
        self.folder.mkdir()
        (self.folder / "site.toml").write_text(ALLOCATION if "ray" in self.command else ARRAY)
        self.file.write_text(GOOD + DIVERGES)
        assert len(self.sweep.trials) == 7
        done = self.call()
        assert done.returncode == (0 if self.on_slurm else 1), done.stdout + done.stderr
        if self.on_slurm:
            until(self.is_idle, f"the jobs are over\n{done.stdout}", SECONDS)
        return self

    def is_idle(self) -> bool:
        asked = subprocess.run(["squeue", "--noheader"], env=self.environment, capture_output=True, text=True)
        return asked.returncode == 0 and not asked.stdout.strip()

    def output(self) -> str:
        """What the jobs wrote, for messages."""
        logs = (log for each in self.submissions for log in sorted(each.log_folder().glob("*_log.*")))
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in logs)


def environment(folder: Path) -> dict[str, str]:
    """For commands: nothing of another Slurm, and an MLflow that would leave a file if anybody wrote to it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "FAKE_"))}
    return kept | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "COLUMNS": "300"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backends")


@pytest.fixture(scope="module")
def local(folder: Path) -> Run:
    command = ("run", "--workers", "2", "--tracking-uri", NOWHERE)
    more = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    return Run(folder / "local", environment(folder) | more, command, on_slurm=False).finish()


def submitting(folder: Path, backend: str, more: dict[str, str]) -> Run:
    command = ("submit", "--site", str(folder / "site.toml"), "--backend", backend, "--allow-dirty")
    return Run(folder, environment(folder) | more, command).finish()


@pytest.fixture(scope="module")
def array_on_fake(folder: Path) -> Iterator[Run]:
    commands, state = folder / "bin", folder / "state"
    install(commands)
    more = {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "FAKE_SLURM": str(state)}
    try:
        yield submitting(folder / "fake", "array", more)
    finally:
        subprocess.run([commands / "fake-slurm", "stop"], env=os.environ | more, check=True)
        assert not store.processes("FAKE_SLURM", f"{state}\0")


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevCluster]:
    if reason := why_not():
        pytest.skip(reason)
    with dev_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def array_on_slurm(folder: Path, cluster: DevCluster) -> Run:
    return submitting(folder / "array", "array", cluster.env)


@pytest.fixture(scope="module")
def ray_on_slurm(folder: Path, cluster: DevCluster) -> Run:
    return submitting(folder / "ray", "ray", cluster.env)


ON_SLURM = ["array_on_fake", "array_on_slurm", "ray_on_slurm"]


@pytest.fixture(scope="module", params=["local", *ON_SLURM])
def run(request: pytest.FixtureRequest) -> Run:
    """The sweep after it was run by one of the backends, once for all tests."""
    finished: Run = request.getfixturevalue(request.param)
    return finished


def starts(work: Work) -> int:
    return sum(event["event"] == "start" for attempt in work.attempts() for event in attempt.events())


def test_every_trial_and_every_baseline_is_done_once(run: Run) -> None:
    baselines = {run.ledger.baseline(trial.baseline_id).path: trial for trial in run.sweep.trials}
    assert len(baselines) == 2
    for work in [*run.good, *map(Work, baselines)]:
        assert work.state() is State.DONE, f"{work.id}: {work.why_failed()}\n{run.output()}"
        assert len(work.attempts()) == 1
        assert starts(work) == 1
        assert work.attempts()[0].events()[-1]["outcome"] == "done"
        assert not work.checkpoint.exists(), "nothing is left over of finished work"
    assert {work.id for work in run.ledger.trials()} == {trial.id for trial in run.sweep.trials}


def test_a_trial_that_fails_stops_no_other_and_is_not_tried_for_ever(run: Run) -> None:
    assert run.bad.state() is State.FAILED
    assert run.bad.why_failed().startswith("FloatingPointError")
    assert 1 <= starts(run.bad) == len(run.bad.attempts()) <= 3


def test_numbers_models_and_recorded_points_are_the_same(run: Run, local: Run) -> None:
    for work, expected in zip(run.good, local.good, strict=True):
        assert outcome(work.result()) == outcome(expected.result())
        assert work.model.read_bytes() == expected.model.read_bytes()
        assert points(work) == points(expected)


def test_the_table_is_the_same(run: Run, local: Run) -> None:
    assert table(run) == table(local)
    assert "SLQ" in table(run)


def table(run: Run) -> str:
    """The table in Markdown, without what it says of the checkout, which somebody may edit while the tests run."""
    built = build_tables(run.ledger, run.sweep.trials, load_references())
    written = write_tables(built, run.folder / "tables")
    text = "\n".join(path.read_text() for path in written if path.suffix == ".md")
    return re.sub(r" \d+ of them ran from uncommitted code\.", "", text)


@pytest.mark.parametrize("run", ON_SLURM, indirect=True)
def test_jobs_write_to_the_ledger_only(run: Run) -> None:
    left = [path for path in run.folder.rglob("*") if "mlflow" in path.name.lower() and "code" not in path.parts]
    assert left == []


@pytest.mark.parametrize("run", ON_SLURM, indirect=True)
def test_what_ran_is_the_frozen_code_in_jobs_of_the_submissions(run: Run) -> None:
    (code,) = {each.intent["code"]["path"] for each in run.submissions}
    assert f'File "{code}/suite/train.py"' in run.bad.attempts()[-1].log(), "the traceback tells the files that ran"
    facts, jobs = read_json(Path(code) / "code.json"), {job for each in run.submissions for job in each.job_ids()}
    assert jobs
    for work in [*run.good, run.bad]:
        (attempt, *_) = work.attempts()
        provenance = attempt.provenance()
        assert (provenance["commit"], provenance["dirty"]) == (facts["commit"], facts["dirty"])
        assert attempt.job() in jobs
        assert provenance["slurm"]["SLURM_JOB_ID"]


def test_again_nothing_is_run(run: Run) -> None:
    """Comes last, as the trial that fails is taken out of the sweep: it may be tried again."""
    before = [work.path.joinpath("result.json").stat().st_mtime_ns for work in run.good]
    submitted = len(run.submissions)
    run.file.write_text(GOOD)
    done = run.call()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "x: 6 trials (6 done, 1 orphan); 0 to run" in done.stdout
    assert len(run.submissions) == submitted
    assert [work.path.joinpath("result.json").stat().st_mtime_ns for work in run.good] == before
    assert [len(work.attempts()) for work in run.good] == [1] * 6
