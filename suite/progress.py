"""Live view of a sweep, from the ledger alone: counts, what each running trial is doing, time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from suite.ledger import Event, Ledger, State, Work
from suite.sweep import Sweep

REFRESH = 1.0  # seconds
PLAIN_REFRESH = 15.0  # seconds between lines where there is no terminal


@dataclass(frozen=True)
class Snapshot:
    """The state of every trial of a sweep at one moment."""

    total: int
    counts: dict[State, int]
    running: list[tuple[str, Event | None]]  # label, newest event
    failed: list[tuple[str, str, str]]  # label, id, error
    seconds_left: float | None

    @property
    def finished(self) -> int:
        return self.counts.get(State.DONE, 0)


@dataclass
class Watch:
    """Takes snapshots of a sweep; remembers what cannot change any more, so that each look costs little."""

    sweep: Sweep
    ledger: Ledger
    began: float = field(default_factory=time.time)
    _done: dict[str, float] = field(default_factory=dict)  # id -> when it was first seen done

    def __post_init__(self) -> None:
        done = (t.id for t in self.sweep.trials if self.ledger.trial(t.id).state() is State.DONE)
        self._done = dict.fromkeys(done, self.began)

    def look(self) -> Snapshot:
        counts: dict[State, int] = {}
        running, failed = [], []
        for trial in self.sweep.trials:
            work = self.ledger.trial(trial.id)
            state = State.DONE if trial.id in self._done else work.state()
            counts[state] = counts.get(state, 0) + 1
            if state is State.DONE:
                self._done.setdefault(trial.id, time.time())
            elif state is State.RUNNING:
                running.append((trial.label, _activity(self.ledger, work, trial.baseline_id)))
            elif state is State.FAILED:
                failed.append((trial.label, trial.id, work.why_failed()))
        return Snapshot(len(self.sweep.trials), counts, running, failed, self._seconds_left(counts))

    def _seconds_left(self, counts: dict[State, int]) -> float | None:
        """From the pace of the trials that finished while we watched."""
        seen = [when for when in self._done.values() if when > self.began]
        left = len(self.sweep.trials) - counts.get(State.DONE, 0) - counts.get(State.FAILED, 0)
        if not seen or not left:
            return None
        return left * (max(seen) - self.began) / len(seen)


def _activity(ledger: Ledger, work: Work, baseline: str) -> Event | None:
    """The newest event of a trial; while it waits for its baseline, the baseline's."""
    attempt = work.newest_attempt()
    event = attempt.newest() if attempt else None
    if event is not None and event["event"] == "start":
        making = ledger.baseline(baseline).newest_attempt()
        inner = making.newest("train") if making else None
        return {**inner, "baseline": True} if inner else event
    return event


def render(snapshot: Snapshot) -> RenderableType:
    """The view as a rich renderable."""
    head = Table.grid(padding=(0, 2))
    head.add_row(
        ProgressBar(total=max(snapshot.total, 1), completed=snapshot.finished, width=30),
        Text(f"{snapshot.finished} of {snapshot.total} trials done"),
        *(
            Text(f"{n} {state}", style=_STYLES[state])
            for state, n in snapshot.counts.items()
            if state is not State.DONE
        ),
        Text(f"about {duration(snapshot.seconds_left)} left" if snapshot.seconds_left else "", style="dim"),
    )
    parts: list[RenderableType] = [head]
    if snapshot.running:
        parts.append(_running_table(snapshot))
    for label, identity, error in snapshot.failed[:5]:
        parts.append(Text(f"failed: {label} ({identity})\n  {error}", style="red"))
    return Group(*parts)


_STYLES = {State.NEW: "dim", State.RUNNING: "cyan", State.FAILED: "red", State.LOST: "yellow", State.DONE: "green"}


def _running_table(snapshot: Snapshot) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("running", "stage", "step"):
        table.add_column(column)
    for column in ("loss", "accuracy"):
        table.add_column(column, justify="right")
    for label, event in snapshot.running:
        table.add_row(label, *describe(event))
    return table


def describe(event: Event | None) -> tuple[str, str, str, str]:
    """Stage, step, loss and accuracy of a trial's newest event."""
    if event is None or event["event"] == "start":
        return "starting", "", "", ""
    stage = f"{event['stage']} of {event['stages']}" if "stages" in event else event["event"]
    stage = "baseline" if event.get("baseline") or event["event"] == "baseline" else stage
    step = f"{event['step']} of {event['steps']}" if "steps" in event else ""
    accuracy = event.get("accuracy", event.get("top1"))
    return stage, step, _number(event.get("loss"), ".3f"), _number(accuracy, ".1%")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 3 min, 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


@contextmanager
def live(watch: Watch, console: Console) -> Iterator[None]:
    """Show the sweep while the body runs: a view that refreshes itself on a terminal, a line now and then elsewhere."""
    if console.is_terminal:
        with (
            Live(render(watch.look()), console=console, auto_refresh=False, transient=True) as view,
            _repeating(REFRESH, lambda: view.update(render(watch.look()), refresh=True)),
        ):
            yield
    else:
        with _repeating(PLAIN_REFRESH, lambda: console.print(line(watch.look()), highlight=False)):
            yield


def line(snapshot: Snapshot) -> str:
    """The view in one line of plain text."""
    counts = ", ".join(f"{n} {state}" for state, n in snapshot.counts.items() if state is not State.DONE)
    left = f"; about {duration(snapshot.seconds_left)} left" if snapshot.seconds_left else ""
    return f"{snapshot.finished} of {snapshot.total} trials done" + (f", {counts}" if counts else "") + left


@contextmanager
def _repeating(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    """Call `action` every so many seconds in the background while the body runs."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(seconds):
            action()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
