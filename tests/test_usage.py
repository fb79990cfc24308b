"""What a sweep cost: figures that can be worked out by hand, over all runs of all jobs."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from suite.launch.queue import Report, newest, read_sacct
from suite.launch.usage import Bill, Usage, bill, table
from suite.ledger import Ledger
from tests.submitted import Event, Scene, end, point, start, write_attempt, write_result

HOUR = 3600.0

# `sacct --parsable2 --noheader --duplicates --format=...`, steps and all, of 22.05.8: a task that was preempted and ran again, one
# beside it, and a job with a GPU. The times were made longer: 1 h and 2 h, 2 h, and 1 h.
STEPS = """\
394_0|PREEMPTED|None|0:0|n2|1000|1000|4600|3600|525600|4|billing=4,cpu=4,mem=400M,node=1|02:00:00|slq-a
394_0.batch|CANCELLED||0:15|n2|1000|1000|4600|3600||4|cpu=4,mem=400M,node=1|02:00:00|batch
394_1|COMPLETED|ReqNodeNotAvail|0:0|n2|1000|1000|8200|7200|525600|4|billing=4,cpu=4,mem=400M,node=1|01:00:00|slq-a
394_1.batch|COMPLETED||0:0|n2|1000|1000|8200|7200||4|cpu=4,mem=400M,node=1|00:30:00|batch
394_1.0|COMPLETED||0:0|n2|1000|1000|8200|7200||4|cpu=4,mem=400M,node=1|00:30:00|python
394_0|COMPLETED|BeginTime|0:0|n2|4600|5000|12200|7200|UNLIMITED|4|billing=4,cpu=4,mem=400M,node=1|05:00:00|slq-a
394_0.batch|COMPLETED||0:0|n2|5000|5000|12200|7200||4|cpu=4,mem=400M,node=1|05:00:00|batch
401|RUNNING|None|0:0|n1|1000|1000|Unknown|3600|525600|2|billing=2,cpu=2,gres/gpu=1,mem=200M,node=1|00:00:00|slq-b
401.0|RUNNING||0:0|n1|1000|1000|Unknown|3600||2|cpu=2,gres/gpu=1,mem=200M,node=1|00:00:00|python
"""


@pytest.fixture
def scene(ledger: Ledger) -> Scene:
    return Scene(ledger, 6)


def accounting(text: str = STEPS) -> Any:
    return lambda names, *, steps: Report(newest(read_sacct(text)) if steps else {}, "sacct")


def silent(names: object, *, steps: bool) -> Report:
    return Report(problem="there is no sacct here; there is no squeue here")


def worked(hours: float, begin: float = 0.0) -> tuple[Event, Event]:
    """The events of an attempt that lasted so long."""
    return start(begin), point(5, 10, begin + hours * HOUR)


def cost(wall_hours: float, cpu_hours: float = 0.0) -> dict[str, Any]:
    return {"cost": {"wall_seconds": wall_hours * HOUR, "cpu_seconds": cpu_hours * HOUR}}


def test_all_runs_of_all_jobs_count(scene: Scene) -> None:
    scene.submit("a", "394", range(2))
    scene.submit("b", "401", range(2, 3), backend="ray")
    made = bill(scene.ledger, accounting())
    (_, array), (_, ray) = made.rows
    assert (array.runs, array.cpu_hours, array.gpu_hours, array.hours) == (3, 20, 0, 5)
    assert array.efficiency == 8 / 20, "steps are not counted beside their job"
    assert (ray.runs, ray.cpu_hours, ray.gpu_hours) == (1, 2, 1)
    assert ray.efficiency is None, "its CPU time is not known yet"
    assert (made.total.cpu_hours, made.total.gpu_hours, made.total.efficiency) == (22, 1, 8 / 20)
    assert made.problem == ""


def test_what_results_rest_on_and_the_rest(scene: Scene) -> None:
    scene.submit("a", "394", range(3), tasks=2)
    scene.attempt(0, "394_0", *worked(1), live=False)
    scene.attempt(0, "394_0", *worked(1.5), restart=1)
    scene.done(0, **cost(2))
    scene.attempt(1, "394_1", *worked(1), end("failed", "no", HOUR), live=False)
    scene.attempt(2, "394_1", *worked(0.5))
    ((_, usage),) = bill(scene.ledger, accounting()).rows
    assert usage.hours == 5
    assert usage.in_results == 2, "half an hour of the first attempt was resumed from, half an hour was lost"
    assert usage.under_way == 0.5
    assert usage.wasted == 2.5, "the failed trial, and all that is nobody's"
    assert usage.wasted_share == 0.5


def test_what_one_submission_left_another_may_finish(scene: Scene) -> None:
    scene.submit("a", "394", range(1), tasks=2)
    scene.submit("b", "401", range(1), backend="ray")
    scene.attempt(0, "394_0", *worked(1), live=False)
    scene.attempt(0, "401", *worked(0.5))
    scene.done(0, **cost(1.25))
    (_, first), (_, second) = bill(scene.ledger, accounting()).rows
    assert (first.in_results, second.in_results) == (0.75, 0.5)


def test_baselines_made_on_the_way_are_results_too(scene: Scene) -> None:
    scene.submit("a", "394", range(2))
    baseline = scene.ledger.baseline(scene.trials[0].baseline_id)
    write_attempt(baseline, "394_0", *worked(1), live=False)
    write_result(baseline, **cost(1))
    made, begun = start(0), {"event": "baseline", "t": HOUR}
    scene.attempt(0, "394_0", made, begun, point(1, 2, 1.5 * HOUR), live=False)
    other = scene.ledger.baseline("of-another-sweep")
    write_attempt(other, "999_0", *worked(7), live=False)
    write_result(other, **cost(7))
    ((_, usage),) = bill(scene.ledger, accounting()).rows
    assert usage.in_results == 1
    assert usage.under_way == 0.5, "the hour for the baseline is not counted twice"


def test_attempts_outside_of_slurm_are_not_its_business(scene: Scene) -> None:
    scene.submit("a", "394", range(2))
    scene.attempt(0, "", *worked(1))
    scene.done(0, **cost(1))
    ((_, usage),) = bill(scene.ledger, accounting()).rows
    assert (usage.in_results, usage.wasted_share) == (0, 1)


def test_a_ray_allocation_has_as_many_places_as_trials_fit(scene: Scene) -> None:
    scene.submit("r", "500", range(2), backend="ray")
    text = "500|COMPLETED|None|0:0|n[1-2]|1000|1000|4600|3600|525600|8|cpu=8,node=2|04:00:00|slq-r\n"
    for seed in range(2):
        scene.attempt(seed, "500", *worked(1))
        (scene.work(seed).path / "config.json").write_text('{"schema": 1, "threads": 2}')
        scene.done(seed, **cost(1))
    ((_, usage),) = bill(scene.ledger, accounting(text)).rows
    assert (usage.cpu_hours, usage.hours, usage.in_results) == (8, 4, 2)
    assert usage.wasted_share == 0.5, "half of its places were idle"


def test_a_job_that_never_began_costs_nothing(scene: Scene) -> None:
    scene.submit("a", "394", range(2))
    waiting = "394_[0-1]|PENDING|None|0:0|None assigned|1000|Unknown|Unknown|0|60|4||00:00:00|slq-a\n"
    ((_, usage),) = bill(scene.ledger, accounting(waiting)).rows
    assert usage == Usage()
    assert usage.wasted_share is usage.efficiency is None


def test_without_accounting_the_ledger_is_counted_and_it_is_said(scene: Scene) -> None:
    scene.submit("a", "394", range(2), cpus=4, gpus=1)
    scene.attempt(0, "394_0", *worked(1), live=False)
    scene.attempt(0, "394_0", *worked(1), restart=1)
    scene.done(0, **cost(1.5, cpu_hours=3))
    scene.attempt(1, "394_1", *worked(2), end("failed", "no", 2 * HOUR), live=False)
    made = bill(scene.ledger, silent)
    ((_, usage),) = made.rows
    assert made.problem == "there is no sacct here; there is no squeue here"
    assert (usage.runs, usage.cpu_hours, usage.gpu_hours, usage.hours) == (3, 16, 4, 4)
    assert (usage.in_results, usage.wasted) == (1.5, 2.5)
    assert usage.efficiency == 3 / (1.5 * 4)


def test_squeue_is_no_accounting(scene: Scene) -> None:
    scene.submit("a", "394", range(2))
    scene.attempt(0, "394_0", *worked(1))
    made = bill(scene.ledger, lambda names, *, steps: Report({}, "squeue", "there is no sacct here"))
    assert made.problem == "there is no sacct here"
    assert made.total.hours == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("result.json", "{"),
        ("result.json", '{"schema": 1}'),
        ("config.json", "[1]"),
        ("attempts/1/events.jsonl", "[]\n"),
        ("attempts/1/events.jsonl", '{"event": "start"}\n'),
    ],
)
def test_what_cannot_be_read_is_left_out_and_told(scene: Scene, name: str, text: str) -> None:
    scene.submit("a", "394", range(2))
    for seed in range(2):
        scene.attempt(seed, f"394_{seed}", *worked(1))
        scene.done(seed, **cost(1))
    (scene.work(0).path / name).write_text(text)
    made = bill(scene.ledger, accounting())
    assert made.total.in_results == 1
    (told,) = made.unreadable
    assert told.startswith(scene.work(0).id)
    assert "Error" not in told


def test_nothing_submitted(scene: Scene) -> None:
    def nobody(names: object, *, steps: bool) -> Report:
        raise AssertionError("Slurm must not be asked")

    scene.submit("a", None, range(2))
    assert bill(scene.ledger, nobody) == Bill(())
    assert bill(scene.ledger, nobody).total == Usage()


def test_the_table(scene: Scene) -> None:
    scene.submit("a", "394", range(2))
    scene.attempt(0, "394_0", *worked(1))
    scene.done(0, **cost(1))
    console = Console(file=io.StringIO(), width=200)
    console.print(table(bill(scene.ledger, accounting())))
    lines = [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    figures = ["3", "0", "20", "5", "1", "0", "80%", "40%"]
    assert lines[1:] == [["394", "array", *figures], ["total", *figures]]
