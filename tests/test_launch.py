"""Whole runs in processes of their own, with a real Ray: to the end, with failures, interrupted, killed, and two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from suite.files import read_json
from suite.launch import local
from suite.launch.plan import Standing, make_plan
from suite.ledger import Ledger, State, Work
from suite.sweep import Sweep, load_sweep
from tests.conftest import Slq

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parent.parent
NOWHERE = "http://127.0.0.1:1"  # no MLflow: it is not what these tests are about
PATIENCE = 600.0  # seconds for one command, on a machine that is busy with other things
MARK = "SLQ_TEST_MARK"  # all processes of a test carry it in their environment

# A shell lets its background jobs ignore Ctrl-C, and so would all that a test run in the background starts.
SLQ = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from suite.cli import main
main()
"""

DEFAULTS = """
defaults:
  network: lenet5
  data: digits
  baseline: {epochs: 2, batch_size: 128}
  retrain: {epochs: 1, batch_size: 128}
  holdout: 64
  runtime: {log_steps: 2, checkpoint_seconds: 0.2}
trials:
"""


@dataclass
class Bench:
    """A sweep with a root of its own, and the commands on it."""

    folder: Path
    sweep: Sweep
    ledger: Ledger

    @contextmanager
    def started(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """`slq COMMAND` on the sweep, in a process group of its own as a shell would start it."""
        slq = [sys.executable, "-c", SLQ]
        with subprocess.Popen(
            [*slq, command[0], str(self.folder / "x.yaml"), "--root", str(self.ledger.root), *command[1:]],
            cwd=REPOSITORY,
            env={**os.environ, MARK: str(self.folder), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self) -> list[str]:
        return ["run", "--workers", "2", "--tracking-uri", NOWHERE, "--tables", str(self.folder / "tables")]

    def finish(self, *command: str) -> tuple[int, str]:
        """Exit code and output of a command."""
        with self.started(*command) as process:
            return ended(process)

    def works(self) -> list[Work]:
        return [self.ledger.trial(trial.id) for trial in self.sweep.trials]

    def training(self) -> list[Work]:
        """Trials that are being re-trained at this moment."""
        running = [work for work in self.works() if work.state() is State.RUNNING]
        return [w for w in running if (attempt := w.newest_attempt()) is not None and attempt.newest("train")]

    def processes(self) -> list[int]:
        """All living processes that were started for this bench, directly or not."""
        return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and self._is_ours(p)]

    def _is_ours(self, process: Path) -> bool:
        try:
            return f"{MARK}={self.folder}\0".encode() in (process / "environ").read_bytes()
        except OSError:
            return False


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, output


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[[str], Bench]]:
    benches = []

    def make(trials: str) -> Bench:
        file = tmp_path / "x.yaml"
        file.write_text(DEFAULTS + trials)
        bench = Bench(tmp_path, load_sweep(file), Ledger(tmp_path / "runs", "x"))
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        for pid in bench.processes():
            os.kill(pid, signal.SIGKILL)


def wait_until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def starts(work: Work) -> int:
    return sum(event["event"] == "start" for attempt in work.attempts() for event in attempt.events())


SHORT = """
  - method: {name: full}
  - method: {name: kmeans, bits: 3}
  - method: {name: slq, bits: 3}
"""

LONG = "".join(
    f"  - {{method: {{name: slq, bits: 5, partition: magnitude}}, retrain: {{epochs: 5}}, seed: {seed}}}\n"
    for seed in range(3)
)


def test_to_the_end_without_mlflow_and_again(make_bench: Callable[[str], Bench]) -> None:
    bench = make_bench(SHORT)
    code, output = bench.finish(*bench.run())
    assert code == 0, output
    assert "MLflow was not updated" in output
    assert "slq sync" in output
    assert [work.state() for work in bench.works()] == [State.DONE] * 3
    assert [starts(work) for work in bench.works()] == [1, 1, 1]
    assert list((bench.folder / "tables").iterdir())
    wait_until(lambda: not bench.processes(), 20)  # Ray's workers take a moment to end

    with bench.started(*bench.run()) as process:
        wait_until(lambda: process.poll() is not None)
        code, output = ended(process)
    assert code == 0, output
    assert "3 done" in output
    assert "0 to run" in output
    assert [starts(work) for work in bench.works()] == [1, 1, 1]
    assert not list((bench.ledger.root).glob("**/checkpoint.pt")), "nothing is left over of finished work"


def test_a_failing_trial_stops_no_other_and_shows_its_trace(make_bench: Callable[[str], Bench], slq: Slq) -> None:
    bench = make_bench(
        "  - {method: {name: slq, bits: 3, partition: magnitude}, retrain: {learning_rate: 1.0e+30}}\n" + SHORT
    )
    code, output = bench.finish(*bench.run())
    assert code == 1, output
    assert [work.state() for work in bench.works()] == [State.FAILED, *[State.DONE] * 3]
    failed = bench.works()[0]
    assert starts(failed) == 1, "a failed trial is not tried again at once"
    assert failed.why_failed().startswith("FloatingPointError")
    assert failed.why_failed() in output
    assert failed.id in output
    shown = slq("logs", bench.folder / "x.yaml", failed.id, "--root", bench.ledger.root)
    assert shown.code == 0
    assert "Traceback (most recent call last)" in shown.out
    assert "training diverged" in shown.out
    assert make_plan(bench.sweep, bench.ledger).entries[0].standing is Standing.RETRY


def test_two_runs_at_once_do_no_trial_twice(make_bench: Callable[[str], Bench]) -> None:
    bench = make_bench(SHORT + "  - {method: {name: slq, bits: 3}, seed: 1}\n")
    with bench.started(*bench.run()) as one, bench.started(*bench.run()) as two:
        outcomes = [ended(one), ended(two)]
    assert [code for code, _ in outcomes] == [0, 0], outcomes
    for work in bench.works():
        assert work.state() is State.DONE
        assert starts(work) == 1
        assert len(work.attempts()) == 1
    for baseline in (bench.ledger.root / "baselines").iterdir():
        assert starts(Work(baseline)) == 1


def test_interrupted_then_a_worker_killed_then_finished(make_bench: Callable[[str], Bench]) -> None:
    bench = make_bench(LONG)
    with bench.started(*bench.run()) as process:
        wait_until(lambda: bench.training() or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        code, output = ended(process)
    assert code == 130, output
    assert "the same command goes on" in output
    assert "Traceback" not in output
    wait_until(lambda: not bench.processes(), 20)
    states = [work.state() for work in bench.works()]
    assert State.LOST in states
    assert State.RUNNING not in states, "nobody has to wait for a claim to expire"
    assert State.FAILED not in states

    # and the same command goes on, even if one of its worker processes is killed: that costs the worker's own trial only
    interrupted = [work for work in bench.works() if work.state() is State.LOST]
    with bench.started(*bench.run()) as process:
        wait_until(lambda: bench.training() or process.poll() is not None)
        victim = bench.training()[0]
        attempt = victim.newest_attempt()
        assert attempt is not None
        owner = read_json(attempt.path / "claim.json")["owner"]["pid"]
        assert owner in bench.processes()
        os.kill(owner, signal.SIGKILL)
        code, output = ended(process)
    assert code == 1, output
    states = {work.id: work.state() for work in bench.works()}
    assert states.pop(victim.id) is State.LOST
    assert set(states.values()) == {State.DONE}

    code, output = bench.finish(*bench.run())
    assert code == 0, output
    assert [work.state() for work in bench.works()] == [State.DONE] * 3
    expected = {work.id: 1 + (work in interrupted) + (work == victim) for work in bench.works()}
    assert {work.id: starts(work) for work in bench.works()} == expected
    assert "resuming at" in victim.attempts()[-1].log(), "from a checkpoint, not from the start"
    assert not bench.processes()


def test_a_trial_that_somebody_else_is_running_is_waited_for(
    make_bench: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "POLL", 0.05)
    bench = make_bench("  - {method: {name: full}}\n")
    attempt = bench.works()[0].try_claim(bench.sweep.trials[0].config())
    assert attempt is not None

    def finish() -> None:
        with attempt.running():
            time.sleep(0.5)
            attempt.finish({})

    other = threading.Thread(target=finish)
    other.start()
    plan, errors = local.run_local(bench.sweep, bench.ledger, bench.folder, local.Workers(1))
    other.join()
    assert [entry.standing for entry in plan.entries] == [Standing.DONE]
    assert not errors
    assert starts(bench.works()[0]) == 1
