"""Training loss and test accuracy over the steps of a trial, with the moments at which weights were quantized."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from suite.ledger import Event
from suite.report.figures.scene import Scene, events_of, full_name, read_each, select
from suite.report.figures.style import look_of
from suite.report.paths import Shorten
from suite.report.table import FULL_PRECISION, Row
from suite.report.web.accuracies import STEEP, below, view
from suite.report.web.plot import BELOW, Plot, Trace, View, anchor, axis, layout, short
from suite.report.web.variants import dashes, symbols

MOST_ROWS = 14  # curves that an eye can follow
MOST_POINTS = 250  # of a curve
TICKS = [float(f"{digit}e{power}") for power in range(-4, 4) for digit in (1, 2, 5)]  # of losses
EVALUATIONS = ("snap", "eval", "final")
LEAST = 1.0  # points below the lowest of the last accuracies that are shown at first
CROSS = {"symbol": "x-thin-open", "size": 8, "line": {"width": 1.6}}


@dataclass(frozen=True)
class Course:
    """Of one trial."""

    trial: str
    training: list[Event]  # losses
    accuracy: list[Event]  # evaluations on the test images, in the order they were made

    @property
    def top1(self) -> list[float]:
        """Of the evaluations, %."""
        return [100 * float(event["top1"]) for event in self.accuracy]


Courses = Sequence[tuple[Row, Course]]


def curves(number_of_block: int, scene: Scene, shorten: Shorten) -> Iterator[Plot]:
    """One figure, none while nothing has been trained."""
    quantized = [row for row in scene.block.rows if row.method != FULL_PRECISION]
    marks, strokes = symbols(quantized), dashes(quantized)
    found, warnings = read_each(quantized, lambda row: _drawn(row, scene, marks[row.label], strokes[anchor(row)]))
    chosen, how = select(found, MOST_ROWS)
    if not chosen:
        return
    courses = [(row, course) for row, (course, _) in chosen]
    thinned = max(len(course.training) for _, course in courses) > MOST_POINTS
    thin = f" Of long curves at most {MOST_POINTS} losses are drawn." if thinned else ""
    last = "; ".join(f"{full_name(row)} {_percent(course.top1[-1])}" for row, course in courses if course.accuracy)
    yield Plot(
        id=f"plot-{number_of_block}-curves",
        title=f"{scene.block.title}: loss and accuracy over the training steps",
        caption="One trial per configuration (n = 1), that of median accuracy, or while none is done the first that has been "
        "re-trained; top: loss of the training batches, bottom: accuracy on the test images. Crosses: weights were quantized."
        f"{how}{thin}{_below(courses)}" + "".join(f" {shorten(warning)}" for warning in warnings),
        alt=f"Training loss and test accuracy over training steps. Last accuracy: {last}.",
        views=[View([trace for _, (_, traces) in chosen for trace in traces], _layout(courses))],
        is_wide=True,
    )


def _layout(courses: Courses) -> dict[str, Any]:
    return layout(
        660,
        showlegend=True,
        legend={**BELOW, "itemsizing": "constant", "itemwidth": 60},
        xaxis=axis("Training step of the trial", anchor="y2"),
        yaxis=axis("Training loss", type="log", tickvals=TICKS, tickformat="~g", domain=[0.55, 1]),
        yaxis2=axis("Test top-1 accuracy, %", domain=[0, 0.47], **_range(courses)),
    )


def _range(courses: Courses) -> dict[str, Any]:
    measured = [value for _, course in courses for value in course.top1]
    return view(_floor(courses), min(measured), max(measured)) if measured else {}


def _floor(courses: Courses) -> float:
    """Of the axis at first: below the last accuracies, without those that collapsed, by as much as these lie apart."""
    last = [course.top1[-1] for _, course in courses if course.accuracy]
    good = [value for value in last if value >= max(last) - STEEP]
    return min(good) - max(max(good) - min(good), LEAST) if good else 0.0


def _below(courses: Courses) -> str:
    floor = _floor(courses)
    lowest = [(row, min(course.top1)) for row, course in courses if course.accuracy]
    return below([f"{full_name(row)} (down to {_percent(value)})" for row, value in lowest if value < floor])


def _drawn(row: Row, scene: Scene, symbol: str, dash: str) -> tuple[Course, list[Trace]] | None:
    """With its traces: what cannot be drawn of damaged events shows here."""
    course = _course(row, scene)
    return (course, list(_traces(row, course, symbol, dash))) if course else None


def _course(row: Row, scene: Scene) -> Course | None:
    for work in [scene.median(row)] if row.done else map(scene.ledger.trial, row.trials):
        events = events_of(work)
        training = [event for event in events if event["event"] == "train"]
        if training:
            return Course(work.id, training, [event for event in events if event["event"] in EVALUATIONS])
    return None


def _traces(row: Row, course: Course, symbol: str, dash: str) -> Iterator[Trace]:
    name, colour, training = full_name(row), look_of(row.method).colour, _thin(course.training)
    base = {
        "type": "scatter",
        "name": name,
        "meta": {"method": row.method},
        "legendgroup": f"{name}, {course.trial}",
        "line": {"color": colour, "width": 1.5, "dash": dash},
    }
    losses = [short(event["loss"]) for event in training]
    yield {
        **base,
        "mode": "lines",
        "x": [event["step"] for event in training],
        "y": losses,
        "customdata": [[f"#trial-{course.trial}"]] * len(training),
        "hovertemplate": f"{name}<br>step %{{x}}, training loss %{{y}}<extra></extra>",
        "showlegend": False,
    }
    yield {
        **base,
        **_evaluations(name, course, course.accuracy),
        "mode": "lines+markers",
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": [0 if event["event"] == "snap" else 7 for event in course.accuracy],
        },
    }
    yield from _quantizations(base, course)


def _evaluations(name: str, course: Course, events: Sequence[Event]) -> Trace:
    return {
        "yaxis": "y2",
        "x": [event["step"] for event in events],
        "y": [short(100 * event["top1"]) for event in events],
        "customdata": [[f"#trial-{course.trial}", _happened(event)] for event in events],
        "hovertemplate": f"{name}<br>step %{{x}}, %{{customdata[1]}}: top-1 %{{y}} %<extra></extra>",
    }


def _quantizations(base: Trace, course: Course) -> Iterator[Trace]:
    """Crosses on the loss, at the first one after each, as far as training went on, and on the accuracy."""
    crosses = {**base, "mode": "markers", "marker": {"color": base["line"]["color"], **CROSS}, "showlegend": False}
    snaps = [event for event in course.accuracy if event["event"] == "snap"]
    found = [(snap, _next(snap, course.training)) for snap in snaps]
    marked = [(snap, train) for snap, train in found if train is not None]
    yield {
        **crosses,
        "x": [train["step"] for _, train in marked],
        "y": [short(train["loss"]) for _, train in marked],
        "customdata": [[f"#trial-{course.trial}", _happened(snap)] for snap, _ in marked],
        "hovertemplate": f"{base['name']}<br>%{{customdata[1]}}<extra></extra>",
    }
    yield {**crosses, **_evaluations(base["name"], course, snaps)}


def _next(snap: Event, training: Iterable[Event]) -> Event | None:
    return next((train for train in training if train["step"] > snap["step"]), None)


def _thin(events: Sequence[Event]) -> Sequence[Event]:
    return events[:: -(-len(events) // MOST_POINTS)] if events else events


def _happened(event: Event) -> str:
    match event["event"]:
        case "snap":
            return f"stage {event['stage']} of {event['stages']} quantized, {100 * event['frozen']:.0f} % frozen"
        case "eval":
            return f"after re-training of stage {event['stage']} of {event['stages']}"
        case _:
            return "the finished network"


def _percent(value: float) -> str:
    return f"{value:.2f} %"
