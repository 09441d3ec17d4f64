"""The area of jobs: all of them, each by itself, its curves, samples, log and files, and what may be asked of it."""

from __future__ import annotations

from flask import Blueprint

from ..area import Area, Console
from .files import add_files
from .job import add_job
from .list import add_list
from .machines import add_machines
from .samples import add_samples
from .wishes import add_wishes

__all__ = ["AREA"]


def _add(pages: Blueprint, console: Console) -> None:
    add_list(pages, console)
    add_job(pages, console)
    add_machines(pages, console)
    add_samples(pages, console)
    add_files(pages, console)
    add_wishes(pages, console)


AREA = Area("runs", _add, title="Jobs")
