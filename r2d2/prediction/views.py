"""Test-time augmentation: slices seen in several ways, and what the network says put back in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from imgmed.augmentation.apply import warp_linear

__all__ = ["View", "views_of"]


@dataclass(frozen=True)
class View:
    """A way of looking at slices or volumes: mirrored, or slices turned about their centre.

    Args:
        flips: whether rows and columns are mirrored; of volumes whether slices, rows and columns are.
        degrees: by which the content of slices is turned, counter-clockwise as seen.

    >>> View((False, True)).of(np.array([[[[1.0], [2.0]]]])).ravel().tolist()
    [2.0, 1.0]
    """

    flips: tuple[bool, ...] = (False, False)
    degrees: float = 0.0

    def of(self, inputs: np.ndarray) -> np.ndarray:
        """Return float32 slices (n, height, width, channels), or volumes, as the view shows them."""
        return self._turned(self._mirrored(inputs), self.degrees)

    def back(self, scores: np.ndarray) -> np.ndarray:
        """Return what was said of the view, (n, height, width, outputs), in the place of the slices."""
        return self._mirrored(self._turned(scores, -self.degrees))

    def _mirrored(self, stack: np.ndarray) -> np.ndarray:
        first = stack.ndim - 1 - len(self.flips)
        axes = [axis for axis, is_flipped in enumerate(self.flips, start=first) if is_flipped]
        return np.flip(stack, axes) if axes else stack

    @staticmethod
    def _turned(stack: np.ndarray, degrees: float) -> np.ndarray:
        if not degrees:
            return stack
        cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        middle = (np.array(stack.shape[1:3]) - 1) / 2
        down, across = (np.arange(length) - centre for length, centre in zip(stack.shape[1:3], middle, strict=True))
        rows = (cosine * down[:, np.newaxis] + sine * across + middle[0]).astype(np.float32)
        columns = (cosine * across - sine * down[:, np.newaxis] + middle[1]).astype(np.float32)
        return np.stack([warp_linear(image, rows, columns) for image in np.asarray(stack, np.float32)])


def views_of(flips: tuple[bool, ...], degrees: Sequence[float]) -> tuple[View, ...]:
    """Return all combinations of mirroring and turning, the slices as they are first.

    Args:
        flips: whether rows and columns may be mirrored; of volumes whether slices, rows and columns may be.
        degrees: angles to turn by, besides none.

    >>> [view.flips for view in views_of((False, True), ())]
    [(False, False), (False, True)]
    >>> len(views_of((True, True), (-5.0, 5.0)))
    12
    """
    angles = (0.0, *(angle for angle in dict.fromkeys(degrees) if angle))
    choices = [(False, True) if may_be else (False,) for may_be in flips]
    return tuple(View(mirrored, angle) for angle in angles for mirrored in product(*choices))
