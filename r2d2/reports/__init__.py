"""HTML reports, of an evaluation and of a dataset: one file that needs nothing else, to be read and passed on."""

from r2d2.reports.build import build_report
from r2d2.reports.dataset import build_dataset_report

__all__ = ["build_dataset_report", "build_report"]
