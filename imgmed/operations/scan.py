"""The value that operations take and give, and how they are applied to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imgmed.axis_map import Maps, Orders
from imgmed.errors import PairMismatchError
from imgmed.intensity_settings import Bounds
from imgmed.operations.maps import absurd_size, placed
from imgmed.operations.step import Step
from imgmed.resampling import resample, resample_label_map
from imgmed.volume import Volume

__all__ = ["Scan", "apply_operations", "geometry_after", "moved"]


@dataclass(frozen=True, eq=False)
class Scan:
    """An image, its label map, and what is known of its intensities.

    Args:
        image: (i, j, k) or (i, j, k, channels).
        label: (i, j, k) whole numbers on the same voxels; None: a scan without labels.
        bounds: (lowest, highest) of each channel that an operation has limited the image to; None: not limited.
        source: the image before the first operation; None: `image` itself.

    Raises:
        PairMismatchError: image and label map differ in shape.
    """

    image: Volume
    label: Volume | None = None
    bounds: Bounds | None = None
    source: Volume | None = None

    def __post_init__(self) -> None:
        if self.label is not None and self.label.shape != self.image.shape:
            raise PairMismatchError(
                f"{self.image.origin} has shape {self.image.shape}, its label map {self.label.origin}"
                f" {self.label.shape}; both must lie on the same voxel grid"
            )


def apply_operations(scan: Scan, operations: Sequence[Step]) -> Scan:
    """Apply operations one after the other.

    Args:
        scan: it is not changed; where nothing is computed the result shares its arrays.
        operations: in this order.

    Raises:
        InvalidVolumeError: an operation cannot be applied, or would make more voxels than a volume may have.

    >>> from imgmed.operations import Clip, Resample
    >>> scan = Scan(Volume(np.zeros((4, 4, 6)), np.eye(4)))
    >>> apply_operations(scan, [Resample(spacing_mm=(2, 2, 2)), Clip(bounds=((0, 1),))]).image.shape
    (2, 2, 3)
    """
    result = scan if scan.source is not None else replace(scan, source=scan.image)
    given = [volume.array for volume in (scan.image, scan.source) if volume is not None]
    for operation in operations:
        is_own = not any(np.may_share_memory(result.image.array, array) for array in given)
        result = operation.apply_to_own(result) if is_own else operation.apply(result)
    return result


def geometry_after(
    shape: tuple[int, int, int], affine: np.ndarray, operations: Sequence[Step], path: Path | None = None
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return the voxels and the affine that a scan will have after some operations, without its voxels.

    `path` is the scan's file, for messages. A crop to the content depends on voxels: it counts as if it kept
    everything (the largest possible shape).

    Raises:
        InvalidVolumeError: as `apply_operations`.

    >>> from imgmed.operations import Resample
    >>> geometry_after((4, 4, 6), np.eye(4), [Resample(spacing_mm=(2, 2, 2))])[0]
    (2, 2, 3)
    """
    volume = Volume(np.broadcast_to(np.float32(0), shape), affine, path)
    for operation in operations:
        volume = operation.geometry(volume)
    return volume.shape, volume.affine


def moved(scan: Scan, maps: Maps, order: Orders = 1, fill: float | None = None) -> Scan:
    """Resample, crop or pad a scan along its array axes; what stays has the same world coordinates.

    Args:
        scan: it is not changed; an axis that is only cut gives a view.
        maps: how each array axis is resampled.
        order: how the image grows along its array axes, see `imgmed.resampling.resample`; the label map never gains
            values.
        fill: intensity outside of the image; None: the lowest of each channel. Label maps get 0.
    """
    if all(axis.is_copy and axis.start == 0 and axis.old == axis.new for axis in maps):
        return scan
    affine = placed(scan.image, maps).affine
    array = scan.image.array
    channels = array if array.ndim == 4 else array[..., np.newaxis]
    is_cubic = 3 in (order if isinstance(order, tuple) else (order,))
    limits = np.array(scan.bounds) if scan.bounds is not None and is_cubic else None
    try:
        image = resample(channels, maps, order, _fill(channels, maps, fill), limits)
    except MemoryError as error:
        raise absurd_size(scan.image, maps, "there is not enough memory for it") from error
    label = None
    if scan.label is not None:
        label = replace(scan.label, array=resample_label_map(scan.label.array, maps), affine=affine)
    image = image if array.ndim == 4 else image[..., 0]
    return replace(scan, image=replace(scan.image, array=image, affine=affine), label=label)


def _fill(channels: np.ndarray, maps: Maps, fill: float | None) -> Sequence[float]:
    if all(axis.inside == slice(0, axis.new) for axis in maps):
        return ()
    lowest = [channels[..., channel].min() for channel in range(channels.shape[3])]
    return lowest if fill is None else [fill] * len(lowest)
