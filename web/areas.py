"""All areas of the console, in the order of the navigation. A new one is a folder, and a line here."""

from __future__ import annotations

from .area import Area
from .compare.routes import AREA as COMPARE
from .datasets.routes import AREA as DATASETS
from .overview.routes import AREA as OVERVIEW
from .runs.routes import AREA as RUNS
from .session.routes import AREA as SESSION
from .settings.routes import AREA as SETTINGS
from .tensorboard.routes import AREA as TENSORBOARD
from .trainings.routes import AREA as TRAININGS
from .viewer.routes import AREA as VIEWER
from .zoo.routes import AREA as ZOO

__all__ = ["AREAS"]

AREAS: tuple[Area, ...] = (OVERVIEW, DATASETS, TRAININGS, RUNS, COMPARE, ZOO, TENSORBOARD, SETTINGS, SESSION, VIEWER)
