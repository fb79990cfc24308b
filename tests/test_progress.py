"""The view of a sweep: what it shows of each state, on a terminal and in a pipe; looking changes nothing."""

from __future__ import annotations

import io
import time
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from suite import pace, progress
from suite.launch import whereabouts
from suite.launch.polling import Lookout
from suite.launch.queue import Report
from suite.launch.whereabouts import Place
from suite.ledger import Ledger
from suite.progress import EXAMPLES, ROWS, Snapshot, Watch, line, render, show, text
from tests.submitted import Scene, end, point, start, write_attempt


@pytest.fixture
def scene(ledger: Ledger) -> Scene:
    return Scene(ledger, 8)


def watch(scene: Scene, report: Report | None = None) -> Watch:
    asker = scene.ask if report is None else lambda names: report
    return Watch(scene.sweep, scene.ledger, Lookout(scene.ledger, ask=partial(whereabouts.ask, asker=asker)))


def on_terminal(snapshot: Snapshot, rows: int | None = None, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(render(snapshot, rows))
    return captured.get()


def mixed(scene: Scene) -> Scene:
    """A trial in every state."""
    now = time.time()
    scene.submit("a", "7", range(6))
    scene.submit("b", None, range(6, 7))
    scene.done(0)
    scene.attempt(1, "7_1", start(now - 99), point(10, 110, now - 20), point(20, 110, now, stage=2, stages=5))
    scene.attempt(2, "7_2", start(), end("interrupted", "preempted or out of time (SIGUSR2)"), live=False)
    scene.attempt(3, "7_3", start(), end("failed", "ValueError: [red]no[/red]"), live=False)
    scene.slurm("7_0", "a", "COMPLETED")
    scene.slurm("7_1", "a", "RUNNING", nodes="n1", start=now - 600, limit=3600.0)
    scene.slurm("7_2", "a", "PENDING", restarts=1)
    scene.slurm("7_3", "a", "COMPLETED")
    scene.slurm("7_4", "a", "PENDING", reason="JobArrayTaskLimit")
    scene.slurm("7_5", "a", "OUT_OF_MEMORY", start=1.0, end=2.0)
    scene.submit("c", "9", range(7, 8)).close("cancelled")
    scene.slurm("9_0", "c", "CANCELLED", by="0", start=1.0, end=2.0)
    scene.attempt(7, "9_0", start(), live=False)
    return scene


def test_every_state_is_counted(scene: Scene) -> None:
    snapshot = watch(mixed(scene)).look()
    assert snapshot.counts == {
        **{Place.DONE: 1, Place.RUNNING: 1, Place.QUEUED: 2, Place.INTERRUPTED: 1},
        **{Place.FAILED: 1, Place.LOST: 1, Place.UNKNOWN: 1},
    }
    assert sum(snapshot.counts.values()) == snapshot.total == 8
    assert line(snapshot) == ("1 of 8 trials done, 1 running, 2 queued, 1 interrupted, 1 failed, 1 lost, 1 unknown")


@pytest.mark.parametrize("how", [on_terminal, text])
def test_every_state_is_explained(scene: Scene, how: object) -> None:
    snapshot = watch(mixed(scene)).look()
    shown = " ".join(how(snapshot).split())  # type: ignore[operator]
    for words in (
        "1 of 8 trials done",
        "2 of 5 20 of 110 0.250 90.0% 3 min 7_1 on n1, ≤ 50 min",
        "interrupted 1 preempted or out of time (SIGUSR2)",
        "unknown 1 whether there is a job is not known",
        "ValueError: [red]no[/red]",
        "cancelled by root",
        "7 array here 2 1 3 0",
        "1 out of memory",
        "? array here 0 0 0 1",
        "and 1 more",
    ):
        assert words in shown
    assert "queued 2 " in shown


def test_a_pipe_gets_plain_lines_as_wide_as_they_are(scene: Scene) -> None:
    reason = "x" * 500
    mixed(scene)
    scene.slurm("7_4", "a", "PENDING", reason=reason)
    scene.slurm("7_2", "a", "PENDING", reason=reason)
    console = Console(file=io.StringIO(), width=80)
    show(watch(scene), console, follow=False)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in shown
    assert "━" not in shown
    assert f"queued       2  {reason}\n" in shown
    assert not [each for each in shown.splitlines() if each != each.rstrip()]


def test_without_submissions_slurm_is_not_asked_and_nothing_of_it_is_shown(scene: Scene) -> None:
    scene.attempt(0, "", start(), point(3, 10, stage=1, stages=2))
    scene.attempt(1, "", start(), live=False)
    snapshot = watch(scene).look()
    assert scene.calls == 0
    assert snapshot.counts == {Place.RUNNING: 1, Place.LOST: 1, Place.NEW: 6}
    shown = text(snapshot)
    assert "1 of 2" in shown
    for word in ("job", "left", "Slurm", "waiting"):
        assert word not in shown


def test_a_run_on_this_machine_does_not_ask_slurm(scene: Scene) -> None:
    snapshot = Watch(mixed(scene).sweep, scene.ledger).look()
    assert scene.calls == 0
    assert not snapshot.submitted.groups


def test_one_call_for_a_look(scene: Scene) -> None:
    for number in range(5):
        scene.submit(f"s{number}", str(number), range(8))
    watch(scene).look()
    assert scene.calls == 1


def test_when_slurm_is_silent_it_is_said_and_nothing_is_concluded(scene: Scene) -> None:
    snapshot = watch(mixed(scene), Report(problem="sacct: down; squeue: down")).look()
    assert text(snapshot).splitlines()[1] == "Slurm: sacct: down; squeue: down"
    assert snapshot.counts[Place.DONE] == snapshot.counts[Place.FAILED] == 1, "these are in the ledger"
    assert snapshot.counts[Place.LOST] == 1, "its submission was cancelled, that needs no Slurm"
    assert snapshot.counts[Place.UNKNOWN] == 4
    assert not snapshot.is_over()


def test_looking_changes_nothing(scene: Scene) -> None:
    mixed(scene)

    def everything() -> dict[Path, tuple[int, bytes]]:
        files = (path for path in sorted(scene.ledger.root.rglob("*")) if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = everything()
    text(watch(scene).look())
    assert everything() == before


def test_long_lists_are_cut_on_a_terminal_and_whole_in_a_pipe(ledger: Ledger) -> None:
    scene = Scene(ledger, 3 * ROWS)
    scene.submit("a", "7", range(3 * ROWS))
    for seed in range(2 * ROWS):
        scene.attempt(seed, f"7_{seed}", start())
        scene.slurm(f"7_{seed}", "a", "RUNNING")
    for seed in range(2 * ROWS, 3 * ROWS):
        scene.attempt(seed, f"7_{seed}", start(), end("failed", "ValueError: no"), live=False)
    snapshot = watch(scene).look()
    shown = on_terminal(snapshot, ROWS)
    assert shown.count("starting") == ROWS
    assert f"and {ROWS} more" in shown
    assert text(snapshot).count("starting") == 2 * ROWS
    assert shown.count("ValueError") == EXAMPLES
    assert f"and {ROWS - EXAMPLES} more failed" in shown


def test_submissions_of_the_past_are_a_number(scene: Scene) -> None:
    for number in range(3):
        scene.submit(f"s{number}", str(number), range(1), tasks=1)
        scene.slurm(f"{number}_0", f"s{number}", "COMPLETED")
    scene.submit("now", "9", range(1), tasks=1)
    scene.slurm("9_0", "now", "RUNNING")
    shown = text(watch(scene).look())
    assert "and 3 more" in shown
    assert [each.split()[0] for each in shown.splitlines() if " array " in each] == ["9"]


def test_the_newest_of_very_many_submissions_are_shown(scene: Scene) -> None:
    for number in range(2 * ROWS):
        scene.submit(f"s{number}", str(100 + number), range(1), tasks=1)
        scene.slurm(f"{100 + number}_0", f"s{number}", "RUNNING")
    snapshot = watch(scene).look()
    shown = [each.split()[0] for each in on_terminal(snapshot, ROWS).splitlines() if " array " in each]
    assert shown == [str(100 + number) for number in range(ROWS, 2 * ROWS)]
    assert f"and {ROWS} more" in on_terminal(snapshot, ROWS)
    assert text(snapshot).count(" array ") == 2 * ROWS


@pytest.mark.parametrize(
    ("states", "over"),
    [
        (["COMPLETED", "COMPLETED"], True),
        (["COMPLETED", "RUNNING"], False),
        (["PENDING", "PENDING"], False),
        (["CANCELLED", "TIMEOUT"], True),
    ],
)
def test_a_watch_ends_when_no_job_is_left(scene: Scene, states: list[str], over: bool) -> None:
    scene.submit("a", "7", range(2))
    for task, state in enumerate(states):
        scene.slurm(f"7_{task}", "a", state, start=1.0, end=2.0)
    scene.done(0)
    snapshot = watch(scene).look()
    assert snapshot.is_over() is over
    assert ("no job is left, 7 not done; slq submit" in text(snapshot)) is over


def test_a_watch_ends_when_all_is_done_even_if_tasks_wait_that_will_find_nothing(scene: Scene) -> None:
    scene.submit("a", "7", range(8))
    scene.slurm("7_0", "a", "PENDING")
    for seed in range(8):
        scene.done(seed)
    assert watch(scene).look().is_over()


def test_a_failed_trial_may_be_tried_again_by_the_tasks_that_are_left(scene: Scene) -> None:
    scene.submit("a", "7", range(8))
    scene.slurm("7_0", "a", "RUNNING")
    for seed in range(7):
        scene.done(seed)
    scene.attempt(7, "7_0", start(), end("failed", "no"), live=False)
    assert not watch(scene).look().is_over()
    scene.slurm("7_0", "a", "COMPLETED")
    for task in range(1, 8):
        scene.slurm(f"7_{task}", "a", "COMPLETED")
    assert watch(scene).look().is_over()


def test_the_pace_of_the_sweep_is_that_of_the_trials_that_finish_while_it_is_watched(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    scene.done(0)
    watched = watch(scene)
    assert watched.look().seconds_left is None
    monkeypatch.setattr(time, "time", lambda: now + 100)
    scene.done(1)
    scene.done(2)
    assert watched.look().seconds_left == pytest.approx(5 * 100 / 2, rel=0.05)
    monkeypatch.setattr(time, "time", lambda: now + 300)
    assert watched.look().seconds_left == pytest.approx(5 * 100 / 2, rel=0.05), (
        "a trial is done when it is first seen done"
    )


def test_a_watch_of_a_local_sweep_ends_when_all_is_done_or_failed(scene: Scene) -> None:
    watched = watch(scene)
    for seed in range(7):
        scene.done(seed)
    scene.attempt(7, "", start(), end("interrupted"), live=False)
    assert not watched.look().is_over(), "somebody may go on with it"
    scene.attempt(7, "", start(), end("failed", "no"), live=False)
    assert watched.look().is_over()


def test_following_in_a_pipe_says_a_line_now_and_then(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.time, "sleep", lambda seconds: scene.done(next(left)))
    left = iter(range(8))
    console = Console(file=io.StringIO(), width=80)
    show(watch(scene), console, follow=True)
    shown = [each.partition(";")[0] for each in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert shown == [
        "0 of 8 trials done, 8 new",
        *(f"{n} of 8 trials done, {8 - n} new" for n in range(1, 8)),
        "8 of 8 trials done",
    ]


def test_following_on_a_terminal_ends(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.time, "sleep", lambda seconds: scene.done(next(left)))
    left = iter(range(8))
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    show(watch(scene), console, follow=True)
    assert "8 of 8 trials done" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_trial_that_waits_for_its_baseline_shows_the_baselines_progress(scene: Scene) -> None:
    scene.attempt(0, "", start())
    write_attempt(scene.ledger.baseline(scene.trials[0].baseline_id), "", start(), point(7, 20))
    assert "baseline 7 of 20" in " ".join(text(watch(scene).look()).split())


# Pace


def test_the_time_left_comes_from_the_newest_points() -> None:
    events = [start(0), point(0, 100, 10.0), point(50, 100, 20.0)]
    assert pace.seconds_left(events, now=20.0) == 10
    assert pace.seconds_left(events, now=24.0) == 6
    assert pace.seconds_left(events, now=99.0) == 0
    assert pace.seconds_left(events[:2], now=20.0) is None
    assert pace.seconds_left([], now=20.0) is None
    assert pace.seconds_left([point(5, 10, 1.0), point(5, 10, 2.0)], now=2.0) is None


def test_only_the_end_of_a_long_file_is_read(scene: Scene) -> None:
    scene.attempt(0, "", *(point(step, 10_000) for step in range(2_000)))
    attempt = scene.work(0).newest_attempt()
    assert attempt is not None
    events = pace.recent(attempt)
    assert events[-1]["step"] == 1_999
    assert 20 < len(events) < 1_000
    with (attempt.path / "events.jsonl").open("a") as file:
        file.write('{"event": "train", "st')
    assert pace.recent(attempt)[-1]["step"] == 1_999, "a line cut by a crash is left out"


def test_one_long_event_is_found(scene: Scene) -> None:
    scene.attempt(0, "", start(), {"event": "snap", "impacts": [1.0] * 30_000, "step": 5})
    attempt = scene.work(0).newest_attempt()
    assert attempt is not None
    assert [event["event"] for event in pace.recent(attempt)] == ["snap"]


def test_no_events_yet(scene: Scene) -> None:
    scene.attempt(0, "")
    attempt = scene.work(0).newest_attempt()
    assert attempt is not None
    assert pace.recent(attempt) == []
    (attempt.path / "events.jsonl").unlink()
    assert pace.recent(attempt) == []
    assert "starting" in text(watch(scene).look())
