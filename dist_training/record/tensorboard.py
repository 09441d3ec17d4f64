"""What a run leaves for TensorBoard: figures of its events, pictures of its sample predictions, its network."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dist_training.errors import RunFolderError
from dist_training.record.events import EpochEnded, Event, Running, StepTaken
from dist_training.record.sample_pictures import LEGEND, contour_picture, is_drawn
from dist_training.record.samples import SampleFolder

__all__ = ["TensorBoardWriter"]

_STEP_FIGURES = ("loss", "learning_rate", "images_per_second")
_EPOCH_FIGURES = ("loss", "validation_dice", "images_per_second")
_NO_GRAPH = (AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError)
_log = logging.getLogger(__name__)


class TensorBoardWriter:
    """A listener that writes scalars, ``step/...`` against steps and ``epoch/...`` against epochs, and pictures.

    Args:
        folder: where the event file goes.
        samples: the run's sample predictions, those of an epoch written before its event; None: no pictures.
    """

    def __init__(self, folder: Path, samples: SampleFolder | None = None) -> None:
        self._folder, self._samples = folder, samples
        self._epochs = 0
        self._writer: Any = None

    def __call__(self, event: Event) -> None:
        """Write the figures of a step or an epoch."""
        if isinstance(event, Running):
            self._epochs = event.epochs
        elif isinstance(event, StepTaken):
            self._write("step", event.step, {name: getattr(event, name) for name in _STEP_FIGURES})
        elif isinstance(event, EpochEnded):
            dice = {f"validation_dice/{label}": value for label, value in event.validation_dice_per_label.items()}
            self._write("epoch", event.epoch, {name: getattr(event, name) for name in _EPOCH_FIGURES} | dice)
            if is_drawn(event.epoch, self._epochs):
                self._write_pictures(event.epoch)
            self._opened().flush()

    def write_graph(self, network: Any) -> None:
        """Write the layers of a network and how they are joined; nothing is traced for it.

        Args:
            network: a Keras model; of one that has no such description, only the log tells.
        """
        import tensorflow as tf
        from tensorboard.plugins.graph.keras_util import keras_model_to_graph_def
        from tensorboard.util import tb_logging

        tb_logging.get_logger().setLevel("ERROR")  # of mixed precision, which has no place in a graph, it would warn
        try:
            graph = keras_model_to_graph_def(json.loads(network.to_json()))
        except _NO_GRAPH as error:
            _log.warning("TensorBoard has no graph of this network (%s: %s)", type(error).__name__, error)
            return
        with self._opened().as_default():
            tf.summary.graph(tf.compat.v1.GraphDef.FromString(graph.SerializeToString()))

    def _write(self, kind: str, number: int, figures: Mapping[str, float | None]) -> None:
        import tensorflow as tf

        with self._opened().as_default():
            for name, value in figures.items():
                if value is not None:
                    tf.summary.scalar(f"{kind}/{name}", value, step=number)

    def _write_pictures(self, epoch: int) -> None:
        """Write a picture of each sample prediction; tags have their numbers, and no name of a case."""
        import tensorflow as tf

        if self._samples is None or not self._samples.epoch_file(epoch).exists():
            return
        try:
            slices, label_maps = self._samples.read_slices(), self._samples.read_epoch(epoch)
        except RunFolderError as error:
            _log.warning("TensorBoard has no pictures of epoch %d: %s", epoch, error)
            return
        with self._opened().as_default():
            for place, label_map in enumerate(label_maps):
                picture = contour_picture(slices, place, label_map)
                tf.summary.image(f"samples/{place + 1}", picture[np.newaxis], step=epoch, description=LEGEND)

    def _opened(self) -> Any:
        import tensorflow as tf

        if self._writer is None:  # not earlier: it starts TensorFlow's runtime, whose threads are set before
            self._writer = tf.summary.create_file_writer(str(self._folder))
        return self._writer

    def close(self) -> None:
        """Finish the event file."""
        if self._writer is not None:
            self._writer.close()
