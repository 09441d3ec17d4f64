"""Training curves from a run's events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dist_training.record.events import EpochEnded, read_events
from r2d2.reports.formatting import plural
from r2d2.reports.picture import COLOURS, Picture, axes_over_epochs, encode

__all__ = ["EpochFigures", "draw_curves", "draw_together", "read_epochs"]


@dataclass(frozen=True, slots=True)
class EpochFigures:
    """What a run recorded at the end of an epoch; NaN where it recorded nothing.

    Attributes:
        epoch: 1-based.
        loss: mean training loss.
        validation_dice: mean foreground Dice on the validation slices.
        learning_rate: of the epoch's last step.
        images_per_second: slices a second over all workers.
    """

    epoch: int
    loss: float
    validation_dice: float
    learning_rate: float
    images_per_second: float


_CURVES = (
    ("loss", "Training loss", "{:.4f}"),
    ("validation_dice", "Validation Dice (mean foreground)", "{:.3f}"),
    ("learning_rate", "Learning rate", "{:.2e}"),
    ("images_per_second", "Slices per second (all workers)", "{:.1f}"),
)


def read_epochs(events: Path) -> tuple[EpochFigures, ...]:
    """Read the epochs of a run; one that was run again after a resume counts as it was in the end.

    Args:
        events: an events.jsonl; missing, empty and torn ones give what there is.

    Returns:
        One entry an epoch, in order.
    """
    names = [name for name, _, _ in _CURVES]
    epochs = {event.epoch: event for event in read_events(events) if isinstance(event, EpochEnded)}
    return tuple(
        EpochFigures(epoch, *(_number(getattr(event, name)) for name in names))
        for epoch, event in sorted(epochs.items())
    )


def draw_curves(epochs: Sequence[EpochFigures]) -> tuple[Picture, ...]:
    """Draw loss, validation Dice, learning rate and speed over the epochs.

    Args:
        epochs: at least one.

    Returns:
        One picture for each of them that has values.
    """
    pictures = []
    for position, (name, title, number) in enumerate(_CURVES):
        points = [(figures.epoch, getattr(figures, name)) for figures in epochs]
        points = [(epoch, value) for epoch, value in points if not math.isnan(value)]
        if points:
            pictures.append(_draw(points, title, number, COLOURS[position], marks_best=name == "validation_dice"))
    return tuple(pictures)


def draw_together(runs: Mapping[str, Sequence[EpochFigures]]) -> Picture:
    """Draw the validation Dice of several runs into one picture.

    Args:
        runs: by the names that the picture shows; each with at least one epoch, and a validation Dice in each.
    """
    figure, axes = axes_over_epochs(width_inches=8.0, height_inches=3.6)
    words = []
    for colour, style, (name, epochs) in zip(COLOURS, ("-", "--", "-.", ":"), runs.items(), strict=False):
        values = [one.validation_dice for one in epochs]
        best = max(range(len(values)), key=values.__getitem__)
        numbers = [one.epoch for one in epochs]
        axes.plot(numbers, values, style, color=colour, linewidth=1.8, label=name, marker="o", markersize=3)
        axes.plot(numbers[best], values[best], marker="*", markersize=11, color=colour, linestyle="none", clip_on=False)
        words.append(f"{name}: best {values[best]:.3f} in epoch {numbers[best]}, last {values[-1]:.3f}")
    axes.set_ylabel("Validation Dice (mean foreground)", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    text = "; ".join(words)
    return encode(figure, f"Validation Dice over the epochs. {text}.", f"{text} (best: star)")


def _draw(points: list[tuple[int, float]], title: str, number: str, colour: str, *, marks_best: bool) -> Picture:
    epochs, values = [epoch for epoch, _ in points], [value for _, value in points]
    figure, axes = axes_over_epochs(title)
    axes.plot(epochs, values, color=colour, linewidth=1.8, marker="o" if len(points) < 25 else "", markersize=3.5)
    axes.set_axisbelow(True)
    if min(values) >= 0:
        axes.set_ylim(bottom=0)
    alt = (
        f"{title} over {plural(len(points), 'epoch')}: first {number.format(values[0])}, "
        f"last {number.format(values[-1])}"
    )
    caption = f"last {number.format(values[-1])}"
    if marks_best:
        best = max(range(len(values)), key=values.__getitem__)
        axes.plot(
            epochs[best], values[best], marker="*", markersize=11, color="#111111", linestyle="none", clip_on=False
        )
        caption = f"best {number.format(values[best])} in epoch {epochs[best]} (star); {caption}"
        alt += f", best {number.format(values[best])} in epoch {epochs[best]}"
    return encode(figure, alt + ".", caption)


def _number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.nan
