"""Cases in folders of patients: where they lie, what their images are called, and which of these are channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from imgmed.recipes.contents import Piece
from imgmed.recipes.names import SPLITS, split_of
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, VolumeSource

__all__ = ["PatientCase", "Place", "channel_name", "odd_problem", "patient_folders", "source_of", "usual_channels"]

SEPARATORS = ("_", ".", "-", " ")
ONE_IMAGE = ("image",)


@dataclass(frozen=True)
class Place:
    """A folder that is one case: `patient` is None where the root itself is."""

    folder: str
    case_id: str
    patient: str | None


@dataclass(frozen=True)
class PatientCase:
    """The images of a case by name, and its label; None where labels are not wanted."""

    place: Place
    images: dict[str, VolumeSource]
    label: VolumeSource | None


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


def source_of(case: PatientCase) -> CaseSource:
    """Return the case as a study holds it."""
    place = case.place
    return CaseSource(
        case_id=place.case_id,
        images=tuple(case.images.values()),
        label=case.label,
        patient=place.patient,
        split=split_of(place.folder.split("/")[:1]),
    )
