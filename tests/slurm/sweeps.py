"""A sweep in a folder of its own, on a cluster: submitted by the real command line, and compared with an undisturbed run."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from suite import cli
from suite.cli.app import out
from suite.launch.submission import Submission, submissions
from suite.launch.worker import FINISHED, drain
from suite.ledger import Event, Ledger, State, Work
from suite.sweep import Sweep, load_sweep
from tests.contract.test_methods import outcome
from tests.slurm.dev_cluster import DevCluster, until
from tests.slurm.steps import Steps

CHECKOUT = Path(__file__).parents[2]
COMMAND_LINE = threading.Lock()
SECONDS = 600  # that a command, or a sweep on a cluster, may take
RUN = """
import sys
from pathlib import Path
from suite.launch.worker import drain
from suite.ledger import Ledger
from suite.sweep import load_sweep
sweep = load_sweep(Path(sys.argv[1]))
sys.exit(drain(sweep.trials, Ledger(Path(sys.argv[2]), sweep.name), lambda: Path("data")))
"""


@dataclass(frozen=True)
class ClusterSweep:
    """The folder holds the sweep file, the site profile and the ledger's root."""

    folder: Path
    cluster: DevCluster
    steps: Steps  # of its tasks

    @property
    def file(self) -> Path:
        return self.folder / "sweep.yaml"

    @property
    def site(self) -> Path:
        return self.folder / "site.toml"

    @property
    def root(self) -> Path:
        return self.folder / "runs"

    @cached_property
    def sweep(self) -> Sweep:
        return load_sweep(self.file)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.root, self.sweep.name)

    @property
    def submissions(self) -> list[Submission]:
        return submissions(self.ledger)

    def write_site(self, **fields: object) -> None:
        """Write the site profile."""
        fields = {"partition": "main", "memory": "1200M"} | fields
        self.site.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in fields.items()))

    def slq(self, verb: str, *arguments: str) -> str:
        """What `slq VERB SWEEP ARGUMENTS` says if all goes well. In this process: another one would need seconds to start.

        The console is turned away itself, not sys.stdout, which belongs to the main thread, where pytest goes from test to test.
        """
        said = io.StringIO()
        with COMMAND_LINE, pytest.MonkeyPatch.context() as patch:
            for name, value in self.cluster.env.items():
                patch.setenv(name, value)
            patch.setattr(out, "_width", 300)
            patch.setattr(out, "_file", said)
            with pytest.raises(SystemExit) as end:
                cli.app([verb, str(self.file), *arguments, "--root", str(self.root)])
        assert not end.value.code, said.getvalue()
        assert said.getvalue()
        return said.getvalue()

    def start(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same as a process of its own, that may fail and be killed."""
        command = [sys.executable, "-c", "from suite.cli import main; main()", verb, str(self.file), *arguments]
        return subprocess.run(
            [*command, "--root", str(self.root)], cwd=CHECKOUT, env=self._env(), capture_output=True, text=True
        )

    def _env(self) -> dict[str, str]:
        """Without what an outer Slurm job or another cluster left in the environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return kept | self.cluster.env | {"COLUMNS": "300"}

    def submit(self, *flags: str) -> str:
        """`slq submit`; returns what it said. The code of a checkout under test may differ from its commit."""
        return self.slq("submit", "--site", str(self.site), "--allow-dirty", *flags)

    def status(self) -> str:
        """What `slq status` says."""
        return self.slq("status")

    def job(self) -> str:
        """Slurm's id of the newest submission."""
        job = self.submissions[-1].job_id
        assert job is not None
        return job

    def is_done(self) -> bool:
        return all(self.ledger.trial(trial.id).state() is State.DONE for trial in self.sweep.trials)

    def wait(self, seconds: float = SECONDS) -> None:
        """Wait until every trial has its result."""
        try:
            until(self.is_done, "all trials are done", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status()}\n{self.output()}") from None

    def output(self) -> str:
        """What the tasks wrote, for messages."""
        files = sorted(file for each in self.submissions for file in each.log_folder().glob("*_log.*"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)


def prepare(
    folder: Path,
    cluster: DevCluster,
    text: str,
    *,
    step_seconds: float = 0.0,
    step_megabytes: float = 0.0,
    held: int | None = None,
    **site: object,
) -> ClusterSweep:
    """Write the sweep file and a site profile with these fields.

    Args:
        text: the sweep, as YAML.
        step_seconds: what a training step takes at least.
        step_megabytes: memory that a training step leaves taken.
        held: steps of a task after which it waits until `steps.release`.
    """
    folder.mkdir(parents=True)
    made = ClusterSweep(folder, cluster, Steps(folder / "steps", step_seconds, step_megabytes, held))
    made.file.write_text(text)
    environment = {} if made.steps.are_usual() else made.steps.install()
    made.write_site(setup=[f"export {name}={value}" for name, value in environment.items()], **site)
    return made


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + "}"
    return json.dumps(value)


def undisturbed(folder: Path, text: str) -> Ledger:
    """The ledger of a run of the sweep that nothing disturbs, here and without Slurm."""
    folder.mkdir(parents=True)
    file = folder / "sweep.yaml"
    file.write_text(text)
    sweep = load_sweep(file)
    ledger = Ledger(folder / "runs", sweep.name)
    assert drain(sweep.trials, ledger, lambda: CHECKOUT / "data") == FINISHED
    return ledger


def start_here(folder: Path, text: str, **environment: str) -> tuple[Ledger, subprocess.Popen[str]]:
    """A process that works on all trials of the sweep, without Slurm, and its ledger in the folder."""
    file, root = folder / "sweep.yaml", folder / "runs"
    file.write_text(text)
    path = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(CHECKOUT)]))
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(file), str(root)],
        cwd=CHECKOUT,
        env={**os.environ, **environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Ledger(root, load_sweep(file).name), process


def assert_same(ledger: Ledger, reference: Ledger, sweep: Sweep) -> None:
    """Results, models and all recorded points are equal to the last bit, also those that were trained again."""
    for trial in sweep.trials:
        work, expected = ledger.trial(trial.id), reference.trial(trial.id)
        assert outcome(work.result()) == outcome(expected.result()), trial.label
        assert work.model.read_bytes() == expected.model.read_bytes(), trial.label
        assert points(work) == points(expected), trial.label


def points(work: Work) -> dict[int, dict[str, Any]]:
    """What was recorded after each training step; a step that was repeated must have come out the same."""
    found: dict[int, dict[str, Any]] = {}
    for event in recorded(work):
        values = {name: value for name, value in event.items() if name != "t"}
        assert found.setdefault(event["step"], values) == values
    return found


def recorded(work: Work) -> list[Event]:
    """The points of all attempts."""
    return [event for attempt in work.attempts() for event in attempt.events() if event["event"] == "train"]


def assert_one_after_the_other(ledger: Ledger, sweep: Sweep) -> None:
    """No trial or baseline was worked on by two at a time: each attempt's last word came before the next one's first."""
    works = [ledger.trial(trial.id) for trial in sweep.trials]
    works += [ledger.baseline(identity) for identity in {trial.baseline_id for trial in sweep.trials}]
    for work in works:
        spans = [[event["t"] for event in attempt.events()] for attempt in work.attempts()]
        spans = [times for times in spans if times]
        for earlier, later in pairwise(spans):
            assert earlier[-1] <= later[0], work.path
