"""Ledger -> figures: in matplotlib's object form, with caption and alternative text, and as files."""

from suite.report.figures.drawn import Absent, Drawn
from suite.report.figures.gallery import outcomes
from suite.report.figures.save import save

__all__ = ["Absent", "Drawn", "outcomes", "save"]
