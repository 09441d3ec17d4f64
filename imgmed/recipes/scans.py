"""Scans in folders of patients, where labels are not wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from imgmed.recipes.contents import Piece, contents_of
from imgmed.recipes.layout import CaseList, Request
from imgmed.recipes.matching import scans_in_folder
from imgmed.recipes.patient_cases import (
    ONE_IMAGE,
    PatientCase,
    Place,
    channel_name,
    odd_problem,
    patient_folders,
    scan_name,
    source_of,
    usual_channels,
)
from imgmed.recipes.patient_names import is_visit
from imgmed.recipes.tree import Tree

__all__ = ["has_scans_in_folders", "scans_of_patients"]


def has_scans_in_folders(tree: Tree) -> bool:
    """Tell whether scans lie elsewhere than as volumes in the root: in folders, or as DICOM."""
    return bool(tree.dicom) or any(contents_of(tree, folder).images for folder in patient_folders(tree))


def scans_of_patients(tree: Tree, request: Request) -> tuple[CaseList, tuple[str, ...] | None]:
    """Return every scan of the tree as a case, and the names of its channels where all cases have the same several.

    Files that are called alike in the folders of several patients are the channels of one case, as with a label; each
    DICOM series is a case. Volumes in the root itself are cases too.
    """
    cases: list[PatientCase] = []
    series: list[PatientCase] = []
    problems: list[str] = []
    for folder in ("", *patient_folders(tree)):
        content = contents_of(tree, folder)
        images = [piece for piece in content.images if folder or not piece.place]
        problems += content.broken if folder or not tree.folders else ()
        if folder:
            cases += _cases_of_volumes(folder, [piece for piece in images if piece.series is None])
        described = request.series
        images = [piece for piece in images if described is None or piece.is_described(described)]
        series += _cases_of_series(tree, folder, [piece for piece in images if piece.series is not None])
    channels, odd = usual_channels(cases)
    if channels == ONE_IMAGE or (len(cases) > 1 and len(odd) == len(cases) - 1):
        channels = ()
        cases = [part for case in cases for part in _parts(case)]
    else:
        problems += [odd_problem(tree, case, channels) for case in odd]
        cases = [case for case in cases if case not in odd]
    flat = scans_in_folder(tree, "")
    sources = (*flat.sources, *map(source_of, (*cases, *series)))
    return CaseList(sources, (*flat.problems, *problems)), channels or None


def _cases_of_volumes(folder: str, volumes: Sequence[Piece]) -> Iterator[PatientCase]:
    """The volumes of a patient as one case; several where folders hold files of the same names or names tell visits."""
    patient = folder.rpartition("/")[2]
    is_repeated = len({piece.name for piece in volumes}) < len(volumes)
    visits: dict[str, list[Piece]] = {}
    for piece in volumes:
        visits.setdefault(piece.place if is_repeated else folder, []).append(piece)
    for visit, pieces in visits.items():
        inner = visit.removeprefix(folder).strip("/").replace("/", "_")
        place = Place(visit, f"{patient}_{inner}" if inner else patient, patient)
        case = PatientCase(place, {channel_name(piece, place): piece.source for piece in pieces})
        yield from _parts(case) if len(case.images) > 1 and all(map(is_visit, case.images)) else [case]


def _cases_of_series(tree: Tree, folder: str, pieces: Sequence[Piece]) -> Iterator[PatientCase]:
    """Each DICOM series of a patient: called as the patient, with its folder or a number where there are several."""
    patient = folder.rpartition("/")[2]
    name = patient or tree.root.resolve().name
    places = Counter(piece.place for piece in pieces)
    for number, piece in enumerate(pieces, start=1):
        inner = piece.place.removeprefix(folder).strip("/").replace("/", "_")
        end = "" if len(pieces) == 1 else f"_{inner}" if inner and places[piece.place] == 1 else f"_{number}"
        place = Place(piece.place, f"{name}{end}", patient or None)
        yield PatientCase(place, {piece.name: piece.source})


def _parts(case: PatientCase) -> Iterator[PatientCase]:
    """The images of a case as cases of their own."""
    place = case.place
    for name, source in case.images.items():
        case_id = place.case_id if len(case.images) == 1 else scan_name(name, place.case_id)
        yield PatientCase(Place(place.folder, case_id, place.patient), {name: source})
