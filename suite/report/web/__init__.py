"""The report of a sweep: one HTML file that holds everything and works offline."""

from suite.report.web.report import write_report

__all__ = ["write_report"]
