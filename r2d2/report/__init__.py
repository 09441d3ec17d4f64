"""The HTML report of an evaluation: one file that needs nothing else, to be read, printed and passed on."""

from r2d2.report.build import ReportWriteError, build_report

__all__ = ["ReportWriteError", "build_report"]
