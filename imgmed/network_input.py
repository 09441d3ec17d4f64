"""From slices to what a network is given: the one way, for training and for prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imgmed.intensity import Normalisation
from imgmed.slices import centred_window, with_neighbours

__all__ = ["NetworkInput"]

Size = tuple[int, int]


@dataclass(frozen=True)
class NetworkInput:
    """How slices of a prepared scan become a network's input: with their neighbours, normalised, centred in zeros.

    Args:
        normalisation: of the intensities.
        neighbours: slices on either side that are further channels.
        slice_size: (height, width) that every input has at least.

    >>> rule = NetworkInput(Normalisation(kind="none"), neighbours=0, slice_size=(2, 5))
    >>> stack = np.ones((7, 1, 3, 1), np.float32)
    >>> canvas, statistics = rule.canvas_of([(1, 3)]), rule.normalisation.statistics(stack)
    >>> rule.centred(stack, np.array([1]), statistics, canvas)[0, ..., 0].tolist()
    [[0.0, 1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]]
    """

    normalisation: Normalisation
    neighbours: int
    slice_size: Size

    def slices(self, stack: np.ndarray, indices: np.ndarray, statistics: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Return slices of a scan with their neighbours as channels, normalised.

        Args:
            stack: float32 (slices, height, width, channels), prepared.
            indices: (n,) slices wanted.
            statistics: offset and scale of the scan, (channels,) each, see `Normalisation.statistics`.

        Returns:
            float32 (n, height, width, channels * (2 * neighbours + 1)), see `with_neighbours`.
        """
        offset, scale = (np.tile(numbers, 2 * self.neighbours + 1) for numbers in statistics)
        return self.normalisation.apply(with_neighbours(stack, indices, self.neighbours), offset, scale)

    def canvas_of(self, sizes: Sequence[tuple[int, ...]]) -> Size:
        """Return the (height, width) that inputs have which must hold slices of these sizes: the smallest for all."""
        every = (self.slice_size, *sizes)
        return max(size[0] for size in every), max(size[1] for size in every)

    def centred(
        self, stack: np.ndarray, indices: np.ndarray, statistics: tuple[np.ndarray, np.ndarray], canvas: Size
    ) -> np.ndarray:
        """Return such slices in the middle of zeros.

        Args:
            stack, indices, statistics: as for `slices`.
            canvas: (height, width) of the inputs, see `canvas_of`.

        Returns:
            float32 (n, *canvas, channels * (2 * neighbours + 1)); `centred_window` says where the slices lie.
        """
        slices = self.slices(stack, indices, statistics)
        inputs = np.zeros((len(slices), *canvas, slices.shape[3]), np.float32)
        inputs[:, *centred_window(slices.shape[1:3], canvas)] = slices
        return inputs
