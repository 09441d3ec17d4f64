"""Which DICOM files make one series: without copies of a file, and where each slice was given a series of its own."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from imgmed.formats.dicom_file import checked_header, read_file
from imgmed.formats.dicom_geometry import Slice, normal_of

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["FEWEST_SLICES", "Member", "joined_slices", "without_copies"]

FEWEST_SLICES = 3
SAME_PLACE_MM = 1e-3
Member = tuple[Path, "Dataset"]


def without_copies(members: Sequence[Member]) -> list[Member]:
    """Return the files of a series, each image once.

    Two files hold the same image if they have the same SOPInstanceUID and the same bytes, or the same pixels where a
    header was changed; the one with the shorter name is kept ("1.dcm", not "1 (1).dcm").
    """
    kept: dict[str, list[Member]] = {}
    for path, dataset in sorted(members, key=lambda member: (len(member[0].name), member[0])):
        twins = kept.setdefault(str(dataset.get("SOPInstanceUID") or path), [])
        if not any(_is_copy(path, other) for other, _ in twins):
            twins.append((path, dataset))
    chosen = {path for twins in kept.values() for path, _ in twins}
    return [member for member in members if member[0] in chosen]


def _is_copy(path: Path, other: Path) -> bool:
    if filecmp.cmp(path, other, shallow=False):
        return True
    with checked_header(path):
        pixels = [read_file(file).get("PixelData") for file in (path, other)]
    return pixels[0] is not None and pixels[0] == pixels[1]


def joined_slices(series: Iterable[list[Member]]) -> list[list[Member]]:
    """Return the image series with those joined that are the slices of one volume.

    Programs that hide patients may give each file a SeriesInstanceUID of its own. Three files or more that are alone in
    their series, lie in one folder and agree in patient, kind, description, size and orientation are one series where
    they lie at different places.
    """
    joined: list[list[Member]] = []
    alone: dict[tuple[object, ...], list[Member]] = {}
    for members in series:
        key = _kind_of_slice(*members[0]) if len(members) == 1 else None
        if key is None:
            joined.append(members)
        else:
            alone.setdefault(key, []).append(members[0])
    for members in alone.values():
        is_volume = len(members) >= FEWEST_SLICES and _are_apart(members)
        joined += [members] if is_volume else [[member] for member in members]
    return joined


def _kind_of_slice(path: Path, dataset: Dataset) -> tuple[object, ...] | None:
    """What slices of one volume have in common; None for what has no place, or several frames."""
    with checked_header(path):
        part = Slice.of(path, dataset)
        orientation = None if part.orientation is None else tuple(part.orientation.round(3).ravel().tolist())
        if part.position is None or orientation is None or part.is_multi_frame:
            return None
        texts = tuple(str(dataset.get(tag, "")) for tag in ("PatientID", "Modality", "SeriesDescription"))
        return path.parent, *texts, part.rows, part.columns, part.samples, part.spacing_mm, orientation


def _are_apart(members: Sequence[Member]) -> bool:
    slices = [Slice.of(path, dataset) for path, dataset in members]
    normal = normal_of(slices)
    if normal is None:
        return False
    places = sorted(float(normal @ part.position) for part in slices if part.position is not None)
    return all(after - before > SAME_PLACE_MM for before, after in pairwise(places))
