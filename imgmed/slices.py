"""From a volume to a stack of slices, and back into the original voxel grid."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from imgmed.errors import InvalidVolumeError
from imgmed.geometry import (
    Orientation,
    canonical_affine,
    canonical_shape,
    canonical_spacing,
    from_canonical,
    orientation_of,
    to_canonical,
)
from imgmed.resampling import resample_labels, resample_scores

__all__ = ["Affine", "SliceGrid"]

Row = tuple[float, float, float, float]
Affine = tuple[Row, Row, Row, Row]


class SliceGrid(BaseModel):
    """Where a stack of slices (slices, height, width) lies in the voxel grid it was taken from.

    Slices are cut across `slice_axis` of the canonical (right, anterior, superior) axes; height and width are
    the other two axes in that order. `slice_shape` is (height, width) after resampling in the plane.

    >>> grid = SliceGrid.of((4, 5, 6), np.diag([-1.0, 1.0, 3.0, 1.0]), slice_axis=2, slice_shape=(8, 5))
    >>> grid.stack_shape, grid.restore(np.zeros((6, 8, 5), np.uint8), order=0).shape
    ((6, 8, 5), (4, 5, 6))
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, int, int] = Field(description="Voxels along i, j, k of the original array.")
    affine: Affine = Field(description="Original voxel index -> RAS millimetres, 4 rows.")
    slice_axis: int = Field(ge=0, le=2, description="Canonical axis across which slices are cut.")
    slice_shape: tuple[int, int] = Field(description="(height, width) of a slice after resampling.")

    @classmethod
    def of(
        cls,
        shape: tuple[int, int, int],
        affine: np.ndarray,
        slice_axis: int,
        slice_shape: tuple[int, int] | None = None,
    ) -> Self:
        """Return the grid for an (i, j, k) `shape` and (4, 4) `affine`; no `slice_shape`: no resampling."""
        rows = np.asarray(affine, dtype=np.float64).tolist()
        if slice_shape is None:
            canonical = canonical_shape(shape, orientation_of(affine))
            slice_shape = _without(canonical, slice_axis)
        return cls(shape=shape, affine=rows, slice_axis=slice_axis, slice_shape=slice_shape)

    @property
    def orientation(self) -> Orientation:
        """Orientation of the original array."""
        return orientation_of(np.array(self.affine))

    @property
    def slices(self) -> int:
        """Number of slices."""
        return canonical_shape(self.shape, self.orientation)[self.slice_axis]

    @property
    def stack_shape(self) -> tuple[int, int, int]:
        """(slices, height, width) of the resampled stack."""
        return self.slices, *self.slice_shape

    @property
    def original_slice_shape(self) -> tuple[int, int]:
        """(height, width) of a slice before resampling."""
        return _without(canonical_shape(self.shape, self.orientation), self.slice_axis)

    @property
    def stack_spacing_mm(self) -> tuple[float, float, float]:
        """Spacing along (slices, height, width) of the resampled stack in millimetres."""
        spacing = canonical_spacing(np.array(self.affine))
        height, width = _without(spacing, self.slice_axis)
        old, new = self.original_slice_shape, self.slice_shape
        return spacing[self.slice_axis], height * old[0] / new[0], width * old[1] / new[1]

    @property
    def stack_affine(self) -> np.ndarray:
        """(4, 4) affine: index (slice, row, column) of the resampled stack -> RAS millimetres."""
        canonical = canonical_affine(np.array(self.affine), self.shape)
        order = [self.slice_axis, *_without((0, 1, 2), self.slice_axis), 3]
        stacked = canonical[:, order]
        change = np.eye(4)
        for axis, (old, new) in enumerate(zip(self.original_slice_shape, self.slice_shape, strict=True), start=1):
            change[axis, axis] = old / new
            change[axis, 3] = 0.5 * old / new - 0.5
        return stacked @ change

    def to_stack(self, array: np.ndarray) -> np.ndarray:
        """Return a view (slices, height, width, ...) of an array (i, j, k, ...), not resampled."""
        self._check_shape(array.shape[:3], self.shape, "(i, j, k)")
        return np.moveaxis(to_canonical(array, self.orientation), self.slice_axis, 0)

    def restore(self, array: np.ndarray, order: int) -> np.ndarray:
        """Put a stack back into the original voxel order and shape.

        Args:
            array: (slices, height, width) label map with order 0; (slices, height, width, classes) scores
                with order 1; `stack_shape` in the first three axes. It is not changed.
            order: 0 resamples labels without inventing values; 1 resamples float scores linearly.

        Returns:
            (i, j, k) of the same integer type, or (i, j, k, classes) float32, contiguous.

        Raises:
            InvalidVolumeError: the array does not have the shape of this grid.
            ValueError: an order other than 0 or 1.
        """
        self._check_shape(array.shape[:3], self.stack_shape, "(slices, height, width)")
        if order == 0 and array.ndim == 3:
            resampled = resample_labels(array, self.original_slice_shape)
        elif order == 1 and array.ndim == 4:
            resampled = resample_scores(array, self.original_slice_shape)
        else:
            raise ValueError(
                "restore takes (slices, height, width) with order 0 or (slices, height, width, classes)"
                f" with order 1; received {array.ndim} axes and order {order}"
            )
        canonical = np.moveaxis(resampled, 0, self.slice_axis)
        return np.ascontiguousarray(from_canonical(canonical, self.orientation))

    @staticmethod
    def _check_shape(received: tuple[int, ...], expected: tuple[int, int, int], axes: str) -> None:
        if tuple(received) != expected:
            raise InvalidVolumeError(f"this grid takes arrays with {axes} = {expected}; received {tuple(received)}")


def _without(triple: tuple, axis: int) -> tuple:
    """The two entries of `triple` other than the one at `axis`, in order."""
    return tuple(entry for index, entry in enumerate(triple) if index != axis)
