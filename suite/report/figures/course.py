"""Accuracy and loss over the steps of re-training, with the moments at which weights are quantized."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D

from suite.ledger import Event
from suite.report.figures.drawn import Absent, Drawn
from suite.report.figures.scene import (
    Content,
    Scene,
    configurations,
    events_of,
    full_name,
    heading,
    level,
    read_each,
    select,
    snaps_of,
)
from suite.report.figures.style import BLACK, GREY, sheet
from suite.report.figures.variants import Mark, marks
from suite.report.number import number
from suite.report.table import Row

KIND, TITLE = "course", "accuracy and loss while weights are quantized"
COLUMNS, PAGE, MOST = 4, 12, 24  # panels in a row, on a page, in all
HEIGHT = 2.0  # inches of a panel
LINE = 28  # letters above a panel
SMALL = 0.5  # of the size of marks in a figure of points


@dataclass(frozen=True)
class _Course:
    """One trial: (step, value) pairs in the order of time. Accuracies in %, losses in nats."""

    mark: Mark  # of its configuration, as in the figure of accuracy against size
    seed: int
    baseline: float  # top-1
    snaps: list[int]  # steps at which weights were quantized
    test: list[tuple[int, float]]  # top-1 after each quantization and each re-training: two values at most steps
    test_loss: list[tuple[int, float]]
    train: list[tuple[int, float]]  # accuracy on training batches
    train_loss: list[tuple[int, float]]


def read(scene: Scene) -> Content[_Course] | Absent:
    looks = marks(scene.quantized)
    found, warnings = read_each(scene.quantized, lambda row: _course(scene, row, looks[row.label]))
    if not found:
        reason = "no trial that is done has re-trained between quantizations"
        return Absent(scene.name(KIND), scene.title(TITLE), reason, warnings)
    return Content(scene.name(KIND), scene.title(TITLE), *select(found, MOST), warnings)


def draw(content: Content[_Course]) -> Iterator[Drawn]:
    for page in content.pages(PAGE):
        lines = -(-len(page.items) // COLUMNS)
        figure = sheet(page.title, height=0.6 + HEIGHT * lines)
        cells = figure.subfigures(lines, min(COLUMNS, len(page.items)), squeeze=False).flat
        headings = level([heading(row, f"seed {course.seed}", LINE) for row, course in page.items])
        for place, (cell, text, (_, course)) in enumerate(zip(cells, headings, page.items, strict=False)):
            _panel(cell, text, course, is_first=place % COLUMNS == 0)
        figure.legend(handles=_handles(), loc="outside lower center", ncols=4)
        yield Drawn(page.name, page.title, _caption(page.choice), _alt(page.items), figure, page.warnings)


def _course(scene: Scene, row: Row, mark: Mark) -> _Course | None:
    """Of the trial of median accuracy; None if nothing was re-trained."""
    work = scene.median(row)
    events, snaps = events_of(work), snaps_of(work)
    trained = [event for event in events if event["event"] == "train"]
    if not trained:
        return None
    tested = [event for event in events if event["event"] in ("snap", "eval", "final")]
    return _Course(
        mark=mark,
        seed=scene.seed(work),
        baseline=float(scene.frame["baseline_top1"][work.id]),
        snaps=[int(event["step"]) for event in snaps],
        test=_series(tested, "top1", 100),
        test_loss=_series(tested, "loss"),
        train=_series(trained, "accuracy", 100),
        train_loss=_series(trained, "loss"),
    )


def _series(events: Sequence[Event], field: str, factor: float = 1) -> list[tuple[int, float]]:
    return [(int(event["step"]), factor * float(event[field])) for event in events]


def _panel(cell: SubFigure, text: str, course: _Course, *, is_first: bool) -> None:
    upper, lower = cell.subplots(2, 1, sharex=True)
    _curves(upper, course.train, course.test, course.snaps, course.mark)
    _curves(lower, course.train_loss, course.test_loss, course.snaps, course.mark)
    upper.axhline(course.baseline, color=BLACK, lw=0.7, ls=":")
    upper.set_title(text)
    lower.set_xlabel("training step")
    if is_first:
        upper.set_ylabel("top-1 (%)")
        lower.set_ylabel("loss (nats)")


def _curves(
    axes: Axes, train: list[tuple[int, float]], test: list[tuple[int, float]], snaps: list[int], mark: Mark
) -> None:
    for step in snaps:
        axes.axvline(step, color=GREY, lw=0.5, ls="--", zorder=0.5)
    axes.plot(*zip(*train, strict=True), color=GREY, lw=0.5, alpha=0.7)
    axes.plot(*zip(*test, strict=True), **{**mark.style, "ls": "-", "lw": 0.8, "ms": SMALL * mark.size, "mew": 0.5})
    axes.grid(axis="x", visible=False)


def _handles() -> list[Line2D]:
    return [
        Line2D([], [], color=BLACK, lw=0.8, label="test (in the method's colour, with its variant's mark)"),
        Line2D([], [], color=GREY, lw=0.5, label="training batches"),
        Line2D([], [], color=GREY, lw=0.5, ls="--", label="weights are quantized"),
        Line2D([], [], color=BLACK, lw=0.7, ls=":", label="full precision, test"),
    ]


def _caption(choice: str) -> str:
    return (
        "Top-1 accuracy and loss over the steps of re-training: on the test images after each quantization and each "
        "re-training, and on the training batches. Dashed: weights are quantized. Each panel is one trial, that of median "
        f"accuracy among the n of its configuration; scales differ from panel to panel.{choice}"
    )


def _alt(chosen: Sequence[tuple[Row, _Course]]) -> str:
    ends = [(course.test[-1][1] - course.baseline, full_name(row)) for row, course in chosen]
    drops = [(course.test[0][1] - course.baseline, full_name(row)) for row, course in chosen]
    worst, least, most = min(drops), min(ends), max(ends)
    return (
        f"Curves of accuracy and loss over training steps for {configurations(chosen)}: the deepest fall at the first "
        f"quantization is {_points(worst[0])} points ({worst[1]}), and they end between {_points(least[0])} ({least[1]}) and "
        f"{_points(most[0])} points ({most[1]}) from full precision."
    )


def _points(difference: float) -> str:
    return number(difference, "{:+.1f}")
