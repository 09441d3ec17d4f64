"""What a training does with its machines, as a page draws it under the curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flask import Blueprint, Response, request

from r2d2.engine.validation import validated
from r2d2.monitoring.figures import MachineCurve, energy_sentence, machine_curves
from r2d2.monitoring.schema import SHARES

from ..api.models import JobPath
from ..area import Console, part
from ..beside import Beside
from ..curves import asked_curves
from ..live import live_data
from ..permissions import Permission, needs

__all__ = ["add_machines", "drawn_machines"]

_CHARTS: Mapping[str, tuple[tuple[str, str, float], ...]] = {
    "cpu": (("host", "cpu_percent", 1.0), ("worker", "cpu_percent", 1.0)),
    "memory": (("host", "memory_used_bytes", 2.0**30), ("worker", "memory_bytes", 2.0**30)),
    "gpu": (("gpu", "load_percent", 1.0),),
    "gpu_power": (("gpu", "power_watts", 1.0),),
    "gpu_energy": (("gpu", "energy_wh", 1.0),),
    "worker_images": (("work", "images_per_second", 1.0),),
}
_MOST_LINES = 16
_MOST_POINTS = 300


def add_machines(pages: Blueprint, console: Console) -> None:
    """Add the route."""
    jobs = console.jobs
    drawn = Beside[tuple[Path, int, float, float], dict[str, Any]](lambda asked: drawn_machines(*asked), {})

    @pages.get("/jobs/<int:job_id>/machines")
    @needs(Permission.READ)
    @part
    def machines(job_id: int) -> Response:
        path: JobPath = validated(JobPath, {"job_id": job_id}, "address")
        job, query = jobs.show(path.job_id).job, asked_curves(request.args)
        if job.task != "train" or job.output is None:
            return live_data({})
        most = min(query.most, _MOST_POINTS)  # of many workers an hour, that takes a second
        return live_data(drawn.get((Path(job.output), most, query.first, query.last))[0])


def drawn_machines(run: Path, most: int, first: float, last: float) -> dict[str, Any]:
    """Give, for each chart that has something to show, its steps, lines of hosts, workers or GPUs, and how many more.

    What each worker's time went into is a chart besides: of each worker the steps, and every share in percent. Energy
    comes with a sentence that says all of it, whatever is looked at.

    Args:
        run: folder of a training.
        most: points of a line at most.
        first, last: steps that are looked at.
    """
    curves = machine_curves(run, most, first, last)
    found: dict[str, Any] = {}
    for chart, wanted in _CHARTS.items():
        lines = [
            (one.source, one.steps, one.mean / unit)
            for measurement, field, unit in wanted
            for one in curves
            if (one.measurement, one.field) == (measurement, field)
        ]
        left_out = len(lines[_MOST_LINES:])
        lines = lines[:_MOST_LINES]
        if lines:
            steps = np.unique(np.concatenate([at for _, at, _ in lines]))
            drawn = {name: _on(steps, at, y) for name, at, y in lines}
            found[chart] = {"step": _short(steps), "lines": drawn, "left_out": left_out}
    if "gpu_energy" in found:
        found["gpu_energy"]["told"] = energy_sentence(run)
    shares = _shares(curves)
    return {**found, "shares": {"workers": shares}} if shares else found


def _shares(curves: list[MachineCurve]) -> dict[str, dict[str, list[float]]]:
    """Give of each worker its steps, and the shares of its time there, in percent; of one step the mean."""
    found: dict[str, dict[str, list[float]]] = {}
    for one in curves:
        if one.measurement == "work" and one.field in SHARES and len(one.steps):
            steps, place, count = np.unique(one.steps, return_inverse=True, return_counts=True)
            mean = 100 * np.bincount(place, weights=one.mean) / count
            found.setdefault(one.source, {"step": _short(steps)})[one.field] = _short(mean)
    return {worker: found[worker] for worker in sorted(found, key=lambda name: (len(name), name))}


def _on(steps: np.ndarray, at: np.ndarray, values: np.ndarray) -> list[float | None]:
    """Put a line's values where all lines have their steps; nothing where it has none."""
    found: list[float | None] = [None] * len(steps)
    for place, value in zip(np.searchsorted(steps, at).tolist(), _short(values), strict=True):
        found[place] = value
    return found


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") if abs(value) < 1e5 else round(value, 1) for value in values.tolist()]
