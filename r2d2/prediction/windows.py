"""Large slices by overlapping windows: what the network says in each, blended by Gaussian weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from r2d2.prediction.batches import batches

__all__ = ["Windows"]

SIGMA = 1 / 8  # of a window's length
LEAST_WEIGHT = 1e-4  # of the largest, so that the corners of a slice count too

Size = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """Windows of one size that cover a slice, their centres weighing most.

    The positions are spread evenly, at most ``1 - overlap`` of a window apart; the weights are those of nnU-Net
    (Isensee et al. 2021): a Gaussian whose standard deviation is an eighth of the window.

    Args:
        size: (height, width) of a window in pixels.
        overlap: of neighbouring windows, as a part of their length, from 0 to below 1.

    >>> Windows((4, 4), overlap=0.5).corners((4, 7))
    [(0, 0), (0, 2), (0, 3)]
    """

    size: Size
    overlap: float = 0.5

    def corners(self, shape: Size) -> list[tuple[int, int]]:
        """Return the first (row, column) of each window in a slice that is nowhere smaller than a window."""
        rows, columns = map(self._starts, shape, self.size)
        return list(product(rows, columns))

    def _starts(self, length: int, window: int) -> list[int]:
        step = max(1, int(window * (1 - self.overlap)))
        count = -(-(length - window) // step) + 1
        return [round(start) for start in np.linspace(0, length - window, count)]

    @property
    def weights(self) -> np.ndarray:
        """Float32 (height, width), 1 at the most."""
        rows, columns = (
            np.exp(-0.5 * ((np.arange(length) - (length - 1) / 2) / (SIGMA * length)) ** 2) for length in self.size
        )
        weights = rows[:, np.newaxis] * columns
        return np.maximum(weights / weights.max(), LEAST_WEIGHT).astype(np.float32)

    def blend(
        self, inputs: np.ndarray, network: Callable[[np.ndarray], np.ndarray], outputs: int, at_a_time: int
    ) -> Iterator[np.ndarray]:
        """Apply a network to slices window by window; no more is held than one slice and some windows.

        Args:
            inputs: (n, height, width, channels), nowhere smaller than a window.
            network: gives (m, *size, outputs) for (m, *size, channels).
            outputs: how many it has.
            at_a_time: windows that it is given at once, see `batches`.

        Yields:
            For each slice float32 (height, width, outputs): the weighted mean of what its windows say.
        """
        weights, (height, width) = self.weights[..., np.newaxis], self.size
        corners = self.corners((inputs.shape[1], inputs.shape[2]))
        total = np.zeros((*inputs.shape[1:3], 1), np.float32)
        for row, column in corners:
            total[row : row + height, column : column + width] += weights
        for image in inputs:
            blended = np.zeros((*image.shape[:2], outputs), np.float32)
            for chosen in batches(len(corners), at_a_time):
                some = [corners[number] for number in chosen]
                scores = network(np.stack([image[row : row + height, column : column + width] for row, column in some]))
                for (row, column), part in zip(some, scores, strict=True):
                    blended[row : row + height, column : column + width] += weights * part
            yield blended / total
