"""How far a measured figure may fall short of a published one and still count as reproduced, and why so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from suite.report.strict import Strict

Unit = Literal["points", "ratio"]
UNITS: tuple[Unit, Unit] = ("points", "ratio")


class Tolerance(Strict):
    """Given with a published figure, or in a table's spec; what it does not give is looked up further (see `allowed`)."""

    points: float | None = Field(None, ge=0, description="Of accuracy that may be missing.")
    ratio: float | None = Field(None, gt=0, le=1, description="Part of the published ratio that must be reached.")
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _allows_something(self) -> Self:
        if self.points is None and self.ratio is None:
            raise ValueError("needs 'points' or 'ratio'")
        return self


DEFAULT = Tolerance(
    points=0.2,
    ratio=1.0,
    reason=(
        "0.2 points are of the order of what the choice of test images decides: the standard error of an error of 30 % on "
        "ImageNet's 50,000 images is 0.20 points, of 8 % on CIFAR-10's 10,000 0.27, of 1 % on MNIST's 10,000 0.10; a file's size "
        "has no such error"
    ),
)


@dataclass(frozen=True)
class Allowed:
    """The tolerance that counts for a figure."""

    value: float
    unit: Unit
    reason: str

    @property
    def note(self) -> str:
        limit = f"{self.value:g} points" if self.unit == "points" else f"{100 * self.value:g} % of the published ratio"
        return f"Tolerance {limit}: {self.reason}."

    @property
    def is_default(self) -> bool:
        return self.reason == DEFAULT.reason


def allowed(unit: Unit, given: Iterable[Tolerance | None] = ()) -> Allowed:
    """Of those given, the closest to the figure first, the first that says something in this unit; else the default."""
    for tolerance in [*given, DEFAULT]:
        value = getattr(tolerance, unit, None)
        if tolerance is not None and value is not None:
            return Allowed(value, unit, tolerance.reason)
    raise AssertionError("the default has all units")
