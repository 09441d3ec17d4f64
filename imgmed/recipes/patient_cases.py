"""Cases in folders of patients: where they lie, what their images are called, and which of these are channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from imgmed.recipes.contents import Piece
from imgmed.recipes.names import SPLITS, split_of
from imgmed.recipes.structures import shared_structures, structure_name
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, VolumeSource

__all__ = [
    "PatientCase",
    "Place",
    "channel_name",
    "listed_pieces",
    "odd_problem",
    "patient_folders",
    "scan_name",
    "source_of",
    "usual_channels",
    "with_labels",
]

SEPARATORS = ("_", ".", "-", " ")
ONE_IMAGE = ("image",)
MOST_LISTED = 8


@dataclass(frozen=True)
class Place:
    """A folder that is one case: `patient` is None where the root itself is."""

    folder: str
    case_id: str
    patient: str | None


@dataclass(frozen=True)
class PatientCase:
    """The images of a case by name, and its label maps; () where none are wanted."""

    place: Place
    images: dict[str, VolumeSource]
    labels: tuple[Piece, ...] = ()


def patient_folders(tree: Tree) -> tuple[str, ...]:
    """Return the folders of the root, and those within train/, val/ and test/."""
    splits = [folder for folder in tree.folders if folder.lower() in SPLITS]
    inner = [f"{split}/{folder}" for split in splits for folder in tree.within(split).folders]
    return (*(folder for folder in tree.folders if folder.lower() not in SPLITS), *inner)


def channel_name(piece: Piece, place: Place) -> str:
    """Return the name of an image without the patient's: "p1_t1" of patient p1 is "t1"."""
    for owner in (place.case_id, place.patient or ""):
        start = piece.name[: len(owner)]
        if owner and start.lower() == owner.lower() and piece.name[len(owner) :].startswith(SEPARATORS):
            return piece.name[len(owner) :].lstrip("".join(SEPARATORS)) or piece.name
    return piece.name


def scan_name(image: str, patient: str | None) -> str:
    """Return what one of several scans of a patient is called: "p1_day1", whether its file is named so or "day1"."""
    if patient is None or (image.lower().startswith(patient.lower()) and image[len(patient) :].startswith(SEPARATORS)):
        return image
    return f"{patient}_{image}"


def usual_channels(cases: Sequence[PatientCase]) -> tuple[tuple[str, ...], list[PatientCase]]:
    """Return the names that most cases give to their images, and the cases that have other ones."""
    named = [(case, tuple(case.images) if len(case.images) > 1 else ONE_IMAGE) for case in cases]
    most = Counter(names for _, names in named).most_common(1)
    usual = most[0][0] if most else ()
    return usual, [case for case, names in named if names != usual]


def odd_problem(tree: Tree, case: PatientCase, channels: Sequence[str]) -> str:
    """Return the sentence about a case with other images than most."""
    return (
        f"{tree.path(case.place.folder)}: images {', '.join(case.images)}, but other cases have {', '.join(channels)};"
        " all cases need the same images"
    )


def with_labels(tree: Tree, cases: Sequence[PatientCase]) -> tuple[list[CaseSource], list[str]]:
    """Return the cases as a study holds them, and a sentence for each that has several label maps.

    Several files are one label map where they are masks of one structure each, as in most of the cases.
    """
    names = {number: _structures(case) for number, case in enumerate(cases)}
    shared = shared_structures(names)
    sources: list[CaseSource] = []
    problems: list[str] = []
    for number, case in enumerate(cases):
        files = tuple(file for piece in case.labels for file in piece.source.files)
        structures = tuple(name for name in names[number] if name is not None)
        if len(structures) == len(files) and shared.issuperset(structures):
            sources.append(source_of(case, VolumeSource(files, structures=structures)))
        elif len(case.labels) == 1:
            sources.append(source_of(case, case.labels[0].source))
        else:
            advice = "name each after its structure" if shared else "keep one of them in the folder"
            problems.append(
                f"{tree.path(case.place.folder)}: {len(case.labels)} label maps: {listed_pieces(case.labels)}; {advice}"
            )
    return sources, problems


def _structures(case: PatientCase) -> tuple[str | None, ...]:
    """What each label map of a case is the mask of, by its name."""
    if any(piece.series is not None or len(piece.source.files) > 1 for piece in case.labels):
        return (None,)
    names = [channel_name(piece, case.place) for piece in case.labels]
    for image in case.images:
        if all(name.startswith(tuple(f"{image}{end}" for end in SEPARATORS)) for name in names):
            names = [name[len(image) :].lstrip("".join(SEPARATORS)) for name in names]
    return tuple(None if name in case.images else name for name in map(structure_name, names))


def listed_pieces(pieces: Sequence[Piece]) -> str:
    """Return what a folder holds as a sentence has it."""
    shown = ", ".join(str(piece) for piece in pieces[:MOST_LISTED])
    return shown if len(pieces) <= MOST_LISTED else f"{shown} and {len(pieces) - MOST_LISTED} more"


def source_of(case: PatientCase, label: VolumeSource | None = None) -> CaseSource:
    """Return a case as a study holds it."""
    place = case.place
    return CaseSource(
        case_id=place.case_id,
        images=tuple(case.images.values()),
        label=label,
        patient=place.patient,
        split=split_of(place.folder.split("/")[:1]),
    )
