"""Hosts and workers of a training, drawn over its epochs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dist_training.record.events import Running, read_events
from r2d2.monitoring.figures import MachineCurve, machine_curves
from r2d2.reports.picture import COLOURS, Picture, axes_over_epochs, encode

__all__ = ["draw_machines"]

_PICTURES = (
    ("host", "cpu_percent", "Processors of the host (%)", 1.0),
    ("worker", "cpu_percent", "Processor of each worker (% of a core)", 1.0),
    ("worker", "memory_bytes", "Memory of each worker (GiB)", 2.0**30),
    ("gpu", "load_percent", "Load of each GPU (%)", 1.0),
    ("gpu", "memory_used_bytes", "Memory of each GPU (GiB)", 2.0**30),
    ("gpu", "power_watts", "Power of each GPU (W)", 1.0),
    ("work", "images_per_second", "Slices per second of each worker", 1.0),
    ("work", "input", "Part of the time waiting for input", 1.0),
    ("work", "exchange", "Part of the time in exchange", 1.0),
)
_MOST_LINES = len(COLOURS)


def draw_machines(run: Path) -> tuple[Picture, ...]:
    """Draw what was recorded of a run's machines, over its epochs as its curves are.

    Args:
        run: its folder.

    Returns:
        A picture for each figure that was recorded.
    """
    curves = machine_curves(run)
    events = read_events(run / "events.jsonl") if curves else []
    steps = next((event.steps_per_epoch for event in reversed(events) if isinstance(event, Running)), None)
    if not steps:
        return ()
    found = []
    for measurement, field, title, unit in _PICTURES:
        chosen = [one for one in curves if (one.measurement, one.field) == (measurement, field)]
        if chosen:
            found.append(_draw(chosen[:_MOST_LINES], title, unit, steps, len(chosen)))
    return tuple(found)


def _draw(curves: Sequence[MachineCurve], title: str, unit: float, steps_per_epoch: int, count: int) -> Picture:
    figure, axes = axes_over_epochs(title)
    for colour, one in zip(COLOURS, curves, strict=False):
        axes.plot(one.steps / steps_per_epoch, one.mean / unit, color=colour, linewidth=1.2, label=one.source)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=7)
    words = [
        f"{one.source}: mean {one.mean.mean() / unit:.3g}, at most {one.largest.max() / unit:.3g}" for one in curves
    ]
    if count > len(curves):
        words.append(f"{count - len(curves)} more are not drawn")
    text = "; ".join(words)
    return encode(figure, f"{title} over the epochs. {text}.", text)
