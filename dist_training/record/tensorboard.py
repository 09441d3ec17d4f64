"""The run's curves for TensorBoard, drawn from its events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dist_training.record.events import EpochEnded, Event, StepTaken

__all__ = ["TensorBoardWriter"]

_STEP_FIGURES = ("loss", "learning_rate", "images_per_second")
_EPOCH_FIGURES = ("loss", "validation_dice", "images_per_second")


class TensorBoardWriter:
    """A listener that writes scalars: ``step/...`` against steps, ``epoch/...`` against epochs.

    Args:
        folder: where the event file goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def __call__(self, event: Event) -> None:
        """Write the figures of a step or an epoch."""
        if isinstance(event, StepTaken):
            self._write("step", event.step, {name: getattr(event, name) for name in _STEP_FIGURES})
        elif isinstance(event, EpochEnded):
            dice = {f"validation_dice/{label}": value for label, value in event.validation_dice_per_label.items()}
            self._write("epoch", event.epoch, {name: getattr(event, name) for name in _EPOCH_FIGURES} | dice)
            self._writer.flush()

    def _write(self, kind: str, number: int, figures: Mapping[str, float | None]) -> None:
        import tensorflow as tf

        if self._writer is None:  # not earlier: it starts TensorFlow's runtime, whose threads are set before
            self._writer = tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default():
            for name, value in figures.items():
                if value is not None:
                    tf.summary.scalar(f"{kind}/{name}", value, step=number)

    def close(self) -> None:
        """Finish the event file."""
        if self._writer is not None:
            self._writer.close()
