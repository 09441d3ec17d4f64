"""A run in a few figures and words: how far it is, how well it does, and whether it goes wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from r2d2.curves.run_curves import VALUES, CurveView

__all__ = ["Course", "diagnosis", "divergence_of"]

POINTS = 60
FEWEST_STEPS = 20


@dataclass(frozen=True)
class Course:
    """How a training comes along.

    Attributes:
        epoch, epochs: done, and planned.
        step, steps: likewise.
        dice: validation Dice at the ends of epochs, thinned out to `POINTS`, the last one kept.
        last_dice, best_dice: of all; None: there is none yet.
        best_epoch: of the best.
        seconds_left: if it goes on like this; None: nobody knows yet.
        checkpoint: file of the last checkpoint, and the step that it holds; None: none was written.
        advice: what is wrong and what to do; None: nothing is.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    dice: tuple[float | None, ...]
    last_dice: float | None
    best_dice: float | None
    best_epoch: int | None
    seconds_left: float | None
    checkpoint: tuple[str, int] | None
    advice: str | None

    @classmethod
    def of(cls, view: CurveView) -> Course | None:
        """Read it from curves; None: training has not begun."""
        if view.running is None:
            return None
        scored = [(epoch.validation_dice, epoch.epoch) for epoch in view.epochs if epoch.validation_dice is not None]
        best = max(scored, key=lambda one: one[0], default=(None, None))
        dice = [epoch.validation_dice for epoch in view.epochs]
        every = max(math.ceil(len(dice) / POINTS), 1)
        written = next((mark for mark in reversed(view.marks) if mark.kind == "checkpoint"), None)
        return cls(
            epoch=len(dice),
            epochs=view.running.epochs,
            step=view.last_step,
            steps=view.running.epochs * view.running.steps_per_epoch,
            dice=tuple(dice[::-every][::-1]),
            last_dice=scored[-1][0] if scored else None,
            best_dice=best[0],
            best_epoch=best[1],
            seconds_left=view.seconds_left,
            checkpoint=None if written is None else (written.text, written.step),
            advice=diagnosis(view),
        )


def diagnosis(view: CurveView) -> str | None:
    """Say in words that a run diverges, and what to do; None: it does not.

    Args:
        view: of the whole run, in stretches of several steps.
    """
    told = divergence_of(view)
    if told is None or view.running is None:
        return None
    setting = view.running.learning_rate_setting
    rate = "a smaller learning rate" if setting is None else f"training.learning_rate={setting / 10:.3g}"
    remedy = f"Stop it early, which keeps the best network; then train again with {rate}, or with training.clip_norm=1."
    return f"{told} {remedy}"


def divergence_of(view: CurveView) -> str | None:
    """Say in words that a run diverges; None: it does not.

    A run diverges where its loss is no number, or where it lately is more than twice its least and more than at the
    beginning, each as a mean over a stretch of steps.

    Args:
        view: of the whole run, in stretches of several steps.
    """
    loss = view.steps.mean[:, VALUES.index("loss")]
    if len(loss) == 0 or view.last_loss is None or view.running is None:
        return None
    if not math.isfinite(view.last_loss):
        return "The loss is no number any more: this training has diverged."
    means = loss[np.isfinite(loss)]
    first, least, last = float(means[0]), float(means.min()), float(means[-1])
    if view.last_step < FEWEST_STEPS or last <= 2 * least or last <= first:
        return None
    return (
        f"The loss grows: it began at {first:.3g}, was {least:.3g} at its least, and is {last:.3g} now. This training "
        "diverges."
    )
