"""Operations that move voxels: image and label map together, world coordinates kept by the affine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor
from typing import Annotated, Literal, Self

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from pydantic import BaseModel, ConfigDict, Field, model_validator

from imgmed.errors import InvalidVolumeError
from imgmed.geometry import orientation_of
from imgmed.operations.base import Scan, moved
from imgmed.resampling import AxisMap, Maps, Order, resampled_size
from imgmed.volume import Volume

__all__ = ["KEPT_WITHIN", "Centre", "Crop", "CropToContent", "Reorient", "Resample", "Resize"]

KEPT_WITHIN = 0.01  # spacings this close to the wanted one (relative) are not resampled
EDGE = 1e-6  # of a voxel: a box that ends on a voxel's centre holds it

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1)]
Extent = tuple[float, float]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reorient(_Frozen):
    """Turn the array so that its axes run in named directions; no value changes.

    >>> scan = Scan(Volume(np.zeros((4, 5, 6)), np.diag([-1.0, 1.0, 3.0, 1.0])))
    >>> Reorient(axes="SAR").apply(scan).image.shape
    (6, 5, 4)
    """

    op: Literal["reorient"] = "reorient"
    axes: str = Field(
        default="RAS",
        pattern="^(?!.*[RL].*[RL])(?!.*[AP].*[AP])(?!.*[SI].*[SI])[RLAPSI]{3}$",
        description="Where the array axes point: one of R L, one of A P, one of S I, in any order.",
    )

    def apply(self, scan: Scan) -> Scan:
        """Return the scan in the new voxel order (views)."""
        label = None if scan.label is None else _turned(scan.label, self.axes)
        return replace(scan, image=_turned(scan.image, self.axes), label=label)


class Resample(_Frozen):
    """Resample to a spacing: interpolated where an axis grows, averaged where it shrinks.

    The field of view is kept, so the spacing is met to within half a voxel over the whole axis.

    >>> scan = Scan(Volume(np.zeros((4, 5, 6)), np.diag([1.0, 1.0, 3.0, 1.0])))
    >>> Resample(spacing_mm=(2.0, None, 1.0)).apply(scan).image.shape
    (2, 5, 18)
    """

    op: Literal["resample"] = "resample"
    spacing_mm: tuple[Positive | None, Positive | None, Positive | None] = Field(
        description="Along left-right, back-front, foot-head; null keeps an axis, as does a spacing within 1 %."
    )
    order: Order = Field(default=3, description="How images grow: 1 linearly, 3 by cubic convolution.")

    def axis_maps(self, scan: Scan) -> Maps:
        """Return how each array axis of the scan is resampled."""
        spacing = scan.image.spacing_mm
        wanted = _by_array_axis(scan.image, self.spacing_mm)
        sizes = [
            size if new is None or abs(old / new - 1) <= KEPT_WITHIN else resampled_size(size, old, new)
            for size, old, new in zip(scan.image.shape, spacing, wanted, strict=True)
        ]
        return _covering(scan.image, sizes)

    def apply(self, scan: Scan) -> Scan:
        """Return the scan with the new spacing; the image is float32."""
        return moved(scan, self.axis_maps(scan), self.order)


class Resize(_Frozen):
    """Resample to a number of voxels, keeping the field of view (and not the proportions).

    >>> scan = Scan(Volume(np.zeros((4, 5, 6)), np.eye(4)))
    >>> Resize(size=(8, None, 3)).apply(scan).image.spacing_mm
    (0.5, 1.0, 2.0)
    """

    op: Literal["resize"] = "resize"
    size: tuple[Size | None, Size | None, Size | None] = Field(
        description="Voxels along left-right, back-front, foot-head; null keeps an axis."
    )
    order: Order = Field(default=3, description="How images grow: 1 linearly, 3 by cubic convolution.")

    def axis_maps(self, scan: Scan) -> Maps:
        """Return how each array axis of the scan is resampled."""
        wanted = _by_array_axis(scan.image, self.size)
        return _covering(scan.image, [new or old for old, new in zip(scan.image.shape, wanted, strict=True)])

    def apply(self, scan: Scan) -> Scan:
        """Return the scan with the new number of voxels; the image is float32."""
        return moved(scan, self.axis_maps(scan), self.order)


class Crop(_Frozen):
    """Cut out a box, given in voxels or in world millimetres; what reaches beyond the scan is ignored.

    >>> scan = Scan(Volume(np.arange(6.0).reshape(1, 1, 6), np.diag([1.0, 1.0, 2.0, 1.0])))
    >>> Crop(mm=(None, None, (3.0, 8.0))).apply(scan).image.array.ravel().tolist()
    [2.0, 3.0, 4.0]
    """

    op: Literal["crop"] = "crop"
    voxels: tuple[tuple[int, int] | None, tuple[int, int] | None, tuple[int, int] | None] | None = Field(
        default=None,
        description="(first, last plus one) voxel from the left, from the back, from the foot; null keeps an axis.",
    )
    mm: tuple[Extent | None, Extent | None, Extent | None] | None = Field(
        default=None,
        description="(lowest, highest) world coordinate to the right, front, head in millimetres: voxels whose"
        " centres lie within are kept (of a tilted scan, the smallest box of voxels around them).",
    )

    @model_validator(mode="after")
    def _check_box(self) -> Self:
        if (self.voxels is None) == (self.mm is None):
            raise ValueError("a crop takes either voxels or mm")
        for low, high in (extent for extent in self.voxels or () if extent is not None):
            if not 0 <= low < high:
                raise ValueError(f"a crop keeps from voxel FIRST up to and without LAST; received {low}, {high}")
        for start, end in (extent for extent in self.mm or () if extent is not None):
            if not start <= end:
                raise ValueError(f"the lower end of a box may not exceed its upper end; received {start}, {end}")
        return self

    def axis_maps(self, scan: Scan) -> Maps:
        """Return how each array axis of the scan is cut."""
        if self.voxels is None:
            return _boxed(scan.image, _voxel_box(scan.image, self.mm or (None, None, None)))
        wanted = _by_array_axis(scan.image, self.voxels)
        flips = _flips_by_array_axis(scan.image)
        box = []
        for size, extent, flipped in zip(scan.image.shape, wanted, flips, strict=True):
            first, stop = extent or (0, size)
            box.append((size - stop, size - first) if flipped else (first, stop))
        return _boxed(scan.image, box)

    def apply(self, scan: Scan) -> Scan:
        """Return the part of the scan in the box (views); raises InvalidVolumeError where there is none."""
        return moved(scan, self.axis_maps(scan))


class CropToContent(_Frozen):
    """Cut away what surrounds the content: voxels of no channel above a threshold, or all 0.

    >>> array = np.zeros((8, 8, 8)); array[2:4, 5, 1:7] = 9
    >>> CropToContent(margin_mm=1).apply(Scan(Volume(array, np.eye(4)))).image.shape
    (4, 3, 8)
    """

    op: Literal["crop_to_content"] = "crop_to_content"
    above: float | None = Field(default=None, description="Content is brighter than this; null: any value but 0.")
    margin_mm: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="What is kept around it.")

    def axis_maps(self, scan: Scan) -> Maps:
        """Return how each array axis of the scan is cut; a scan without content is kept whole."""
        extents = _content(scan.image.array, self.above)
        margins = [ceil(self.margin_mm / spacing - EDGE) for spacing in scan.image.spacing_mm]
        return _boxed(
            scan.image, [(low - margin, high + margin) for (low, high), margin in zip(extents, margins, strict=True)]
        )

    def apply(self, scan: Scan) -> Scan:
        """Return the scan without its empty surroundings (views)."""
        return moved(scan, self.axis_maps(scan))


class Centre(_Frozen):
    """Crop or pad around the centre to a number of voxels.

    >>> scan = Scan(Volume(np.ones((2, 5, 6)), np.eye(4)))
    >>> Centre(size=(4, 3, None), fill=0).apply(scan).image.array[:, 0, 0].tolist()
    [0.0, 1.0, 1.0, 0.0]
    """

    op: Literal["centre"] = "centre"
    size: tuple[Size | None, Size | None, Size | None] = Field(
        description="Voxels along left-right, back-front, foot-head; null keeps an axis."
    )
    fill: float | None = Field(
        default=None, description="Intensity of the padding; null: the lowest of each channel. Labels are padded by 0."
    )

    def axis_maps(self, scan: Scan) -> Maps:
        """Return how each array axis of the scan is cut or padded."""
        wanted = _by_array_axis(scan.image, self.size)
        maps = []
        for old, given, flipped in zip(scan.image.shape, wanted, _flips_by_array_axis(scan.image), strict=True):
            new = given or old
            before = new // 2 - old // 2  # the centre is voxel size // 2, counted from the left, back or foot
            maps.append(AxisMap(old, new, float(-((new - old - before) if flipped else before))))
        return maps[0], maps[1], maps[2]

    def apply(self, scan: Scan) -> Scan:
        """Return the scan with the new number of voxels, none of them moved."""
        return moved(scan, self.axis_maps(scan), fill=self.fill)


def _turned(volume: Volume, axes: str) -> Volume:
    change = ornt_transform(io_orientation(volume.affine), axcodes2ornt(axes))
    array = apply_orientation(volume.array, change)
    return replace(volume, array=array, affine=volume.affine @ inv_ornt_aff(change, volume.shape))


def _by_array_axis(volume: Volume, values: Sequence) -> list:
    """Values along right, anterior, superior, in the order of the array's axes."""
    found = [None, None, None]
    for canonical, axis in enumerate(orientation_of(volume.affine).axes):
        found[axis] = values[canonical]
    return found


def _flips_by_array_axis(volume: Volume) -> list[bool]:
    return _by_array_axis(volume, orientation_of(volume.affine).flips)


def _covering(volume: Volume, sizes: Sequence[int]) -> Maps:
    a, b, c = (AxisMap.covering(old, new) for old, new in zip(volume.shape, sizes, strict=True))
    return a, b, c


def _boxed(volume: Volume, box: Sequence[tuple[int, int]]) -> Maps:
    maps = []
    for size, (first, stop) in zip(volume.shape, box, strict=True):
        low, high = max(0, first), min(size, stop)
        if high <= low:
            raise InvalidVolumeError(
                f"{volume.origin}: the box to crop to holds no voxel of this scan ({volume.shape} voxels); along one"
                f" axis it spans voxels {first} to {stop - 1}"
            )
        maps.append(AxisMap(size, high - low, float(low)))
    return maps[0], maps[1], maps[2]


def _voxel_box(volume: Volume, mm: Sequence[Extent | None]) -> list[tuple[int, int]]:
    """(first, last plus one) along each array axis of the voxels whose centres may lie within the world box."""
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in volume.shape])).reshape(3, -1)
    world = volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]
    whole = [(float(row.min()), float(row.max())) for row in world]
    extents = [
        (max(low, given[0]), min(high, given[1])) if given else (low, high)
        for (low, high), given in zip(whole, mm, strict=True)
    ]
    if any(high < low for low, high in extents):
        return [(0, 0)] * 3
    box = np.array(np.meshgrid(*extents)).reshape(3, -1)
    places = np.linalg.solve(volume.affine[:3, :3], box - volume.affine[:3, 3:])
    return [(ceil(row.min() - EDGE), floor(row.max() + EDGE) + 1) for row in places]


def _content(array: np.ndarray, above: float | None) -> list[tuple[int, int]]:
    """(first, last plus one) along each axis of the content; the whole axis where there is none."""
    shape = array.shape[:3]
    seen = [np.zeros(size, bool) for size in shape]
    step = max(1, 2**22 // max(1, array[0].size))
    for start in range(0, shape[0], step):  # some slices at a time: no mask of the whole volume
        part = array[start : start + step]
        mask = part != 0 if above is None else part > above
        mask = mask.any(axis=3) if mask.ndim == 4 else mask
        plane = mask.any(axis=0)
        seen[0][start : start + step] = mask.any(axis=(1, 2))
        seen[1] |= plane.any(axis=1)
        seen[2] |= plane.any(axis=0)
    if not seen[0].any():
        return [(0, size) for size in shape]
    return [(int(places[0]), int(places[-1]) + 1) for places in map(np.flatnonzero, seen)]
