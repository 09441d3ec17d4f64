"""A volume: voxels together with their place in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgmed.errors import InvalidVolumeError

__all__ = ["MAX_VALUES", "Volume", "check_affine", "check_number_type", "storable"]

MAX_VALUES = 2**31
"""Most values (voxels times channels) that a volume may have unless the caller allows more: 8.6 GB as float32."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels with the affine that places them in patient space.

    Args:
        array: (i, j, k) or (i, j, k, channels), real numbers or bool, in the file's voxel order.
        affine: (4, 4) voxel index -> millimetres, axes pointing right, anterior, superior; kept as float64.
        path: the file the volume was read from, for messages; None if it came from elsewhere.

    Raises:
        InvalidVolumeError: wrong number of axes, an empty axis, not real numbers, or an affine that is
            not finite or that flattens space.

    >>> volume = Volume(np.zeros((4, 5, 6)), np.diag([1.0, 0.5, 3.0, 1.0]))
    >>> volume.spacing_mm
    (1.0, 0.5, 3.0)
    """

    array: np.ndarray
    affine: np.ndarray
    path: Path | None = None

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", affine)
        _check_array(array, self.origin)
        check_affine(affine, self.origin)

    @property
    def origin(self) -> str:
        """How messages call this volume: its file, or "the volume"."""
        return str(self.path) if self.path is not None else "the volume"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along i, j, k (without channels)."""
        i, j, k = self.array.shape[:3]
        return i, j, k

    @property
    def channels(self) -> int:
        """Number of channels; 1 for a three-dimensional array."""
        return self.array.shape[3] if self.array.ndim == 4 else 1

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along i, j, k in millimetres."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)


def storable(array: np.ndarray) -> np.ndarray:
    """Return an array in the type in which files keep it.

    Real numbers become float32, whole numbers without negatives the smallest unsigned type that holds them,
    others stay (64 bits become 32, which not every program reads otherwise).

    >>> storable(np.array([0, 300])).dtype.name, storable(np.array([0.5])).dtype.name
    ('uint16', 'float32')
    """
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.min() < 0:
        return array if array.dtype.itemsize < 8 else array.astype(np.int32)
    return array.astype(np.min_scalar_type(int(array.max())), copy=False)


def _check_array(array: np.ndarray, origin: str) -> None:
    if array.ndim not in (3, 4):
        raise InvalidVolumeError(
            f"{origin}: a volume has 3 axes, or 4 with channels last; received shape {array.shape}"
        )
    if 0 in array.shape:
        raise InvalidVolumeError(f"{origin}: a volume needs voxels along every axis; received {array.shape}")
    check_number_type(array.dtype, origin)


def check_number_type(dtype: np.dtype, origin: str) -> None:
    """Raise InvalidVolumeError unless voxels of this type are real numbers."""
    if dtype.kind not in "biuf":
        kind = "colours" if dtype.names else "complex numbers" if dtype.kind == "c" else str(dtype)
        raise InvalidVolumeError(
            f"{origin}: voxels must be real numbers; received {kind}: split the volume into channels first"
        )


def check_affine(affine: np.ndarray, origin: str) -> None:
    """Raise InvalidVolumeError unless an affine (4, 4) places voxels in space; ``origin`` names whose it is."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise InvalidVolumeError(f"{origin}: an affine is a finite 4x4 matrix; received {affine.tolist()}")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    volume = abs(np.linalg.det(affine[:3, :3]))
    if not volume > 1e-6 * np.prod(spacing):
        raise InvalidVolumeError(
            f"{origin}: the three axes of an affine must span space; received {affine[:3, :3].tolist()};"
            " repair the header's sform or qform"
        )
