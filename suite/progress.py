"""The view of a sweep, on a terminal and as plain text."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.console import Group as Parts
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from suite.launch.whereabouts import Group, Place, Submitted
from suite.ledger import Event
from suite.plain import plain
from suite.snapshot import Activity, Snapshot, Watch

__all__ = ["Activity", "Snapshot", "Watch", "describe", "duration", "line", "live", "render", "show", "text"]

REFRESH = 1.0  # seconds
SPARING = 10.0  # times as long as the last look took is waited at least
PLAIN_REFRESH = 15.0  # seconds between lines where there is no terminal
ROWS = 16  # of running trials on a terminal, and of submissions
EXAMPLES = 5  # failed, lost and unreadable trials that are named


def show(watch: Watch, console: Console, *, follow: bool) -> None:
    """The view on the console: once, or until nothing changes any more. Plain lines where there is no terminal."""
    if console.is_terminal and follow:
        with Live(console=console, auto_refresh=False) as view:
            for snapshot in _looks(watch, REFRESH):
                view.update(render(snapshot, ROWS), refresh=True)
        return
    looks = _looks(watch, PLAIN_REFRESH)
    first = next(looks)
    if console.is_terminal:
        console.print(render(first))
    else:
        console.print(text(first), markup=False, soft_wrap=True)
    for snapshot in looks if follow else ():
        console.print(line(snapshot), markup=False, soft_wrap=True)


def _looks(watch: Watch, pause: float) -> Iterator[Snapshot]:
    """Looks until nothing changes any more, with pauses that are long beside what a look costs: it reads many files."""
    while True:
        began = time.monotonic()
        snapshot = watch.look()
        took = time.monotonic() - began
        yield snapshot
        if snapshot.is_over():
            return
        time.sleep(max(pause, SPARING * took))


def text(snapshot: Snapshot) -> str:
    """The view as plain text, as wide as it needs to be."""
    return plain(Text(line(snapshot)), *_details(snapshot, None))


def render(snapshot: Snapshot, rows: int | None = None) -> RenderableType:
    """The view as a rich renderable, of at most so many rows of running trials and of submissions."""
    head = Table.grid(padding=(0, 2))
    head.add_row(
        ProgressBar(total=max(snapshot.total, 1), completed=snapshot.finished, width=30),
        Text(f"{snapshot.finished} of {snapshot.total} trials done"),
        *(
            Text(f"{n} {place}", style=_STYLES[place])
            for place, n in snapshot.counts.items()
            if place is not Place.DONE
        ),
        Text(f"about {duration(snapshot.seconds_left)} left" if snapshot.seconds_left else "", style="dim"),
    )
    return Parts(head, *_details(snapshot, rows))


_STYLES = {
    Place.DONE: "green",
    Place.RUNNING: "cyan",
    Place.QUEUED: "dim",
    Place.INTERRUPTED: "yellow",
    Place.FAILED: "red",
    Place.LOST: "yellow",
    Place.UNKNOWN: "magenta",
    Place.NEW: "dim",
    Place.UNREADABLE: "red",
}


def _details(snapshot: Snapshot, rows: int | None) -> Iterator[RenderableType]:
    """The parts below the first line; those of a cluster have an empty line before them."""
    if snapshot.submitted.report.problem:
        yield Text(f"Slurm: {snapshot.submitted.report.problem}", style=_STYLES[Place.UNKNOWN])
    if snapshot.reasons:
        yield _reasons(snapshot)
    on_cluster = bool(snapshot.submitted.groups)
    if snapshot.running:
        yield from [Text()] * on_cluster
        yield _running_table(snapshot, rows)
    if on_cluster:
        yield Text()
        yield _submissions_table(snapshot.submitted, rows)
        yield Text()
    yield from _examples(snapshot, Place.FAILED)
    yield from _examples(snapshot, Place.LOST)
    yield from _examples(snapshot, Place.UNREADABLE)
    if on_cluster and snapshot.is_over() and snapshot.left:
        yield Text(f"no job is left, {snapshot.left} not done; slq submit goes on with them", style="bold")


def _reasons(snapshot: Snapshot) -> Table:
    table = Table.grid(padding=(0, 2))
    for place, reasons in snapshot.reasons.items():
        for why, count in reasons.most_common(EXAMPLES):
            table.add_row(Text(place, style=_STYLES[place]), str(count), Text(why))
    return table


def _running_table(snapshot: Snapshot, rows: int | None) -> Table:
    on_cluster = bool(snapshot.submitted.groups)
    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="bold")
    for column in ("running", "stage", "step"):
        table.add_column(column)
    for column in ("loss", "accuracy", *(["left"] if on_cluster else [])):
        table.add_column(column, justify="right")
    if on_cluster:
        table.add_column("job")
    for each in snapshot.running[:rows]:
        extra = (duration(each.seconds_left) if each.seconds_left is not None else "", _job(each))
        table.add_row(each.label, *describe(each.event), *(extra if on_cluster else ()))
    if rows and len(snapshot.running) > rows:
        table.add_row(f"and {len(snapshot.running) - rows} more", style="dim")
    return table


def _job(running: Activity) -> str:
    """Where a trial runs, and how long it may: "123_4 on n1, ≤ 50 min"."""
    job = running.job
    limit = job.seconds_left() if job else None
    node = f" on {job.nodes}" if job and job.nodes else ""
    return f"{running.job_id}{node}" + (f", ≤ {duration(limit)}" if limit is not None else "")


def _submissions_table(submitted: Submitted, rows: int | None) -> Table:
    """Those with live jobs, or of which something was lost or is unknown; the rest only as a number."""
    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="bold")
    for column in ("job", "backend", "site"):
        table.add_column(column)
    for column in ("tasks waiting", "running", "ended", "unknown"):
        table.add_column(column, justify="right")
    table.add_column("")
    shown = [group for group in submitted.groups if _is_of_interest(group)][-(rows or 0) :]
    for group in shown:
        table.add_row(*_submission_row(group))
    if shown and len(shown) < len(submitted.groups):
        table.add_row(f"and {len(submitted.groups) - len(shown)} more", style="dim")
    return table


def _is_of_interest(group: Group) -> bool:
    return group.is_live() or (not group.submission.closed and group.lost + group.unknown > 0)


def _submission_row(group: Group) -> tuple[str, ...]:
    submission = group.submission
    notes = [group.reason(), _lost(group), group.why_unknown() if group.unknown else ""]
    return (
        submission.job_id or "?",
        submission.backend,
        submission.site,
        *(str(n) for n in (group.waiting, group.running, group.ended, group.unknown)),
        submission.closed or "; ".join(filter(None, notes)),
    )


def _lost(group: Group) -> str:
    """What became of its jobs that did not end well."""
    return ", ".join(f"{count} {why}" for why, count in group.causes().most_common(3))


def _examples(snapshot: Snapshot, place: Place) -> Iterator[Text]:
    there = [each for each in snapshot.stopped if each.place is place]
    for each in there[:EXAMPLES]:
        known = "" if place is Place.UNREADABLE else f" ({each.id})\n "  # paths of damaged files have the id
        yield Text(f"{place}: {each.label}{known or ':'} {each.why}", style=_STYLES[place])
    if len(there) > EXAMPLES:
        yield Text(f"and {len(there) - EXAMPLES} more {place}", style=_STYLES[place])


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
    counts = ", ".join(f"{n} {place}" for place, n in snapshot.counts.items() if place is not Place.DONE)
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
