"""Large slices and volumes by overlapping windows: what the network says in each, blended by Gaussian weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
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

    def bands(
        self, shape: Size, said: Callable[[list[Size]], np.ndarray], outputs: int, at_a_time: int
    ) -> Iterator[np.ndarray]:
        """Blend what is said of each window of a slice or volume; no more is held than windows side by side reach.

        Windows come in the order of their first axis; where no further one reaches, the mean is ready and handed on.
        What is smaller than a window lies in the middle of one.

        Args:
            shape: (height, width), or (depth, height, width).
            said: gives (m, *size, outputs) for the first pixels of m windows, below 0 where a window begins before.
            outputs: how many there are.
            at_a_time: windows that it is asked about at once, see `batches`.

        Yields:
            One after the other along the first axis, float32 (n, *shape[1:], outputs): the weighted mean of what the
            windows say.

        >>> windows = Windows((2,), overlap=0.5)
        >>> at = lambda corners: np.array([[[first], [first + 1.0]] for (first,) in corners])
        >>> [band.ravel().tolist() for band in windows.bands((4,), at, 1, at_a_time=1)]
        [[0.0], [1.0], [2.0, 3.0]]
        """
        canvas = tuple(max(pair) for pair in zip(shape, self.size, strict=True))
        margins = [(wide - length) // 2 for wide, length in zip(canvas, shape, strict=True)]
        first, *across = (slice(at, at + length) for at, length in zip(margins, shape, strict=True))
        for start, ready in self._wide_bands(canvas, margins, said, outputs, at_a_time):
            wanted = ready[max(0, first.start - start) : max(0, first.stop - start)]
            if len(wanted):
                yield wanted[(slice(None), *across)]

    def _wide_bands(
        self,
        canvas: Size,
        margins: Sequence[int],
        said: Callable[[list[Size]], np.ndarray],
        outputs: int,
        at_a_time: int,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Bands of a canvas that is nowhere smaller than a window, each with its first index."""
        corners, band = self.corners(canvas), _Band(self.weights, canvas[1:], outputs)
        for chosen in batches(len(corners), at_a_time):
            some = [corners[number] for number in chosen]
            moved = [tuple(at - margin for at, margin in zip(one, margins, strict=True)) for one in some]
            for corner, part in zip(some, said(moved), strict=True):
                if corner[0] > band.first:
                    yield band.first, band.take(corner[0])
                band.add(corner, part)
        yield band.first, band.take(canvas[0])

    def blend(
        self, inputs: np.ndarray, network: Callable[[np.ndarray], np.ndarray], outputs: int, at_a_time: int
    ) -> Iterator[np.ndarray]:
        """Apply a network to slices window by window; no more is held than one of them and some windows.

        Args:
            inputs: (n, height, width, channels), nowhere smaller than a window.
            network: gives (m, *size, outputs) for (m, *size, channels).
            outputs: how many it has.
            at_a_time: windows that it is given at once, see `batches`.

        Yields:
            For each, float32 of its size and the outputs: the weighted mean of what its windows say.
        """
        for image in inputs:
            bands = list(self.bands(image.shape[:-1], partial(self._said, network, image), outputs, at_a_time))
            yield bands[0] if len(bands) == 1 else np.concatenate(bands)

    def _said(self, network: Callable[[np.ndarray], np.ndarray], image: np.ndarray, corners: list[Size]) -> np.ndarray:
        """What a network says of windows that lie within an image (..., channels)."""
        places = [tuple(slice(at, at + size) for at, size in zip(corner, self.size, strict=True)) for corner in corners]
        return network(np.stack([image[place] for place in places]))


class _Band:
    """What windows say that begin at one index along the first axis, or before: weighted and added up.

    Args:
        weights: of a window.
        across: size of the canvas along the other axes.
        outputs: how many numbers are said of a pixel.

    Attributes:
        first: index along the first axis from which on they are held; further windows begin no earlier.
    """

    def __init__(self, weights: np.ndarray, across: Size, outputs: int) -> None:
        self.first = 0
        self._weights = weights
        # whole rows of a window are added at once: NumPy takes several times as long for a few outputs at a time
        self._weights_of_outputs = np.repeat(weights[..., np.newaxis], outputs, axis=-1)
        self._sums = np.zeros((len(weights), *across, outputs), np.float32)
        self._totals = np.zeros((len(weights), *across), np.float32)

    def add(self, corner: Size, said: np.ndarray) -> None:
        """Add what is said (*size, outputs) of the window at a corner."""
        starts = (corner[0] - self.first, *corner[1:])
        place = tuple(slice(at, at + length) for at, length in zip(starts, self._weights.shape, strict=True))
        self._sums[place] += self._weights_of_outputs * said
        self._totals[place] += self._weights

    def take(self, stop: int) -> np.ndarray:
        """Give the weighted means up to an index along the first axis, and hold what comes after it alone."""
        count = stop - self.first
        means = np.empty((count, *self._sums.shape[1:]), np.float32)
        for output in range(means.shape[-1]):
            np.divide(self._sums[:count, ..., output], self._totals[:count], out=means[..., output])
        for held in (self._sums, self._totals):
            for index in range(len(held) - count):  # one by one: nothing is held twice
                held[index] = held[index + count]
            held[len(held) - count :] = 0
        self.first = stop
        return means
