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
from suite.report.web.plot import BELOW, SYMBOLS, Plot, Trace, View, axis, layout, short

MOST_ROWS = 14  # curves that an eye can follow
MOST_POINTS = 250  # of a curve
DASHES = {1: "dot", 2: "dot", 3: "dash", 4: "dashdot"}  # by width in bits; others are solid
TICKS = [float(f"{digit}e{power}") for power in range(-4, 4) for digit in (1, 2, 5)]  # of losses
EVALUATIONS = ("snap", "eval", "final")


@dataclass(frozen=True)
class Course:
    """Of one trial."""

    trial: str
    training: list[Event]  # losses
    accuracy: list[Event]  # evaluations on the test images, in the order they were made


def curves(number_of_block: int, scene: Scene, shorten: Shorten) -> Iterator[Plot]:
    """One figure, none while nothing has been trained."""
    quantized = [row for row in scene.block.rows if row.method != FULL_PRECISION]
    found, warnings = read_each(quantized, lambda row: _drawn(row, scene))
    courses, how = select(found, MOST_ROWS)
    if not courses:
        return
    thinned = max(len(course.training) for _, (course, _) in courses) > MOST_POINTS
    thin = f" Of long curves at most {MOST_POINTS} losses are drawn." if thinned else ""
    last = "; ".join(
        f"{full_name(row)} {_percent(course.accuracy[-1])}" for row, (course, _) in courses if course.accuracy
    )
    yield Plot(
        id=f"plot-{number_of_block}-curves",
        title=f"{scene.block.title}: loss and accuracy over the training steps",
        caption="One trial per configuration (n = 1), that of median accuracy, or while none is done the first that has been "
        "re-trained; top: loss of the training batches, bottom: accuracy on the test images. Crosses: weights were quantized."
        f"{how}{thin}" + "".join(f" {shorten(warning)}" for warning in warnings),
        alt=f"Training loss and test accuracy over training steps. Last accuracy: {last}.",
        views=[View([trace for _, (_, traces) in courses for trace in traces], _layout())],
        is_wide=True,
    )


def _layout() -> dict[str, Any]:
    return layout(
        660,
        showlegend=True,
        legend=BELOW,
        xaxis=axis("Training step of the trial", anchor="y2"),
        yaxis=axis("Training loss", type="log", tickvals=TICKS, tickformat="~g", domain=[0.55, 1]),
        yaxis2=axis("Test top-1 accuracy, %", domain=[0, 0.47]),
    )


def _drawn(row: Row, scene: Scene) -> tuple[Course, list[Trace]] | None:
    """With its traces: what cannot be drawn of damaged events shows here."""
    course = _course(row, scene)
    return (course, list(_traces(row, course))) if course else None


def _course(row: Row, scene: Scene) -> Course | None:
    for work in [scene.median(row)] if row.done else map(scene.ledger.trial, row.trials):
        events = events_of(work)
        training = [event for event in events if event["event"] == "train"]
        if training:
            return Course(work.id, training, [event for event in events if event["event"] in EVALUATIONS])
    return None


def _traces(row: Row, course: Course) -> Iterator[Trace]:
    name, look, training = full_name(row), look_of(row.method), _thin(course.training)
    base = {
        "type": "scatter",
        "name": name,
        "meta": {"method": row.method},
        "legendgroup": f"{name}, {course.trial}",
        "line": {"color": look.colour, "width": 1.5, "dash": DASHES.get(row.bits or 0, "solid")},
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
        "mode": "lines+markers",
        "yaxis": "y2",
        "x": [event["step"] for event in course.accuracy],
        "y": [short(100 * event["top1"]) for event in course.accuracy],
        "marker": {
            "color": look.colour,
            "symbol": [
                "x-thin-open" if event["event"] == "snap" else SYMBOLS[look.marker] for event in course.accuracy
            ],
            "size": [8 if event["event"] == "snap" else 6 for event in course.accuracy],
            "line": {"width": [1.6 if event["event"] == "snap" else 0 for event in course.accuracy]},
        },
        "customdata": [[f"#trial-{course.trial}", _happened(event)] for event in course.accuracy],
        "hovertemplate": f"{name}<br>step %{{x}}, %{{customdata[1]}}: top-1 %{{y}} %<extra></extra>",
    }
    yield _quantizations(base, course)


def _quantizations(base: Trace, course: Course) -> Trace:
    """On the loss: a cross at the first loss after each, as far as training went on."""
    found = [(snap, _next(snap, course.training)) for snap in course.accuracy if snap["event"] == "snap"]
    marked = [(snap, train) for snap, train in found if train is not None]
    return {
        **base,
        "mode": "markers",
        "x": [train["step"] for _, train in marked],
        "y": [short(train["loss"]) for _, train in marked],
        "marker": {"color": base["line"]["color"], "symbol": "x-thin-open", "size": 8, "line": {"width": 1.6}},
        "customdata": [[f"#trial-{course.trial}", _happened(snap)] for snap, _ in marked],
        "hovertemplate": f"{base['name']}<br>%{{customdata[1]}}<extra></extra>",
        "showlegend": False,
    }


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


def _percent(event: Event) -> str:
    return f"{100 * event['top1']:.2f} %"
