"""Large slices and volumes by overlapping windows: what the network says in each, blended by Gaussian weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np

from dist_training.inference.batches import batches

__all__ = ["Windows"]

SIGMA = 1 / 8  # of a window's length
LEAST_WEIGHT = 1e-4  # of the largest, so that the corners of a slice count too

Size = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """Windows of one size that cover a slice or a volume, their centres weighing most.

    The positions are spread evenly, at most ``1 - overlap`` of a window apart; the weights are those of nnU-Net
    (Isensee et al. 2021): a Gaussian whose standard deviation is an eighth of the window.

    Args:
        size: (height, width) of a window in pixels, of a volume's (depth, height, width).
        overlap: of neighbouring windows, as a part of their length, from 0 to below 1.

    >>> Windows((4, 4), overlap=0.5).corners((4, 7))
    [(0, 0), (0, 2), (0, 3)]
    """

    size: Size
    overlap: float = 0.5

    def corners(self, shape: Size) -> list[Size]:
        """Return the first pixel of each window in what is nowhere smaller than a window."""
        return list(product(*map(self._starts, shape, self.size)))

    def _starts(self, length: int, window: int) -> list[int]:
        step = max(1, int(window * (1 - self.overlap)))
        count = -(-(length - window) // step) + 1
        return [round(start) for start in np.linspace(0, length - window, count)]

    @property
    def weights(self) -> np.ndarray:
        """Float32 of the window's size, 1 at the most."""
        along = [
            np.exp(-0.5 * ((np.arange(length) - (length - 1) / 2) / (SIGMA * length)) ** 2) for length in self.size
        ]
        weights = reduce(np.multiply.outer, along)
        return np.maximum(weights / weights.max(), LEAST_WEIGHT).astype(np.float32)

    def blend(
        self, inputs: np.ndarray, network: Callable[[np.ndarray], np.ndarray], outputs: int, at_a_time: int
    ) -> Iterator[np.ndarray]:
        """Apply a network to slices or volumes window by window; no more is held than one of them and some windows.

        Args:
            inputs: (n, height, width, channels) or (n, depth, height, width, channels), nowhere smaller than a window.
            network: gives (m, *size, outputs) for (m, *size, channels).
            outputs: how many it has.
            at_a_time: windows that it is given at once, see `batches`.

        Yields:
            For each, float32 of its size and the outputs: the weighted mean of what its windows say.
        """
        weights, places = self.weights[..., np.newaxis], self._places(inputs.shape[1:-1])
        total = np.zeros((*inputs.shape[1:-1], 1), np.float32)
        for place in places:
            total[place] += weights
        for image in inputs:
            blended = np.zeros((*image.shape[:-1], outputs), np.float32)
            for chosen in batches(len(places), at_a_time):
                some = [places[number] for number in chosen]
                scores = network(np.stack([image[place] for place in some]))
                for place, part in zip(some, scores, strict=True):
                    blended[place] += weights * part
            blended /= total
            yield blended

    def _places(self, shape: Size) -> list[tuple[slice, ...]]:
        corners = self.corners(shape)
        return [tuple(slice(at, at + size) for at, size in zip(one, self.size, strict=True)) for one in corners]
