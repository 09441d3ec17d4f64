"""Operations on scans: small, pure, and composable from Python or from a list in a YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from imgmed.operations.base import Scan
from imgmed.operations.channels import select_channels
from imgmed.operations.geometric import Centre, Crop, CropToContent, Reorient, Resample, Resize
from imgmed.operations.intensity import Clip, Rescale
from imgmed.volume import Volume

__all__ = [
    "Centre",
    "Clip",
    "Crop",
    "CropToContent",
    "Operation",
    "Reorient",
    "Resample",
    "Rescale",
    "Resize",
    "Scan",
    "apply_operations",
    "geometry_after",
    "select_channels",
]

Operation = Annotated[
    Reorient | Resample | Crop | CropToContent | Centre | Resize | Clip | Rescale, Field(discriminator="op")
]
"""Any operation; in YAML `{op: resample, spacing_mm: [1, 1, 1]}`."""


def apply_operations(scan: Scan, operations: Sequence[Operation]) -> Scan:
    """Apply operations one after the other.

    Args:
        scan: it is not changed; where nothing is computed the result shares its arrays.
        operations: in this order.

    >>> scan = Scan(Volume(np.zeros((4, 4, 6)), np.eye(4)))
    >>> apply_operations(scan, [Resample(spacing_mm=(2, 2, 2)), Clip(bounds=((0, 1),))]).image.shape
    (2, 2, 3)
    """
    result = scan if scan.source is not None else replace(scan, source=scan.image)
    for operation in operations:
        result = operation.apply(result)
    return result


def geometry_after(
    shape: tuple[int, int, int], affine: np.ndarray, operations: Sequence[Operation]
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return the voxels and the affine that a scan will have after some operations, without its voxels.

    A crop to the content depends on them: it counts as if it kept everything, so the shape is then the largest possible.

    >>> geometry_after((4, 4, 6), np.eye(4), [Resample(spacing_mm=(2, 2, 2))])[0]
    (2, 2, 3)
    """
    volume = Volume(np.broadcast_to(np.float32(0), shape), affine)
    for operation in operations:
        if isinstance(operation, Reorient):
            volume = operation.apply(Scan(volume)).image
        elif not isinstance(operation, Clip | Rescale | CropToContent):
            maps = operation.axis_maps(Scan(volume))
            change = np.diag([*(axis.step for axis in maps), 1.0])
            change[:3, 3] = [axis.start for axis in maps]
            size = tuple(axis.new for axis in maps)
            volume = Volume(np.broadcast_to(np.float32(0), size), volume.affine @ change)
    return volume.shape, volume.affine
