"""What was recorded of a run's machines, along the steps of its training, and in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.schema import MEASUREMENTS, SHARES, key_of, split_key
from r2d2.monitoring.series import Record, read_series

__all__ = ["MachineCurve", "energy_sentence", "machine_curves", "summary"]

Numbers = NDArray[np.float64]
_NOTABLE = 0.2
"""Of the time; less is not worth a remedy."""
_REMEDIES = {
    "input": "the feed is slower than the network: look at the disks, or augment less",
    "exchange": "sums of gradients take long, or one worker is slower: try larger batches or fewer workers",
    "validation": "validate on fewer cases",
    "checkpoint": "write checkpoints less often, or to a faster disk",
}


@dataclass(frozen=True)
class MachineCurve:
    """A figure of a host, a worker or a GPU along a training.

    Attributes:
        measurement, field: as the schema names them.
        source: whose it is, in words.
        steps: steps of the run done at each point, growing.
        mean, largest: of the stretch that ends there.
    """

    measurement: str
    field: str
    source: str
    steps: Numbers
    mean: Numbers
    largest: Numbers


def machine_curves(run: Path, most: int = 400, first: float = 0, last: float = float("inf")) -> list[MachineCurve]:
    """Read what was recorded of a run's machines, as a function of its steps.

    Args:
        run: its folder.
        most: points of a curve at most; neighbours are united.
        first, last: steps that are looked at.

    Returns:
        Curves of hosts, of their workers and GPUs, then of workers' times; empty where nothing was recorded. Records of
        steps that were lost and done again are left out.
    """
    folder = RunFolder(run)
    clock = _StepClock(read_series(folder.monitoring / "rank-0.jsonl"))
    curves = []
    for path in sorted(path for path in folder.monitoring.glob("*.jsonl") if not path.is_symlink()):
        kind, _, name = path.stem.partition("-")
        records = read_series(path)
        steps = clock.steps_at(np.array([one["time"] for one in records]))
        kept = [(step, one) for step, one in zip(steps, records, strict=True) if first <= step <= last]
        for key in dict.fromkeys(key for _, one in kept for key in one):
            measurement, own, field = split_key(key)
            if measurement not in MEASUREMENTS or key == key_of("work", "step"):
                continue  # time and seconds, and what a later version records
            whose = f"{_OWN.get(measurement, measurement)} {own}"
            source = f"{_KINDS.get(kind, kind)} {name}" if own is None else f"{name}, {whose}"
            points = np.array([(step, *_mean_largest(one[key])) for step, one in kept if key in one], np.float64)
            curves.append(MachineCurve(measurement, field, source, *_shortened(points, most).T))
    return curves


def summary(run: Path) -> str | None:
    """Say in a sentence what the workers' time went into, and what to do where much of it was lost.

    Args:
        run: the run's folder.

    Returns:
        None: nothing was recorded.
    """
    spent, seconds = dict.fromkeys(SHARES, 0.0), 0.0
    files = sorted(RunFolder(run).monitoring.glob("rank-*.jsonl"))
    for record in (one for path in files for one in read_series(path)):
        seconds += record["seconds"]
        for share in SHARES:
            spent[share] += record["seconds"] * _mean_largest(record.get(key_of("work", share), 0.0))[0]
    if seconds <= 0:
        return None
    parts = {share: spent[share] / seconds for share in SHARES}
    who = "The worker" if len(files) == 1 else f"The {len(files)} workers"
    words = ", ".join(f"{100 * parts[share]:.0f} % {_WORDS[share]}" for share in SHARES)
    rest = max(1 - sum(parts.values()), 0.0)
    told = f"{who} spent {words}, and {100 * rest:.0f} % on the rest"
    worst = max(_REMEDIES, key=parts.__getitem__)
    return f"{told}: {_REMEDIES[worst]}." if parts[worst] >= _NOTABLE else f"{told}."


def energy_sentence(run: Path) -> str | None:
    """Say how much energy a run's GPUs used, over all its parts, as far as their own counters tell.

    Args:
        run: the run's folder.

    Returns:
        None: no GPU told.
    """
    used, seen = {}, set()
    for path in sorted(RunFolder(run).monitoring.glob("host-*.jsonl")):
        for record in read_series(path):
            for key, value in record.items():
                measurement, device, field = split_key(key)
                if measurement == "gpu":
                    seen.add((path.name, device))
                if (measurement, field) == ("gpu", "energy_wh"):
                    used[path.name, device] = _mean_largest(value)[1]
    if not used:
        return None
    who = "The GPU" if len(seen) == 1 else f"The {len(seen)} GPUs"
    told = "" if len(used) == len(seen) else f", as {len(used)} of them tell{'s' if len(used) == 1 else ''}"
    return f"{who} used {sum(used.values()):.3g} Wh in this run{told}."


_KINDS = {"rank": "worker"}
_OWN = {"worker": "worker", "gpu": "GPU"}
_WORDS = {
    "input": "of the time waiting for input",
    "compute": "computing",
    "exchange": "in exchange",
    "validation": "in validation",
    "checkpoint": "on checkpoints",
}


class _StepClock:
    """Which step a run had done when; of steps that were done twice the later time counts."""

    def __init__(self, times: list[Record]) -> None:
        pairs: list[tuple[float, float]] = []
        self._lost: list[tuple[float, float]] = []
        for one in times:
            step = _mean_largest(one.get(key_of("work", "step"), 0))[1]
            if pairs and step < pairs[-1][1]:
                while pairs and pairs[-1][1] > step:
                    first = pairs.pop()[0]
                self._lost.append((first, one["time"] - one["seconds"]))
            pairs.append((one["time"], step))
        self._times, self._steps = np.array(pairs, np.float64).reshape(-1, 2).T

    def steps_at(self, times: Numbers) -> Numbers:
        """Give the steps at some times; NaN where what was done then was lost, and where no step is known."""
        if not len(self._times):
            return np.full(len(times), np.nan)
        steps = np.interp(times, self._times, self._steps)
        for begin, end in self._lost:
            steps[(times >= begin) & (times < end)] = np.nan
        return steps


def _mean_largest(value: float | list[float]) -> tuple[float, float]:
    return (value[1], value[2]) if isinstance(value, list) else (value, value)


def _shortened(points: Numbers, most: int) -> Numbers:
    """Unite neighbours: the last step, the mean and the largest value of each stretch."""
    points = points[np.argsort(points[:, 0], kind="stable")]
    if len(points) <= most:
        return points
    edges = np.linspace(0, len(points), most + 1).astype(np.intp)
    mean = np.add.reduceat(points[:, 1], edges[:-1]) / np.diff(edges)
    return np.column_stack([points[edges[1:] - 1, 0], mean, np.maximum.reduceat(points[:, 2], edges[:-1])])
