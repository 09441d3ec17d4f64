"""A trained network applied to one scan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dist_training.architectures import read_network
from dist_training.inference.model_card import read_model_card
from dist_training.ranks.devices import has_gpu
from dist_training.run.plan import check_tensorflow
from imgmed import SliceGrid
from imgmed.network_input import NetworkInput
from imgmed.slices import centred_window
from r2d2.errors import PredictionError
from r2d2.prediction.model import resolve_model
from r2d2_base.machine import usable_memory
from r2d2_base.progress import UNWATCHED, Watcher

__all__ = ["Predictor"]

PIXELS_AT_A_TIME = 2**19
MAPS_HELD = 4
GIB = 2**30


class Predictor:
    """A trained network with all that its card says about scans; the network itself is read when it is first used.

    Args:
        model: what `resolve_model` takes.

    Raises:
        ModelError: there is no such network, or it is damaged.
    """

    def __init__(self, model: str | Path) -> None:
        check_tensorflow()
        self.path, self.card = read_model_card(resolve_model(model))
        self._outputs = self.card.outputs
        preparation = self.card.scan_preparation
        self._input = NetworkInput(self.card.normalisation, preparation.neighbours, preparation.slice_size)

    @cached_property
    def _network(self) -> Any:
        return read_network(self.path, self.card.network)

    def predict(self, image: np.ndarray, grid: SliceGrid, watcher: Watcher = UNWATCHED) -> np.ndarray:
        """Segment a prepared scan.

        Args:
            image: float32 (slices, height, width, channels), clipped but not normalised.
            grid: where the slices lie in the scan.
            watcher: may ask the work to end, between some slices and the next.

        Returns:
            Label values in the scan's own voxel order and shape (i, j, k), the smallest unsigned type that fits.

        Raises:
            PredictionError: the memory cannot hold what the network makes of a single slice.
            MemoryError: there was too little for all of it.
        """
        self.check_memory(image.shape[1:3])
        is_resampled = grid.is_resampled
        parts = [scores if is_resampled else self._decide(scores) for scores in self._scores(image, watcher)]
        stack = np.concatenate(parts)
        classes = self._decide(grid.restore(stack, order=1)) if is_resampled else grid.restore(stack, order=0)
        return np.array(self.card.class_values, dtype=np.min_scalar_type(max(self.card.class_values)))[classes]

    def _scores(self, image: np.ndarray, watcher: Watcher) -> Iterator[np.ndarray]:
        """Yield class scores (n, height, width, outputs) for a few slices at a time, padding cut off again."""
        size = image.shape[1:3]
        canvas, statistics = self._input.canvas_of([size]), self._input.normalisation.statistics(image)
        rows, columns = centred_window(size, canvas)
        count = max(1, PIXELS_AT_A_TIME // (canvas[0] * canvas[1]))
        for start in range(0, image.shape[0], count):
            watcher.check()
            indices = np.arange(start, min(start + count, image.shape[0]))
            inputs = self._input.centred(image, indices, statistics, canvas)
            logits = np.asarray(self._run(inputs), dtype=np.float32)
            # between voxels, probabilities are what may be averaged
            yield self._outputs.probabilities(logits[:, rows, columns])

    def _run(self, inputs: np.ndarray) -> Any:
        try:
            return self._network.predict_on_batch(inputs)
        except Exception as error:
            if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
                raise MemoryError(str(error).splitlines()[0]) from error
            raise

    def check_memory(self, size: tuple[int, ...]) -> None:
        """Refuse slices so large that TensorFlow would end the process, where there is no GPU, which says so itself.

        At its first resolution a network holds about four times what its first convolution gives: 4.5 measured for the
        Dist-U-Net (depth 1, 4 filters, 4096 x 4096 pixels).

        Args:
            size: (height, width) of a prepared slice.

        Raises:
            PredictionError: the memory cannot hold what the network makes of one slice.
        """
        height, width = self._input.canvas_of([size])
        first = next((layer for layer in self._network.layers if hasattr(layer, "filters")), None)
        maps = 1 if first is None else first.filters / math.prod(first.strides)
        needed, free = 4 * height * width * MAPS_HELD * maps, usable_memory()[1]
        if free is not None and needed > free and not has_gpu():
            raise PredictionError(
                f"slices of {height} x {width} pixels, as the model sees them, need about {needed / GIB:.0f} GiB of"
                f" memory, and {free / GIB:.0f} are free; is the spacing in the header right?"
            )

    def _decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Turn (..., outputs) into class indices."""
        classes = self._outputs.decode_probabilities(probabilities)
        return classes.astype(np.min_scalar_type(len(self.card.class_values)))
