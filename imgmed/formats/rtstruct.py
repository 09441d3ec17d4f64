"""DICOM RTSTRUCT: closed planar contours filled by rt-utils, as masks on the grid of a scan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgmed.errors import PairMismatchError, UnsupportedFormatError
from imgmed.formats.dicom_file import checked_header, read_file
from imgmed.formats.dicom_source import noted_value
from imgmed.formats.itk import LPS_TO_RAS
from imgmed.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["read_structures", "read_valued_structures", "structure_values"]

INSTALL = "pip install --no-deps rt-utils==1.2.7"
PLANE_TOLERANCE = 0.1  # of the distance between slices: how far contour points may lie off a slice
FEWEST_POINTS = 3


def read_structures(path: Path, image: Volume) -> Iterator[tuple[str, np.ndarray]]:
    """Give the name and the (i, j, k) bool mask of each region of interest (ROI) that has closed planar contours.

    A contour is filled up to and including the voxels on its line; where contours of one ROI lie within each
    other on a slice, the inner one is a hole. They must lie in slices of the scan, along any of its axes.

    Raises:
        UnsupportedFormatError: rt-utils is not installed (says the command).
        UnreadableFileError: truncated or damaged.
        PairMismatchError: contours between the slices of `image`, or outside it.
    """
    return ((name, mask) for _, name, mask in read_valued_structures(path, image))


def read_valued_structures(path: Path, image: Volume) -> Iterator[tuple[int, str, np.ndarray]]:
    """Give the label value of each region of interest too: as R2D2 notes it, else its number; as `read_structures`."""
    _require_rt_utils()
    with checked_header(path):
        dataset = read_file(path)
        names = {int(roi.ROINumber): roi.get("ROIName") for roi in dataset.StructureSetROISequence or ()}
        values = _values_in(dataset)
        contours: dict[int, list[np.ndarray]] = {number: [] for number in names}
        for roi in dataset.ROIContourSequence or ():
            contours.setdefault(int(roi.ReferencedROINumber), []).extend(_points_of(roi))
    to_voxels = np.linalg.inv(image.affine) @ LPS_TO_RAS
    for number, polygons in contours.items():
        if polygons:
            name = str(names.get(number) or "").strip() or f"ROI {number}"  # DICOM allows an empty name
            voxels = [points @ to_voxels[:3, :3].T + to_voxels[:3, 3] for points in polygons]
            yield values.get(number, number), name, _filled(voxels, image, f"{path}: {name}")


def structure_values(path: Path) -> list[int]:
    """Return the label values of all regions of interest, of which some may be empty."""
    with checked_header(path):
        return list(_values_in(read_file(path, ["StructureSetROISequence"])).values())


def _values_in(dataset: Dataset) -> dict[int, int]:
    rois = dataset.StructureSetROISequence or ()
    return {int(roi.ROINumber): noted_value(roi.get("ROIDescription"), int(roi.ROINumber)) for roi in rois}


def _require_rt_utils() -> None:
    try:
        import rt_utils  # noqa: F401
    except ImportError as error:
        raise UnsupportedFormatError(f"RTSTRUCT needs the package rt-utils; install it: {INSTALL}") from error


def _points_of(roi: Dataset) -> list[np.ndarray]:
    """(points, 3) LPS millimetres of each closed planar contour; points and open lines enclose nothing."""
    closed = [one for one in roi.get("ContourSequence") or () if str(one.ContourGeometricType).startswith("CLOSED")]
    return [np.array(one.ContourData, np.float64).reshape(-1, 3) for one in closed if one.ContourData]


def _filled(contours: list[np.ndarray], image: Volume, origin: str) -> np.ndarray:
    """Fill contours given in voxel coordinates of `image`."""
    axis = _slice_axis(contours, image, origin)
    rows, columns = (other for other in range(3) if other != axis)
    by_slice: dict[int, list[np.ndarray]] = {}
    for points in contours:
        by_slice.setdefault(round(float(points[0, axis])), []).append(points[:, [columns, rows]])
    shape = (image.shape[rows], image.shape[columns])
    mask = np.zeros((image.shape[axis], *shape), bool)
    outside = 0
    for k, polygons in by_slice.items():
        lows = min(points.min() for points in polygons)
        highs = np.max([points.max(axis=0) for points in polygons], axis=0)
        if not 0 <= k < len(mask) or lows < -0.5 or (highs > np.array(shape[::-1]) - 0.5).any():
            outside += len(polygons)
        else:
            mask[k] = _fill_polygons(polygons, shape)
    if outside:
        raise PairMismatchError(
            f"{origin}: {outside} of its {len(contours)} contours reach outside the image {image.origin}; name the"
            " series that it was drawn on, whole"
        )
    return np.moveaxis(mask, 0, axis)


def _slice_axis(contours: list[np.ndarray], image: Volume, origin: str) -> int:
    """The image axis across which all contours are flat, and lie on slices."""
    flat = [max(float(np.ptp(points[:, axis])) for points in contours) for axis in range(3)]
    axis = min((2, 1, 0), key=lambda candidate: flat[candidate] > PLANE_TOLERANCE)
    off = max(float(np.abs(points[:, axis] - np.rint(points[:1, axis])).max()) for points in contours)
    if off > PLANE_TOLERANCE:
        raise PairMismatchError(
            f"{origin}: contours lie up to {off * image.spacing_mm[axis]:.3g} mm off the slices of the image"
            f" {image.origin}; name the series that it was drawn on"
        )
    return axis


def _fill_polygons(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """(rows, columns) bool of polygons given as (points, 2) pixels, column first.

    rt-utils places contours rightly on square pictures with pixels as high as wide only (1.2.7 swaps rows and
    columns, and their spacings): it is given a square of unit pixels, where there is nothing to swap.
    """
    from rt_utils import image_helper

    side = max(shape)
    mask = image_helper.get_slice_mask_from_slice_contour_data(
        _unit_square(side), [_flattened(points) for points in polygons], np.eye(4, dtype=np.float32)
    )
    return mask[: shape[0], : shape[1]].astype(bool)


def _unit_square(side: int) -> Any:
    from pydicom import Dataset

    square = Dataset()
    square.Rows = square.Columns = side
    return square


def _flattened(points: np.ndarray) -> list[float]:
    """x, y, 0 of each point, one after the other; a contour of one or two points repeats the last."""
    missing = max(0, FEWEST_POINTS - len(points))
    padded = np.pad(points, ((0, missing), (0, 0)), mode="edge")
    return np.pad(padded, ((0, 0), (0, 1))).ravel().tolist()
