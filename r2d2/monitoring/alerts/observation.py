"""What a run folder says of the last minutes of its run: all that the rules look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from dist_training.record.run_folder import RunFolder
from r2d2.config import read_layer
from r2d2.curves.run_curves import CATCH_UP_S, CurveView, RunCurves
from r2d2.monitoring.series import Record, read_newest
from r2d2.monitoring.settings import MonitoringSettings
from r2d2_base.errors import R2D2Error

__all__ = ["LONGEST_WINDOW_S", "RANK_WINDOW_S", "Observation", "observe"]

LONGEST_WINDOW_S = 300.0
"""Of what was recorded of hosts, the newest so many seconds are read."""
RANK_WINDOW_S = 60.0
"""Likewise of ranks, which may be many."""
STRETCHES = 40


@dataclass(frozen=True)
class Observation:
    """A run as it is seen at a moment.

    Attributes:
        begun: when training last began, in seconds since 1970.
        settings: how closely it is watched.
        view: its curves, the losses in `STRETCHES` stretches.
        ranks: newest records of each rank since training last began.
        hosts: newest records of each host, likewise.
        has_diverged: whether it has ended because its loss, or its weights, exploded.
    """

    begun: float
    settings: MonitoringSettings
    view: CurveView
    ranks: Mapping[int, Sequence[Record]]
    hosts: Mapping[str, Sequence[Record]]
    has_diverged: bool

    @property
    def newest(self) -> float:
        """When anything was recorded last, in seconds since 1970; 0: nothing was."""
        series = (*self.ranks.values(), *self.hosts.values())
        return max((records[-1]["time"] for records in series), default=0.0)


def observe(run: Path, kept: Path, patience_s: float = CATCH_UP_S) -> Observation | None:
    """Look at a run.

    Args:
        run: its folder.
        kept: a folder of the curves that are made from its record; see `r2d2.curves.RunCurves`.
        patience_s: seconds for which its record is read, at most; the next look goes on from there.

    Returns:
        None: training has not begun.
    """
    folder = RunFolder(run)
    curves = RunCurves(run, kept)
    curves.catch_up(patience_s)
    view = curves.view(most=STRETCHES)
    if view.running is None:
        return None
    begun = view.running.time
    ranks: dict[int, list[Record]] = {}
    hosts: dict[str, list[Record]] = {}
    for path in sorted(one for one in folder.monitoring.glob("*.jsonl") if not one.is_symlink()):
        kind, _, name = path.stem.partition("-")
        window_s = RANK_WINDOW_S if kind == "rank" else LONGEST_WINDOW_S
        records = [one for one in read_newest(path, window_s) if one["time"] > begun]
        if not records:
            continue
        if kind == "rank" and name.isdecimal():
            ranks[int(name)] = records
        elif kind == "host":
            hosts[name] = records
    end = folder.read_exit()
    return Observation(begun, _settings(folder), view, ranks, hosts, end is not None and bool(end.diverged))


def _settings(folder: RunFolder) -> MonitoringSettings:
    """Read how the run is watched; where its configuration cannot be read, as by default."""
    try:
        return _settings_in(folder.config, folder.config.stat().st_mtime_ns)
    except (OSError, R2D2Error, ValidationError):
        return MonitoringSettings()


@lru_cache(maxsize=64)
def _settings_in(config: Path, _changed: int) -> MonitoringSettings:
    """Read it once: YAML takes longer than all else of a look."""
    return MonitoringSettings.model_validate(read_layer(config).get("monitoring") or {})
