"""The run's curves for TensorBoard, drawn from its events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dist_training.record.events import Event

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
        kind = event["event"]
        if kind not in ("step", "epoch"):
            return
        import tensorflow as tf

        if self._writer is None:  # not earlier: it starts TensorFlow's runtime, whose threads are set before
            self._writer = tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default():
            for name in _STEP_FIGURES if kind == "step" else _EPOCH_FIGURES:
                if event.get(name) is not None:
                    tf.summary.scalar(f"{kind}/{name}", event[name], step=event[kind])
        if kind == "epoch":
            self._writer.flush()

    def close(self) -> None:
        """Finish the event file."""
        if self._writer is not None:
            self._writer.close()
