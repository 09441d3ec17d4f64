"""The settings of runs side by side: only those that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from r2d2.config import Configuration, configure, read_layer
from r2d2.config_differences import ABSENT, differences
from r2d2.errors import R2D2Error

__all__ = ["Row", "SettingsTable", "settings_table"]

EACH_ITS_OWN = ("run_dir", "schema_version")
OF_THE_CASES = ("dataset", "fold", "preparation")
"""Where these differ, validation Dice is of other cases."""


@dataclass(frozen=True)
class Row:
    """A setting that differs.

    Attributes:
        key: dotted.
        about: what it is.
        values: of each run, as the configuration file writes them; None: its network has no such setting.
    """

    key: str
    about: str
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class SettingsTable:
    """What differs between runs.

    Attributes:
        runs: numbers of the jobs whose settings could be read.
        rows: of what differs.
        faults: a sentence for each run whose settings could not be read.
        other_cases: whether they were validated on other cases, as far as the settings tell.
    """

    runs: tuple[int, ...]
    rows: tuple[Row, ...]
    faults: tuple[str, ...]
    other_cases: bool


def settings_table(runs: Sequence[tuple[int, Path]]) -> SettingsTable:
    """Compare the settings of runs.

    Args:
        runs: number of the job, and run folder.
    """
    read: dict[int, Configuration] = {}
    faults = []
    for number, folder in runs:
        try:
            file = folder / "config.yaml"
            read[number] = _configuration(file, file.stat().st_mtime_ns)
        except (R2D2Error, OSError) as error:
            faults.append(f"job {number}: its settings cannot be read ({error})")
    found = differences(list(read.values()), besides=EACH_ITS_OWN) if len(read) > 1 else []
    rows = tuple(Row(one.key, one.description, tuple(map(_written, one.values))) for one in found)
    other_cases = any(row.key.split(".")[0] in OF_THE_CASES for row in rows)
    return SettingsTable(tuple(read), rows, tuple(faults), other_cases)


@lru_cache(maxsize=200)
def _configuration(file: Path, _changed: int) -> Configuration:
    return configure(read_layer(file))


def _written(value: object) -> str | None:
    if value == ABSENT:
        return None
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()
