"""One folder per patient, with images and a label map inside, of any format."""

from __future__ import annotations

from collections.abc import Sequence

from imgmed.recipes.contents import Contents, Piece, contents_of
from imgmed.recipes.layout import BY_CONTENT, Recipe, Request
from imgmed.recipes.matching import flat_folders, match_in_folder, match_names
from imgmed.recipes.pairs import label_names
from imgmed.recipes.patient_cases import (
    PatientCase,
    Place,
    channel_name,
    listed_pieces,
    odd_problem,
    patient_folders,
    scan_name,
    usual_channels,
    with_labels,
)
from imgmed.recipes.scans import has_scans_in_folders, scans_of_patients
from imgmed.recipes.tree import Tree
from imgmed.study import Study, duplicate_problems

__all__ = ["RECIPE"]


def _find(tree: Tree, request: Request) -> Study | None:
    if request.is_unlabelled:
        return _find_scans(tree, request)
    contents = {folder: contents_of(tree, folder) for folder in patient_folders(tree)}
    if not any(content.is_complete for content in contents.values()):
        if not request.is_named and any(match_in_folder(tree, place).sources for place in flat_folders(tree)):
            return None
        contents = {"": contents_of(tree, "")}
        if not contents[""].is_complete or _is_wrapper(tree):
            return None
    elif _is_wrapper(tree):
        return None
    problems = [problem for content in contents.values() for problem in content.broken]
    cases: list[PatientCase] = []
    for folder, content in contents.items():
        for place, part in _visits(tree, folder, content):
            case = _read_case(tree, place, part, request)
            if isinstance(case, str):
                problems.append(case)
            elif case is not None:
                cases.append(case)
    channels, odd = usual_channels(cases)
    problems += [odd_problem(tree, case, channels) for case in odd]
    sources, faults = with_labels(tree, [case for case in cases if case not in odd])
    is_single = list(contents) == [""]
    reason = "the folder of one patient" if is_single else f"a folder for each of {len(contents)} patients"
    return Study(
        name=tree.root.resolve().name,
        root=tree.root,
        recipe=RECIPE.name,
        sources=tuple(sources),
        channels=channels if len(channels) > 1 else None,
        labels=label_names(tree),
        problems=(*problems, *faults, *duplicate_problems(sources)),
        reason=reason,
        patients=tuple(folder.rpartition("/")[2] or tree.root.resolve().name for folder in contents),
    )


def _find_scans(tree: Tree, request: Request) -> Study | None:
    if _is_wrapper(tree) or not has_scans_in_folders(tree):
        return None
    cases, channels = scans_of_patients(tree, request)
    if not cases.sources:
        return None
    return Study(
        name=tree.root.resolve().name,
        root=tree.root,
        recipe=RECIPE.name,
        sources=cases.sources,
        channels=channels,
        labels=label_names(tree),
        problems=(*cases.problems, *duplicate_problems(cases.sources)),
        reason="scans in folders",
        patients=tuple(dict.fromkeys(source.patient for source in cases.sources if source.patient is not None)),
    )


def _is_wrapper(tree: Tree) -> bool:
    """Whether all that the root holds is one folder of pairs, or of folders: it is not one patient."""
    if len(tree.folders) != 1 or any("/" not in name for name in (*tree.volumes, *tree.dicom)):
        return False
    if match_in_folder(tree, tree.folders[0]).sources:
        return True
    inner = tree.within(tree.folders[0])
    return len(inner.folders) > 1 and not any("/" not in name for name in (*inner.volumes, *inner.dicom))


def _visits(tree: Tree, folder: str, content: Contents) -> list[tuple[Place, Contents]]:
    """The folder as one case; or its folders as one case each where every image has its label in there."""
    *_, name = folder.split("/")
    parts = content.by_folder(folder)
    complete = {sub: part for sub, part in parts.items() if part.is_complete}
    if len(complete) > 1 and all(sub in complete or not part.labels for sub, part in parts.items()):
        return [(Place(f"{folder}/{sub}", f"{name}_{sub}", name), part) for sub, part in complete.items()]
    pairs = _pairs_within(content)
    if len(pairs) > 1:
        return [
            (Place(folder, scan_name(image.name, name or None), name or None), Contents((image, label)))
            for image, label in pairs
        ]
    own = name or tree.root.resolve().name
    return [(Place(folder, own, name or None), content)]


def _pairs_within(content: Contents) -> list[tuple[Piece, Piece]]:
    """The pairs of several scans of one patient, where names tell of every label map what it belongs to."""
    pieces = {piece.name: piece for piece in content.pieces}
    if len(pieces) < len(content.pieces) or any(piece.series is not None for piece in content.pieces):
        return []
    pairs, _ = match_names(list(pieces))
    if len(pairs) < len(content.labels):
        return []
    return [(pieces[image], pieces[label]) for image, label in pairs.items()]


def _read_case(tree: Tree, place: Place, content: Contents, request: Request) -> PatientCase | str | None:
    """Return the case, a sentence about what is wrong with it, or None for a folder without anything to read."""
    where = tree.path(place.folder)
    images, labels = list(content.images), list(content.labels)
    if request.series is not None:
        images = [image for image in images if image.series is None or image.is_described(request.series)]
    if any(label.series is not None for label in labels):
        images = [image for image in images if image.series is not None] or images
        labels = [label for label in labels if label.series is not None]
        referenced = {uid for label in labels for uid in label.references}
        images = [image for image in images if image.uid in referenced] or images
    elif any(image.series is None for image in images):
        images = [image for image in images if image.series is None]
    if not images and not labels:
        return None
    if not labels:
        return f"{where}: image without a label; found {listed_pieces(images)}"
    if not images:
        asked = f" whose description matches {request.series!r}" if request.series and content.images else ""
        return f"{where}: label without an image{asked}; found {listed_pieces([*labels, *content.images])}"
    if len(images) > 1 and images[0].series is not None:
        return (
            f"{where}: {len(images)} image series: {listed_pieces(images)}; choose one by a part of its description,"
            " such as --series 'thorax.*1 mm' (preparation.series)"
        )
    named = {channel_name(image, place): image.source for image in images}
    return PatientCase(place, named, tuple(_labels_of(images, labels)))


def _labels_of(images: Sequence[Piece], labels: Sequence[Piece]) -> list[Piece]:
    """The label that belongs to the images, where references or names tell; otherwise all."""
    if images[0].uid:
        referring = [label for label in labels if images[0].uid in label.references]
        return referring or [label for label in labels if not label.references] or list(labels)
    if len(labels) > 1 and len(images) == 1:
        best = match_names([images[0].name, *(label.name for label in labels)])[0].get(images[0].name)
        return [label for label in labels if label.name == best] or list(labels)
    return list(labels)


RECIPE = Recipe(
    name="patients",
    layout="a folder for each patient with image and label map inside: NIfTI, NRRD, MetaImage, or a DICOM series with"
    " a SEG, an RTSTRUCT or a label map",
    rank=BY_CONTENT,
    find=_find,
)
