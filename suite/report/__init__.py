"""Ledger and published figures -> one tidy frame -> the tables of a sweep, in every form they are read in."""

from suite.report.frame import PlannedTrial, tidy
from suite.report.reference import References, load_references
from suite.report.render import print_tables, write_tables
from suite.report.table import Tables, build_tables

__all__ = [
    "PlannedTrial",
    "References",
    "Tables",
    "build_tables",
    "load_references",
    "print_tables",
    "tidy",
    "write_tables",
]
