"""From a volume to a stack of slices, and back into the original voxel grid; slices with their neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from imgmed.axis_map import AxisMap, Maps
from imgmed.errors import InvalidVolumeError
from imgmed.geometry import (
    Orientation,
    canonical_affine,
    canonical_shape,
    from_canonical,
    orientation_of,
    to_canonical,
)
from imgmed.resampling import resample, resample_label_map, resample_slabs

__all__ = ["Affine", "SliceGrid", "centred_start", "centred_window", "with_neighbours"]

Row = tuple[float, float, float, float]
Affine = tuple[Row, Row, Row, Row]
SKEW_TOLERANCE = 1e-3  # of a voxel over the whole stack


class SliceGrid(BaseModel):
    """Where a stack of slices (slices, height, width) lies in the voxel grid it was taken from.

    Slices are cut across `slice_axis` of the canonical (right, anterior, superior) axes; height and width are
    the other two axes in that order. The stack may have been resampled, cropped or padded along its axes.

    >>> grid = SliceGrid.of((4, 5, 6), np.diag([-1.0, 1.0, 3.0, 1.0]), slice_axis=2, slice_shape=(8, 5))
    >>> grid.stack_shape, grid.restore(np.zeros((6, 8, 5), np.uint8), order=0).shape
    ((6, 8, 5), (4, 5, 6))
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, int, int] = Field(description="Voxels along i, j, k of the original array.")
    affine: Affine = Field(description="Original voxel index -> RAS millimetres, 4 rows.")
    slice_axis: int = Field(ge=0, le=2, description="Canonical axis across which slices are cut.")
    stack_shape: tuple[int, int, int] = Field(description="(slices, height, width) of the prepared stack.")
    prepared_affine: Affine = Field(
        description="Index (slice, row, column) of the prepared stack -> RAS millimetres, 4 rows."
    )

    @classmethod
    def of(
        cls,
        shape: tuple[int, int, int],
        affine: np.ndarray,
        slice_axis: int,
        slice_shape: tuple[int, int] | None = None,
    ) -> Self:
        """Return the grid for an (i, j, k) `shape` and (4, 4) `affine`.

        Args:
            slice_shape: (height, width) that slices of the same field of view are resampled to; None: as they are.
        """
        canonical = canonical_shape(shape, orientation_of(affine))
        order = [slice_axis, *_without((0, 1, 2), slice_axis)]
        old = (canonical[order[0]], canonical[order[1]], canonical[order[2]])
        new = old if slice_shape is None else (old[0], *slice_shape)
        change = np.eye(4)
        for axis, (before, after) in enumerate(zip(old, new, strict=True)):
            covering = AxisMap.covering(before, after)
            change[axis, axis], change[axis, 3] = covering.step, covering.start
        stacked = canonical_affine(affine, shape)[:, [*order, 3]] @ change
        return cls(
            shape=shape,
            affine=np.asarray(affine, dtype=np.float64).tolist(),
            slice_axis=slice_axis,
            stack_shape=new,
            prepared_affine=stacked.tolist(),
        )

    def moved_to(self, stack_shape: tuple[int, int, int], stack_affine: np.ndarray) -> Self:
        """Return the grid of another stack (slices, height, width) made from this one along its axes.

        Raises:
            InvalidVolumeError: the other stack is turned against this one.
        """
        moved = self.model_copy(
            update={
                "stack_shape": tuple(int(size) for size in stack_shape),
                "prepared_affine": tuple(tuple(row) for row in np.asarray(stack_affine, np.float64).tolist()),
            }
        )
        moved._restoring_maps()
        return moved

    @property
    def orientation(self) -> Orientation:
        """Orientation of the original array."""
        return orientation_of(np.array(self.affine))

    @property
    def slices(self) -> int:
        """Number of slices of the prepared stack."""
        return self.stack_shape[0]

    @property
    def slice_shape(self) -> tuple[int, int]:
        """(height, width) of a prepared slice."""
        return self.stack_shape[1:]

    @property
    def original_stack_shape(self) -> tuple[int, int, int]:
        """(slices, height, width) before any preparation."""
        canonical = canonical_shape(self.shape, self.orientation)
        return (canonical[self.slice_axis], *_without(canonical, self.slice_axis))

    @property
    def original_slice_shape(self) -> tuple[int, int]:
        """(height, width) of a slice before any preparation."""
        return self.original_stack_shape[1:]

    @property
    def is_resampled(self) -> bool:
        """Whether `restore` must interpolate: some original voxels lie between those of the stack."""
        return not all(axis.is_copy for axis in self._restoring_maps())

    @property
    def kept(self) -> tuple[slice, slice, slice]:
        """The voxels of the original stack (see `to_stack`) that the prepared stack covers: all that was not cropped.

        >>> grid = SliceGrid.of((4, 5, 6), np.eye(4), slice_axis=2)
        >>> shifted = grid.stack_affine @ np.array([[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        >>> grid.moved_to((3, 4, 5), shifted).kept[0]
        slice(2, 5, None)
        """
        slices, rows, columns = (axis.inside for axis in self._restoring_maps())
        return slices, rows, columns

    @property
    def stack_spacing_mm(self) -> tuple[float, float, float]:
        """Spacing along (slices, height, width) of the prepared stack in millimetres."""
        across, height, width = np.linalg.norm(self.stack_affine[:3, :3], axis=0)
        return float(across), float(height), float(width)

    @property
    def stack_affine(self) -> np.ndarray:
        """(4, 4) affine: index (slice, row, column) of the prepared stack -> RAS millimetres."""
        return np.array(self.prepared_affine)

    def to_stack(self, array: np.ndarray) -> np.ndarray:
        """Return a view (slices, height, width, ...) of an original array (i, j, k, ...), neither resampled nor cut."""
        self._check_shape(array.shape[:3], self.shape, "(i, j, k)")
        return np.moveaxis(to_canonical(array, self.orientation), self.slice_axis, 0)

    def restore(self, array: np.ndarray, order: int) -> np.ndarray:
        """Put a stack back into the original voxel order and shape.

        Args:
            array: (slices, height, width) label map with order 0; (slices, height, width, classes) scores
                with order 1; `stack_shape` in the first three axes. It is not changed.
            order: 0 resamples labels without inventing values; 1 resamples float scores linearly.

        Returns:
            (i, j, k) of the same integer type, or (i, j, k, classes) float32, contiguous. Voxels outside of the
            stack are background: label 0; of several classes the first has score 1, the others (or a lone one) 0.

        Raises:
            InvalidVolumeError: the array does not have the shape of this grid.
            ValueError: an order other than 0 or 1.
        """
        self._check_shape(array.shape[:3], self.stack_shape, "(slices, height, width)")
        maps = self._restoring_maps()
        if order == 0 and array.ndim == 3:
            resampled = resample_label_map(array, maps)
        elif order == 1 and array.ndim == 4:
            outside = [0.0] * array.shape[3]
            outside[0] = float(len(outside) > 1)
            resampled = resample(array, maps, order=1, fill=outside)
        else:
            raise ValueError(
                "restore takes (slices, height, width) with order 0 or (slices, height, width, classes)"
                f" with order 1; received {array.ndim} axes and order {order}"
            )
        canonical = np.moveaxis(resampled, 0, self.slice_axis)
        return np.ascontiguousarray(from_canonical(canonical, self.orientation))

    def restored_slabs(self, slabs: Iterable[np.ndarray], fill: Sequence[float]) -> Iterator[np.ndarray]:
        """Put scores that come some slices at a time onto the original slices, as `restore` does with order 1.

        Args:
            slabs: (n, height, width, classes) float32, in their order the stack.
            fill: score of each class in voxels outside of the stack.

        Yields:
            (m, height, width, classes) float32, in their order the `original_stack_shape`; `to_stack` of an array of
            the scan's shape is where they go. It may be a view of a slab.

        Raises:
            ValueError: the slabs end before the stack.

        >>> grid = SliceGrid.of((4, 5, 6), np.diag([-1.0, 1.0, 3.0, 1.0]), slice_axis=2, slice_shape=(8, 5))
        >>> slabs = [np.zeros((2, 8, 5, 1), np.float32)] * 3
        >>> np.concatenate(list(grid.restored_slabs(slabs, [0]))).shape
        (6, 4, 5, 1)
        """
        return resample_slabs(slabs, self._restoring_maps(), fill)

    def _restoring_maps(self) -> Maps:
        """How each axis of the stack is resampled to the original voxels."""
        original = SliceGrid.of(self.shape, np.array(self.affine), self.slice_axis)
        change = np.linalg.solve(self.stack_affine, original.stack_affine)  # original index -> prepared index
        steps = change.diagonal()[:3]
        skew = np.abs(change[:3, :3] - np.diag(steps)).max()
        if skew * max(self.original_stack_shape) > SKEW_TOLERANCE or not (steps > 0).all():
            raise InvalidVolumeError(
                "a prepared stack must run along the axes of its scan, in the same directions; received the affine"
                f" {self.stack_affine[:3].tolist()} for {original.stack_affine[:3].tolist()}"
            )
        a, b, c = (
            AxisMap(old, new, float(start), float(step)).snapped()
            for old, new, start, step in zip(
                self.stack_shape, self.original_stack_shape, change[:3, 3], steps, strict=True
            )
        )
        return a, b, c

    @staticmethod
    def _check_shape(received: tuple[int, ...], expected: tuple[int, int, int], axes: str) -> None:
        if tuple(received) != expected:
            raise InvalidVolumeError(f"this grid takes arrays with {axes} = {expected}; received {tuple(received)}")


def with_neighbours(stack: np.ndarray, indices: np.ndarray, neighbours: int) -> np.ndarray:
    """Return slices with those around them as further channels (2.5D).

    Args:
        stack: (slices, height, width, channels).
        indices: (n,) slices wanted.
        neighbours: slices on either side; beyond the ends of the stack the last slice is repeated.

    Returns:
        (n, height, width, channels * (2 * neighbours + 1)): all channels of slice i - neighbours first, then those
        of the next one, up to slice i + neighbours.

    >>> stack = np.arange(4.0).reshape(4, 1, 1, 1)
    >>> with_neighbours(stack, np.array([0, 2]), 1).reshape(2, 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 2.0, 3.0]]
    """
    indices = np.asarray(indices)
    if not neighbours:
        return stack[indices]
    places = np.clip(indices[:, np.newaxis] + np.arange(-neighbours, neighbours + 1), 0, len(stack) - 1)
    _, height, width, channels = stack.shape
    result = np.empty((len(indices), height, width, places.shape[1] * channels), stack.dtype)
    for offset, column in enumerate(places.T):
        result[..., offset * channels : (offset + 1) * channels] = stack[column]
    return result


def centred_start(size: int, canvas: int) -> int:
    """Return where an axis of `size` pixels begins in the middle of `canvas` pixels: what is odd comes after it.

    >>> centred_start(3, 6), centred_start(6, 6)
    (1, 0)
    """
    return (canvas - size) // 2


def centred_window(size: tuple[int, ...], canvas: tuple[int, ...]) -> tuple[slice, slice]:
    """Return where a slice of (height, width) `size` lies in the middle of a canvas that is no smaller.

    >>> centred_window((3, 4), (6, 4))
    (slice(1, 4, None), slice(0, 4, None))
    """
    top, left = map(centred_start, size, canvas)
    return slice(top, top + size[0]), slice(left, left + size[1])


def _without(triple: tuple, axis: int) -> tuple:
    """The two entries of `triple` other than the one at `axis`, in order."""
    return tuple(entry for index, entry in enumerate(triple) if index != axis)
