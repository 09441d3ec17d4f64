"""The slice of a case that is shown: the one with the most wrong voxels, turned as radiologists look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgmed import Volume, read_volume
from imgmed.formats.pictures import SUFFIXES as PICTURES
from imgmed.geometry import canonical_spacing, orientation_of, to_canonical
from r2d2.viewing.planes import EDGES, PLANES
from r2d2_base.errors import R2D2Error
from segeval import Label, ShapeMismatchError, read_label_map
from segeval.files.grids import on_grid_of, same_axes
from segeval.files.label_map import is_placed_by_another
from segeval.settings import SpatialUnits

__all__ = ["Overlay", "OverlayError", "error_counts", "memberships", "read_overlay"]

_THICK_SLICES = 1.2
"""Where one spacing is this much larger than both others, slices across that axis are shown; else axial ones."""

_LARGEST_SHIFT = 0.05
"""How far apart, in voxels, the affines of a scan and of its label map may put a corner."""


class OverlayError(R2D2Error, ValueError):
    """A case of which no picture can be made."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """One slice of a case, turned as it is drawn: rows from bottom to top, columns from left to right.

    Attributes:
        image: float32 (rows, columns), the first channel, or without a scan the reference in greys; (rows, columns, 3)
            red, green and blue of a picture.
        reference: integers (rows, columns).
        prediction: integers (rows, columns).
        spacing_mm: size of a pixel, (rows, columns).
        plane: "axial", "coronal" or "sagittal"; of pictures "page".
        position: number of the slice, from 1.
        slices: how many there are.
        edges: letters at the left, right, top and bottom edge; empty for pictures, which have no patient.
        has_scan: whether `image` is a scan.
    """

    image: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray
    spacing_mm: tuple[float, float]
    plane: str
    position: int
    slices: int
    edges: tuple[str, str, str, str]
    has_scan: bool = True

    @property
    def place(self) -> str:
        """Which slice this is, in words; empty for an image of one."""
        noun = "Page" if self.plane == "page" else f"{self.plane.capitalize()} slice"
        return "" if self.slices == 1 else f"{noun} {self.position} of {self.slices}"


def read_overlay(
    image: Path | Volume | None,
    reference: Path,
    prediction: Path | None,
    labels: Mapping[str, Label] | None = None,
    ignore_label: int | None = None,
    is_picture: bool | None = None,
    spatial_units: SpatialUnits = "header",
) -> Overlay:
    """Read the slice with the most wrong voxels; where none is wrong, the one on which most is labelled.

    Slices are those across the axis on which voxels are thick, else axial ones. They are drawn in the radiological
    convention: the patient's right at the left edge, the front at the top of axial and at the left of sagittal slices.
    Pictures are drawn as they are.

    Args:
        image: the scan, or its file; of several channels the first is taken, of a picture its colours. None: the
            reference is drawn in greys.
        reference: its label map.
        prediction: the predicted label map; None: there is none, which is drawn as an empty one.
        labels: integers of each label or region; a voxel is wrong that belongs to other ones. None: every integer
            is a label.
        ignore_label: integer of the reference whose voxels are not judged.
        is_picture: whether the label maps are those of pictures, whatever they are stored as; None: the reference's
            format tells.
        spatial_units: what the sizes in the label maps' headers count in.

    Returns:
        The slice.

    Raises:
        OverlayError: the three do not have one shape, or the scan another place in the world.
        ImgMedError: the scan cannot be read.
        SegEvalError: a label map cannot be read.
    """
    grid = None
    if prediction is not None and is_placed_by_another(reference):
        grid = read_label_map(prediction, spatial_units=spatial_units)
    reference_map = read_label_map(reference, spatial_units=spatial_units, placed_on=grid)
    reference_labels = _three_axes(reference_map.array)
    predicted_labels = np.zeros_like(reference_labels)
    if prediction is not None:
        try:
            predicted = grid or read_label_map(prediction, spatial_units=spatial_units, placed_on=reference_map)
            maps = same_axes(reference_map, predicted)
            predicted_labels = _three_axes(on_grid_of(*maps).array)
        except ShapeMismatchError as error:
            raise OverlayError(f"{prediction} does not lie on the voxels of {reference}: {error}") from error
    if ignore_label is not None:
        predicted_labels = np.where(reference_labels == ignore_label, 0, predicted_labels)
        reference_labels = np.where(reference_labels == ignore_label, 0, reference_labels)
    is_picture = reference.name.lower().endswith(PICTURES) if is_picture is None else is_picture
    scan = (
        None
        if image is None
        else _read_scan(image, reference_labels.shape, None if is_picture else reference_map.affine)
    )
    arrays = [reference_labels, predicted_labels, *([scan] if scan is not None else [])]
    spacing = reference_map.spacing_mm
    if is_picture:
        axis, plane, edges = 2, "page", ("", "", "", "")
        size_mm = (spacing[0], spacing[1])
    else:
        arrays = [to_canonical(array, orientation_of(reference_map.affine)) for array in arrays]
        spacing = canonical_spacing(reference_map.affine)
        axis = _slice_axis(spacing, arrays[0].shape)
        across, up = (other for other in range(3) if other != axis)
        plane, edges, size_mm = PLANES[axis], (*EDGES[across], *EDGES[up]), (spacing[up], spacing[across])
    position = _worst_slice(arrays[0], arrays[1], axis, labels)
    planes = [np.take(array, position, axis=axis)[::-1] for array in arrays]
    planes = planes if is_picture else [np.swapaxes(plane_array, 0, 1) for plane_array in planes]
    return Overlay(
        image=planes[2].astype(np.float32) if scan is not None else _in_greys(planes[0]),
        reference=planes[0].astype(np.int64),
        prediction=planes[1].astype(np.int64),
        spacing_mm=size_mm,
        plane=plane,
        position=position + 1,
        slices=arrays[0].shape[axis],
        edges=edges,
        has_scan=scan is not None,
    )


def error_counts(overlay: Overlay, labels: Mapping[str, Label]) -> tuple[int, int, int]:
    """Count the wrong voxels of a slice: missed ones, ones too many, and ones under another label."""
    reference_labels, predicted_labels = (
        memberships(array, labels) for array in (overlay.reference, overlay.prediction)
    )
    wrong, in_reference, in_prediction = (
        reference_labels != predicted_labels,
        reference_labels != 0,
        predicted_labels != 0,
    )
    missed, extra, other = (
        in_reference & ~in_prediction,
        ~in_reference & in_prediction,
        wrong & in_reference & in_prediction,
    )
    return int(np.count_nonzero(missed)), int(np.count_nonzero(extra)), int(np.count_nonzero(other))


def _three_axes(array: np.ndarray) -> np.ndarray:
    return array[:, :, None] if array.ndim == 2 else array


def _read_scan(image: Path | Volume, shape: tuple[int, ...], affine: np.ndarray | None) -> np.ndarray:
    """Read the voxels of a scan that must lie on the grid of its label map; no affine: a picture, which has none."""
    volume = image if isinstance(image, Volume) else read_volume(image)
    array = volume.array
    if array.ndim == 4:
        array = array[..., :3] if affine is None and array.shape[3] >= 3 else array[..., 0]
    if array.shape[:3] != shape:
        raise OverlayError(f"{volume.origin} has shape {array.shape[:3]}, its label maps {shape}")
    if affine is not None:
        ends = np.array([[i, j, k, 1.0] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])])
        shift_mm = np.linalg.norm((ends @ (volume.affine - affine).T)[:, :3], axis=1).max()
        if shift_mm > _LARGEST_SHIFT * min(volume.spacing_mm):
            raise OverlayError(
                f"{volume.origin} has another affine than its label maps: corners are {shift_mm:.3g} mm apart"
            )
    return array


def memberships(label_map: np.ndarray, labels: Mapping[str, Label] | None) -> np.ndarray:
    """Replace each integer by a number for the set of labels and regions that it belongs to; 0: none.

    >>> memberships(np.array([0, 1, 2, 3]), {"whole": (1, 2), "core": 2}).tolist()
    [0, 1, 2, 0]
    """
    if labels is None:
        return label_map
    sets: dict[int, set[str]] = {}
    for name, label in labels.items():
        for value in label if isinstance(label, tuple) else (label,):
            sets.setdefault(value, set()).add(name)
    table = np.zeros(max(int(label_map.max(initial=0)), *sets) + 1, np.int32)
    numbers: dict[frozenset[str], int] = {}
    for value, names in sets.items():
        table[value] = numbers.setdefault(frozenset(names), len(numbers) + 1)
    found: np.ndarray = table[label_map]
    return found


def _worst_slice(
    reference_labels: np.ndarray, predicted_labels: np.ndarray, axis: int, labels: Mapping[str, Label] | None
) -> int:
    wrong = memberships(reference_labels, labels) != memberships(predicted_labels, labels)
    others = tuple(other for other in range(3) if other != axis)
    for mask in (wrong, reference_labels, predicted_labels):
        areas = np.count_nonzero(mask, axis=others)
        if areas.any():
            return int(np.argmax(areas))
    return int(reference_labels.shape[axis] // 2)


def _slice_axis(spacing_mm: tuple[float, float, float], shape: tuple[int, ...]) -> int:
    """Choose the axis of a single slice, else that of thick ones; the axial one where voxels are about cubes."""
    if shape.count(1) == 1:
        return shape.index(1)
    thickest = int(np.argmax(spacing_mm))
    others = [mm for axis, mm in enumerate(spacing_mm) if axis != thickest]
    return thickest if spacing_mm[thickest] > _THICK_SLICES * max(others) else 2


def _in_greys(label_map: np.ndarray) -> np.ndarray:
    """Shade labels in greys of their own, the background black."""
    values = np.unique(label_map)
    values = values[values != 0]
    greys = np.linspace(0.35, 0.75, max(values.size, 1))
    grey: np.ndarray = np.zeros(label_map.shape, np.float32)
    for value, shade in zip(values, greys, strict=False):
        grey[label_map == value] = shade
    return grey
