"""The report of a sweep, put together and written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from markupsafe import Markup

from suite.files import write_atomic
from suite.ledger import Ledger
from suite.report import cells
from suite.report.figures.scene import Scene, full_name
from suite.report.frame import tidy
from suite.report.page import page
from suite.report.parts import parts_of
from suite.report.paths import Shorten
from suite.report.reference import References
from suite.report.table import Block, Row, Tables, tables_of
from suite.report.web.commands import LEDGER, commands
from suite.report.web.cost import costs, starts_of
from suite.report.web.energy import energy
from suite.report.web.failures import failures
from suite.report.web.figures import figures
from suite.report.web.findings import findings
from suite.report.web.origin import origin
from suite.report.web.overview import overview
from suite.report.web.plot import swatches
from suite.report.web.published import EXPLAINED, published
from suite.report.web.told import tell
from suite.sweep import Sweep


def write_report(
    sweep: Sweep,
    sweep_file: Path,
    ledger: Ledger,
    usual_root: Path,
    references: References,
    target: Path,
    *,
    is_usual: bool = True,
) -> None:
    """Write the page. The same ledger, at rest and without Slurm, gives the same bytes.

    Args:
        sweep_file: is shown as it is.
        usual_root: of ledgers, which commands need not name.
        is_usual: whether commands need not name the target either.
    """
    text = report(sweep, sweep_file, ledger, usual_root, references, None if is_usual else target)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, partial(Path.write_text, data=text, encoding="utf-8"))


def report(
    sweep: Sweep, sweep_file: Path, ledger: Ledger, usual_root: Path, references: References, target: Path | None = None
) -> str:
    """The page's text; `target` is where it goes, if commands must name that."""
    trials, shorten = sweep.trials, Shorten(ledger.root)
    frame = tidy(ledger, trials)
    tables = tables_of(ledger.sweep, frame, references)
    frame = frame.set_index("id", drop=False)
    told, made_from = tell(trials, ledger, frame, shorten), origin(trials, ledger)
    scenes = enumerate((Scene(ledger, block, frame) for block in tables.blocks), start=1)
    shown = [figure for number, scene in scenes for figure in figures(number, scene, shorten)]
    plots = [plot for figure in shown for plot in figure.plots]
    return page(
        "report.html",
        sweep=sweep,
        tables=tables,
        parts=list(parts_of(tables)),
        footer=cells.footer(tables),
        counts=Counter(view.state for view in told.values()),
        findings=findings(tables),
        published=published(sweep_file, ledger, references, tables, frame),
        explained=EXPLAINED,
        overview=overview(told.values()),
        groups=[(full_name(row), block.title, row, [told[i] for i in row.trials]) for block, row in _rows(tables)],
        failures=failures(trials, ledger, told, shorten),
        orphans=len({work.id for work in ledger.trials()} - set(told)),
        cost=costs(trials, ledger, frame),
        energy=energy([*(ledger.trial(trial.id) for trial in trials), *starts_of(trials, ledger)]),
        origin=made_from,
        source=sweep_file.read_text(encoding="utf-8"),
        source_name=sweep_file.name,
        commands=commands(sweep_file, ledger.root, usual_root, made_from.commit, target),
        elsewhere=LEDGER,
        figures=shown,
        plots={plot.id: [view.spec for view in plot.views] for plot in plots},
        swatches=swatches(plots),
        plotly=Markup(_plotly() if plots else ""),
    )


def _rows(tables: Tables) -> Iterator[tuple[Block, Row]]:
    return ((block, row) for block in tables.blocks for row in block.rows)


def _plotly() -> str:
    """The library, whole; a second of importing that only a page with figures needs."""
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    return text
