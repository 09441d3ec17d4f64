"""Preparation of one scan: the same steps for a dataset's cases and for scans from anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from imgmed.errors import InvalidVolumeError
from imgmed.geometry import canonical_spacing
from imgmed.intensity import Bounds, Clipping
from imgmed.resampling import resample_images, resampled_size
from imgmed.slices import SliceGrid
from imgmed.volume import Volume

__all__ = ["PreparedScan", "ScanPreparation", "channel_array", "grid_for", "prepare_scan"]

KEPT_WITHIN = 0.01  # spacings this close to the wanted one (relative) are not resampled


class ScanPreparation(BaseModel):
    """What is done to a scan before it meets a network; part of a dataset and of a model's card.

    >>> ScanPreparation(channels=("MRI",), slice_axis=2, spacing_mm=None, slice_size=(64, 64)).slice_axis
    2
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[str, ...] = Field(min_length=1, description="Channel names, in order.")
    slice_axis: int = Field(
        ge=0, le=2, description="Axis across which slices are cut: 0 left-right, 1 back-front, 2 foot-head."
    )
    spacing_mm: tuple[float, float] | None = Field(
        description="In-plane spacing (height, width) that slices are resampled to unless within 1 % of"
        " it already; null: kept as it is.",
    )
    clipping: Clipping = Field(default_factory=lambda: Clipping(), description="Which intensities are cut off.")
    slice_size: tuple[int, int] = Field(
        description="(height, width) in pixels that holds every training slice; arrays are not padded to it."
    )
    neighbours: int = Field(
        default=0, ge=0, description="Slices before and after each that join it as channels (2.5D); arrays hold none."
    )


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan ready to be normalised, and the way back.

    `image` is (slices, height, width, channels) float32, resampled and clipped but not normalised; `grid`
    puts arrays on its slices back into the original voxels; `bounds` are what each channel was clipped to.
    """

    image: np.ndarray
    grid: SliceGrid
    bounds: Bounds


def prepare_scan(volume: Volume, preparation: ScanPreparation) -> PreparedScan:
    """Turn a volume into a stack of slices: reorient, resample in the plane, clip; no padding, no z-scores.

    Args:
        volume: (i, j, k) or (i, j, k, channels), any orientation; it is not changed.
        preparation: the steps and their numbers.

    Raises:
        InvalidVolumeError: another number of channels, or NaN or infinite voxels.

    >>> preparation = ScanPreparation(channels=("MRI",), slice_axis=2, spacing_mm=None, slice_size=(16, 16))
    >>> prepare_scan(Volume(np.zeros((4, 5, 6)), np.eye(4)), preparation).image.shape
    (6, 4, 5, 1)
    """
    image = channel_array(volume)
    if image.shape[3] != len(preparation.channels):
        raise InvalidVolumeError(
            f"{volume.origin}: {len(preparation.channels)} channels ({', '.join(preparation.channels)})"
            f" are expected; received {image.shape[3]}; channels are the last of four axes"
        )
    grid = grid_for(volume, preparation)
    bounds = preparation.clipping.bounds_for(image)
    slices = resample_images(grid.to_stack(image), grid.slice_shape)
    low, high = np.array(bounds, np.float32).T
    return PreparedScan(np.clip(slices, low, high, out=np.empty(slices.shape, np.float32)), grid, bounds)


def grid_for(volume: Volume, preparation: ScanPreparation) -> SliceGrid:
    """Return where the slices of `volume` will lie after `prepare_scan`."""
    grid = SliceGrid.of(volume.shape, volume.affine, preparation.slice_axis)
    if preparation.spacing_mm is None:
        return grid
    spacing = [value for axis, value in enumerate(canonical_spacing(volume.affine)) if axis != preparation.slice_axis]
    sizes = [
        size if abs(old / new - 1) <= KEPT_WITHIN else resampled_size(size, old, new)
        for size, old, new in zip(grid.slice_shape, spacing, preparation.spacing_mm, strict=True)
    ]
    return SliceGrid.of(volume.shape, volume.affine, preparation.slice_axis, (sizes[0], sizes[1]))


def channel_array(volume: Volume) -> np.ndarray:
    """Return the voxels as (i, j, k, channels) float32; raises InvalidVolumeError on NaN and infinity."""
    array = volume.array if volume.array.ndim == 4 else volume.array[..., np.newaxis]
    image = array.astype(np.float32, copy=False)
    bad = image.size - int(np.count_nonzero(np.isfinite(image)))
    if bad:
        raise InvalidVolumeError(
            f"{volume.origin}: {bad} NaN or infinite voxels; replace them, for example by the background's intensity"
        )
    return image
