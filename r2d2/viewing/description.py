"""What a page must know of a case before it shows it: planes, labels with colours, where to begin."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from imgmed.geometry import orientation_of, to_canonical
from r2d2.errors import R2D2Error
from r2d2.reports.palette import colours_of
from r2d2.viewing.browser_volume import thinning
from r2d2.viewing.case import LAYERS, Layer, ViewedCase
from r2d2.viewing.pictures import window_of
from r2d2.viewing.planes import PAGE, PLANES, Plane, plane_names, plane_of, usual_plane
from r2d2.viewing.reader import CaseReader

__all__ = ["CaseDescription", "describe_case", "label_colours"]


@dataclass(frozen=True)
class CaseDescription:
    """A case as a page shows it.

    Attributes:
        planes: that it can be cut in.
        begin: the number of the first slice that is shown, of each plane: that with the most labelled voxels.
        plane: the first that is shown.
        window: intensities that are black and white.
        shape: voxels along the file's axes.
        spacing_mm: along the same; None: a picture.
        steps: of so many voxels along each axis the browser gets one, unless it asks for all.
        layers: label maps that there are.
        labels: name, value, colour.
        notes: what is to be said.
    """

    planes: tuple[Plane, ...]
    begin: dict[str, int]
    plane: str
    window: tuple[float, float]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    steps: tuple[int, int, int]
    layers: tuple[Layer, ...]
    labels: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return asdict(self)


def label_colours(case: ViewedCase) -> dict[str, str]:
    """Give the colour of each label of a case."""
    return colours_of(case.labels)


def describe_case(case: ViewedCase, reader: CaseReader, channel: int = 0) -> CaseDescription:
    """Look at a case: its scan and its label maps are read.

    Args:
        case: which.
        reader: reads it.
        channel: whose intensities are meant.

    Raises:
        R2D2Error: the scan cannot be read.
    """
    scan = reader.scan(case, channel)
    volume = scan.volume
    planes = tuple(plane_of(name, volume.shape, volume.affine) for name in plane_names(case.is_picture))
    maps, notes = {}, [scan.note] if scan.note else []
    for layer in LAYERS:
        if case.file_of(layer) is not None:
            try:
                maps[layer] = reader.label_map(case, layer)
            except (R2D2Error, OSError) as error:
                notes.append(f"The {layer} cannot be shown: {error}")
    colours = label_colours(case)
    return CaseDescription(
        planes=planes,
        begin={plane.name: _fullest(list(maps.values()), volume.affine, plane) for plane in planes},
        plane=usual_plane(volume.shape, volume.affine, case.is_picture),
        window=window_of(volume.array),
        shape=volume.shape,
        spacing_mm=None if case.is_picture else volume.spacing_mm,
        steps=thinning(volume.shape, volume.spacing_mm),
        layers=tuple(maps),
        labels=tuple({"name": name, "value": value, "colour": colours[name]} for name, value in case.labels.items()),
        notes=tuple(notes),
    )


def _fullest(maps: list[np.ndarray], affine: np.ndarray, plane: Plane) -> int:
    """The slice with the most labelled voxels of the first label map that has any; else the middle one."""
    for array in maps:
        turned = array if plane.name == PAGE else to_canonical(array, orientation_of(affine))
        axis = 2 if plane.name == PAGE else PLANES.index(plane.name)
        areas = np.count_nonzero(turned, axis=tuple(other for other in range(3) if other != axis))
        if areas.any():
            return int(np.argmax(areas))
    return plane.slices // 2
