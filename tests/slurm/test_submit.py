"""`slq submit` while things go wrong around it: killed in the middle, twice at once, daemons that go away, edited code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from suite.ledger import Work
from tests.slurm.dev_cluster import SCRIPT, DevCluster, until
from tests.slurm.sweeps import CHECKOUT, ClusterSweep, prepare

pytestmark = pytest.mark.slow

TWO = """
defaults:
  network: lenet5
  data: digits
  baseline: {epochs: 1, batch_size: 256}
  retrain: {epochs: 1, batch_size: 256}
  holdout: 64
  method: {name: kmeans, bits: 3}
grid:
  - seed: [0, 1]
"""


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., AbstractContextManager[DevCluster]]) -> Iterator[DevCluster]:
    """Commands wait three seconds for a controller that is away, instead of ten."""
    with start_cluster(extra="MessageTimeout=4") as running:
        yield running


@pytest.fixture
def two(slurm_env: DevCluster, tmp_path: Path) -> ClusterSweep:
    """A sweep of two trials that take a second."""
    return prepare(tmp_path / "x", slurm_env, TWO, memory="900M")


@contextmanager
def held(cluster: DevCluster) -> Iterator[None]:
    """Jobs that are submitted meanwhile wait; afterwards they start."""
    cluster.command("scontrol", "update", "partitionname=main", "state=down")
    try:
        yield
    finally:
        cluster.command("scontrol", "update", "partitionname=main", "state=up")


@pytest.fixture
def sbatch_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a script in front of sbatch: `$sbatch` is the real one, `$n` the number of the call, `$PPID` the caller.

    The file `$calls` has a line for each call.
    """
    real = shutil.which("sbatch")

    def install(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        given = f'calls={folder}/calls\necho >> "$calls"\nn=$(wc -l < "$calls")\nsbatch={real}\ncluster={SCRIPT}\n'
        (folder / "sbatch").write_text(f"#!/bin/bash\n{given}{script}\n")
        (folder / "sbatch").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


def queued(cluster: DevCluster) -> Counter[str]:
    """How many array tasks wait or run under each job name."""
    return Counter(cluster.command("squeue", "--noheader", "--array", "--format=%j").split())


def assert_each_once(sweep: ClusterSweep) -> None:
    """Every trial is done, in one attempt."""
    sweep.wait()
    for trial in sweep.sweep.trials:
        assert len(sweep.ledger.trial(trial.id).attempts()) == 1
        assert len(sweep.ledger.baseline(trial.baseline_id).attempts()) == 1


def test_killed_between_sbatch_and_the_writing_of_the_id(
    two: ClusterSweep, cluster: DevCluster, sbatch_does: Callable[[str], None]
) -> None:
    sbatch_does('"$sbatch" "$@"; [ $n -gt 1 ] || kill -KILL $PPID')
    with held(cluster):
        killed = two.start("submit", "--site", str(two.site), "--allow-dirty")
        assert killed.returncode == -9
        (cut_off,) = two.submissions
        assert cut_off.job_id is None
        assert queued(cluster) == {cut_off.job_name: 2}, "the job is there all the same"
        said = two.submit()
        assert f"found job {cut_off.job_id}, which an interrupted submission had left" in said
        assert "2 of them are queued already" in said
        assert queued(cluster) == {cut_off.job_name: 2}, "and not a second time"
    assert len(two.submissions) == 1
    assert_each_once(two)


def test_a_job_runs_even_if_its_submission_was_killed_and_never_repeated(
    two: ClusterSweep, cluster: DevCluster, sbatch_does: Callable[[str], None]
) -> None:
    sbatch_does('"$sbatch" "$@"; kill -KILL $PPID')
    assert two.start("submit", "--site", str(two.site), "--allow-dirty").returncode == -9
    assert_each_once(two)
    (cut_off,) = two.submissions
    assert cut_off.job_id is None
    until(lambda: not cluster.queue(), "the job is over")
    assert "0 to run" in two.start("submit", "--site", str(two.site), "--allow-dirty").stdout
    assert len(two.submissions) == 1


def test_two_at_once_queue_nothing_twice(
    two: ClusterSweep, cluster: DevCluster, sbatch_does: Callable[[str], None]
) -> None:
    """The first one's sbatch gives the second one time to come as far."""
    sbatch_does('for i in {1..50}; do [ $(wc -l < "$calls") = 1 ] || break; sleep 0.1; done; exec "$sbatch" "$@"')
    slq = [sys.executable, "-c", "from suite.cli import main; main()", "submit", str(two.file)]
    command = [*slq, "--root", str(two.root), "--site", str(two.site), "--allow-dirty"]
    with held(cluster):
        both = [subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        said = [process.communicate(timeout=180)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert sorted("2 of them are queued already" in each for each in said) == [False, True]
        (one,) = two.submissions
        assert queued(cluster) == {one.job_name: 2}
    assert_each_once(two)


def test_one_after_the_other_without_a_pause_queue_nothing_twice(two: ClusterSweep, cluster: DevCluster) -> None:
    """Accounting may not know of the first one's job yet."""
    with held(cluster):
        two.submit()
        assert "2 of them are queued already" in two.submit()
        assert sum(queued(cluster).values()) == 2
        cluster.cancel_all()
        assert "new); 2 to run" in two.submit()
        assert [each.tasks for each in two.submissions] == [2, 2], "cancelled, so it is submitted anew"
        assert sum(queued(cluster).values()) == 2
        cluster.cancel_all()


def test_a_controller_that_restarts_during_the_submission(
    two: ClusterSweep, cluster: DevCluster, sbatch_does: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.settings.items():
        monkeypatch.setenv(name, value)
    restarting = '"$cluster" stop-controller; "$sbatch" "$@"; code=$?; "$cluster" start-controller; exit $code'
    sbatch_does(f'if [ $n = 1 ]; then {restarting}; fi >&2; exec "$sbatch" "$@"')
    with held(cluster):
        two.submit()
        (one,) = two.submissions
        assert one.job_id
        assert queued(cluster) == {one.job_name: 2}
        cluster.cancel_all()


def test_an_answer_that_comes_too_late(
    two: ClusterSweep, cluster: DevCluster, sbatch_does: Callable[[str], None]
) -> None:
    late = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    sbatch_does(f'"$sbatch" "$@" > /dev/null; echo "{late}" >&2; exit 1')
    with held(cluster):
        two.submit()
        (one,) = two.submissions
        assert queued(cluster) == {one.job_name: 2}
        assert one.job_id in {job.partition("_")[0] for job in cluster.queue()}
        cluster.cancel_all()


def test_accounting_goes_away_during_a_sweep(slurm_env: DevCluster, tmp_path: Path) -> None:
    slow = prepare(tmp_path / "x", slurm_env, TWO, held=1, memory="900M", max_submit=1)
    slow.submit()
    first, second = (slow.ledger.trial(trial.id) for trial in slow.sweep.trials)
    until(lambda: first.newest_attempt() or second.newest_attempt(), "a trial runs")
    slurm_env.stop_accounting()
    said = slow.status()
    assert "Slurm: sacct: " in said, said
    assert "0 of 2 trials done" in said
    assert "running" in said.splitlines()[0]
    for word in ("failed", "lost", "unknown"):
        assert word not in said.splitlines()[0], said

    slurm_env.stop_controller()
    said = slow.status()
    assert "0 of 2 trials done, 1 running, 1 unknown" in said, said
    assert "Slurm does not answer" in said
    slurm_env.start_controller()

    slow.steps.release()
    slow.wait()
    assert [len(work.attempts()) for work in (first, second)] == [1, 1]
    assert "2 of 2 trials done" in slow.status()
    until(lambda: not slurm_env.queue(), "the job is over")
    assert "0 to run" in slow.submit()


def test_a_dry_run_writes_nothing_and_its_text_is_accepted(two: ClusterSweep, cluster: DevCluster) -> None:
    before = sorted(two.folder.rglob("*"))
    said = two.submit("--dry-run")
    assert sorted(two.folder.rglob("*")) == before
    assert cluster.queue() == {}
    text = said[said.index("#!/bin/bash") :]
    script = two.folder / "shown.sh"
    script.write_text(text)
    tested = cluster.try_command("sbatch", "--test-only", str(script))
    assert tested.returncode == 0, tested.stderr
    assert "to start at" in tested.stderr
    assert cluster.queue() == {}


def test_a_refusal_is_told_in_slurms_words_and_a_corrected_profile_works(
    two: ClusterSweep, cluster: DevCluster
) -> None:
    right = two.site.read_text()
    two.site.write_text(right.replace('"main"', '"mian"'))
    refused = two.start("submit", "--site", str(two.site), "--allow-dirty")
    assert refused.returncode == 2
    assert "invalid partition specified: mian" in refused.stderr
    assert "see: slq site check" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert two.submissions[0].closed.startswith("refused by sbatch")
    two.site.write_text(right)
    with held(cluster):
        two.submit()
        assert queued(cluster) == {two.submissions[1].job_name: 2}
        cluster.cancel_all()


# The code


@dataclass(frozen=True)
class Checkout:
    """A clean checkout of the code under test, with a sweep that is submitted from it."""

    folder: Path
    sweep: ClusterSweep

    def slq(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        slq = [sys.executable, "-c", "from suite.cli import main; main()"]
        command = [*slq, verb, str(self.sweep.file), "--root", str(self.sweep.root), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "COLUMNS": "300"}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)

    def submit(self, *flags: str) -> subprocess.CompletedProcess[str]:
        return self.slq("submit", "--site", str(self.sweep.site), *flags)

    def edit(self, name: str, more: str) -> None:
        with (self.folder / "suite" / name).open("a") as file:
            file.write(more)

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(two: ClusterSweep, tmp_path: Path) -> Checkout:
    folder = tmp_path / "checkout"
    shutil.copytree(CHECKOUT / "suite", folder / "suite", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    (folder / ".gitignore").write_text("__pycache__/\n")
    made = Checkout(folder, two)
    made.git("init", "--quiet")
    made.git("add", ".")
    made.git("commit", "--quiet", "--message", "all")
    return made


def test_editing_the_checkout_does_not_change_queued_jobs(checkout: Checkout, cluster: DevCluster) -> None:
    two = checkout.sweep
    with held(cluster):
        done = checkout.submit()
        assert done.returncode == 0, done.stderr
        checkout.edit("trial.py", "\n\ndef run_trial(*_: object) -> bool:\n    raise RuntimeError('edited')\n")
        checkout.git("commit", "--quiet", "--all", "--message", "another")
    assert_each_once(two)
    (one,) = two.submissions
    for work in works(two):
        provenance = work.attempts()[0].provenance()
        assert provenance["commit"] == one.intent["code"]["commit"] == checkout.git("rev-parse", "HEAD~")
        assert provenance["dirty"] is False


def test_uncommitted_code_is_refused_or_marked(checkout: Checkout, cluster: DevCluster) -> None:
    two = checkout.sweep
    checkout.edit("trial.py", "# an edit\n")
    refused = checkout.submit()
    assert refused.returncode == 2
    assert "differs from commit" in refused.stderr
    assert "suite/trial.py" in refused.stderr
    assert "--allow-dirty" in refused.stderr
    assert two.submissions == []
    assert cluster.queue() == {}

    assert checkout.submit("--allow-dirty").returncode == 0
    assert_each_once(two)
    assert "2 of them ran from uncommitted code" in two.slq("tables")
    for work in works(two):
        assert work.attempts()[0].provenance()["dirty"] is True
        assert "+# an edit" in (work.attempts()[0].path / "code.diff").read_text()


def works(sweep: ClusterSweep) -> list[Work]:
    return [sweep.ledger.trial(trial.id) for trial in sweep.sweep.trials]
