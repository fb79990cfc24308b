"""A spec file as it stands: its keys, and those of its rows, columns and cells."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from suite.errors import choices
from suite.report.strict import Strict, dotted_only
from suite.report.tolerance import Tolerance

Conditions = Annotated[dict[str, Any], AfterValidator(dotted_only)]


class Wanted(Strict):
    """What belongs into cells; a row, a column and a cell of its own complete one another."""

    where: Conditions = Field(
        {}, description="Which trials: network, data, method, bits and further settings by dotted names."
    )
    metric: str = Field("", description="What is shown; given by the rows or by the columns.")
    variant: str = Field("", description="The published figure is that of an entry with this variant.")
    tolerance: Tolerance | None = None


class Line(Wanted):
    """A row or a column."""

    label: str = Field(min_length=1)


class Special(Wanted):
    """A cell that differs from its row and column; named by their labels."""

    row: str
    column: str


class Content(Strict):
    """A spec file."""

    title: str = Field(min_length=1)
    note: str = Field("", description="What a reader must know; stands below the title.")
    sources: tuple[str, ...] = Field(min_length=1, description="Files in results/reference, without ending.")
    sweeps: tuple[str, ...] = Field(min_length=1, description="Sweep files whose trials fill the cells.")
    where: Conditions = Field({}, description="Conditions of all cells; rows and columns may say otherwise.")
    tolerance: Tolerance | None = None
    rows: tuple[Line, ...] = Field(min_length=1)
    columns: tuple[Line, ...] = Field(min_length=1)
    cells: tuple[Special, ...] = Field((), description="Cells that differ from what their row and column say.")

    @model_validator(mode="after")
    def _tells_lines_apart(self) -> Self:
        for kind, lines in (("rows", self.rows), ("columns", self.columns)):
            labels = [line.label for line in lines]
            if twice := [label for label in labels if labels.count(label) > 1]:
                raise ValueError(f"{kind}: two have the label {twice[0]!r}")
        return self

    @model_validator(mode="after")
    def _has_the_special_cells(self) -> Self:
        for kind, lines in (("row", self.rows), ("column", self.columns)):
            labels = dict.fromkeys(line.label for line in lines)
            for label in (getattr(cell, kind) for cell in self.cells):
                if label not in labels:
                    raise ValueError(f"cells: no {kind} {label!r}{choices(label, labels)}")
        return self

    def layers(self, row: Line, column: Line) -> tuple[Wanted, ...]:
        """What a cell is made of; the first that says something counts."""
        own = [cell for cell in self.cells if (cell.row, cell.column) == (row.label, column.label)]
        return *own, row, column
