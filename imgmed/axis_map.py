"""How one axis is resampled: where its voxels go, and the weights that bring them there.

The weights of an axis lie in a band, which is cut into small dense blocks.

Source: R. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29 (1981) 1153-1160.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor
from typing import Literal, NamedTuple, Self

import numpy as np

__all__ = ["AxisMap", "Block", "Maps", "Order", "Orders", "weight_blocks"]

Order = Literal[0, 1, 3]
Orders = Order | tuple[Order, Order, Order]
"""How an axis grows, or each of three: 0 by the nearest voxel, 1 linearly, 3 by cubic convolution."""

PLACE_TOLERANCE = 1e-3  # of a voxel: closer places are the same


class AxisMap(NamedTuple):
    """Where the voxels of a resampled axis lie: output voxel k has its centre at input position start + k * step.

    Args:
        old: input voxels.
        new: output voxels.
        start: input position of output voxel 0.
        step: input voxels per output voxel, positive.

    >>> AxisMap.covering(4, 2)
    AxisMap(old=4, new=2, start=0.5, step=2.0)
    """

    old: int
    new: int
    start: float = 0.0
    step: float = 1.0

    @classmethod
    def covering(cls, old: int, new: int) -> Self:
        """Return the map between `old` and `new` voxels of the same field of view."""
        return cls(old, new, 0.5 * old / new - 0.5, old / new)

    @property
    def is_copy(self) -> bool:
        """Whether every output voxel inside the input is an input voxel."""
        return (
            abs(self.start - round(self.start)) <= PLACE_TOLERANCE
            and abs(self.step - 1) * max(self.old, self.new) <= PLACE_TOLERANCE
        )

    @property
    def inside(self) -> slice:
        """The output voxels whose centres lie within the input's field of view."""
        first = ceil((-0.5 - self.start) / self.step - PLACE_TOLERANCE)
        last = floor((self.old - 0.5 - self.start) / self.step + PLACE_TOLERANCE)
        start = min(max(0, first), self.new)
        return slice(start, max(start, min(self.new, last + 1)))

    def only(self, part: slice) -> AxisMap:
        """Return the map of the output voxels in `part` alone."""
        return AxisMap(self.old, part.stop - part.start, self.start + part.start * self.step, self.step)

    def snapped(self) -> AxisMap:
        """Return the map with rounding of its place taken off: whole shifts and equal fields of view exactly."""
        if self.is_copy:
            return AxisMap(self.old, self.new, float(round(self.start)), 1.0)
        same = AxisMap.covering(self.old, self.new)
        ends = self.start - 0.5 * self.step, self.start + (self.new - 0.5) * self.step
        agree = all(
            abs(end - wanted) <= PLACE_TOLERANCE for end, wanted in zip(ends, (-0.5, self.old - 0.5), strict=True)
        )
        return same if agree else self


Maps = tuple[AxisMap, AxisMap, AxisMap]


class Block(NamedTuple):
    """Some output voxels of an axis, the input voxels they are made from, and the weights (None: copied)."""

    out: slice
    source: slice
    weights: np.ndarray | None


@lru_cache(maxsize=256)
def weight_blocks(axis: AxisMap, order: Order, rows: int) -> list[Block]:
    """The weights of an axis, `rows` output voxels at a time; those of an output voxel sum to 1."""
    parts = [slice(start, min(start + rows, axis.new)) for start in range(0, axis.new, rows)]
    if axis.is_copy:
        first = round(axis.start)
        return [Block(part, slice(first + part.start, first + part.stop), None) for part in parts]
    taps, weights = _area_taps(axis) if axis.step > 1 else _interpolation_taps(axis, order)
    taps = np.clip(taps, 0, axis.old - 1)  # beyond the edge the outermost voxel is repeated
    found = []
    for part in parts:
        source = slice(int(taps[part].min()), int(taps[part].max()) + 1)
        block = np.zeros((part.stop - part.start, source.stop - source.start))
        np.add.at(block, (np.arange(len(block))[:, np.newaxis], taps[part] - source.start), weights[part])
        found.append(Block(part, source, block.astype(np.float32)))
    return found


def _interpolation_taps(axis: AxisMap, order: Order) -> tuple[np.ndarray, np.ndarray]:
    """Input voxels around each output centre and their weights."""
    centres = axis.start + np.arange(axis.new) * axis.step
    if order == 0:
        return np.floor(centres + 0.5).astype(np.intp)[:, np.newaxis], np.ones((axis.new, 1))
    reach = 1 if order == 1 else 2
    taps = np.floor(centres).astype(np.intp)[:, np.newaxis] + np.arange(1 - reach, reach + 1)
    distance = np.abs(taps - centres[:, np.newaxis])
    return taps, np.maximum(0, 1 - distance) if order == 1 else _keys(distance)


def _area_taps(axis: AxisMap) -> tuple[np.ndarray, np.ndarray]:
    """Input voxels under each output voxel and the parts of the output voxel that they cover."""
    first = (axis.start + 0.5 + (np.arange(axis.new) - 0.5) * axis.step)[:, np.newaxis]
    last = first + axis.step
    taps = np.floor(first).astype(np.intp) + np.arange(ceil(axis.step) + 1)
    overlap = np.minimum(taps + 1, last) - np.maximum(taps, first)
    return taps, np.maximum(0, overlap) / axis.step


def _keys(distance: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel of Keys 1981 with a = -1/2, which reproduces parabolas."""
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
