"""All areas of the console, in the order of the navigation. A new one is a folder, and a line here."""

from __future__ import annotations

from .area import Area
from .overview.routes import AREA as OVERVIEW
from .runs.routes import AREA as RUNS
from .session.routes import AREA as SESSION
from .settings.routes import AREA as SETTINGS

__all__ = ["AREAS"]

AREAS: tuple[Area, ...] = (OVERVIEW, RUNS, SETTINGS, SESSION)
