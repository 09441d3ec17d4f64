"""Pairs: two folders whose files have equal names, or one folder whose names differ by a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from imgmed.errors import LabelError, SourceLayoutError
from imgmed.formats import case_stem, known_suffixes
from imgmed.labels import parse_labels
from imgmed.recipes.layout import BY_CONTENT, BY_FOLDERS, Recipe, Request, stem_path
from imgmed.recipes.matching import match_in_folder
from imgmed.recipes.names import SPLITS, channel_number, split_of
from imgmed.recipes.tree import Tree
from imgmed.storage import read_json
from imgmed.study import CaseSource, Study, VolumeSource, duplicate_problems

__all__ = ["RECIPES", "folder_pairs", "label_names", "pair_folders"]

FOLDERS = (
    ("images", "labels"),
    ("imagesTr", "labelsTr"),
    ("images", "masks"),
    ("image", "label"),
    ("image", "mask"),
    ("images", "segmentations"),
    ("images", "annotations"),
    ("imgs", "masks"),
    ("img", "mask"),
    ("img", "label"),
    ("ct", "seg"),
    ("volumes", "labels"),
    ("volumes", "segmentations"),
)
NAME = "pairs"
LABEL_NAMES = "labels.json"


def folder_pairs(tree: Tree) -> tuple[tuple[str, str], ...]:
    """Return the image and label folders of a tree; only the first kind of names that occurs is taken."""
    folders = dict.fromkeys(parent.as_posix() for name in tree.files for parent in PurePosixPath(name).parents)
    for images, labels in FOLDERS:
        found = [
            (folder, sibling)
            for folder in folders
            if PurePosixPath(folder).name.lower() == images.lower()
            for sibling in folders
            if sibling.lower() == PurePosixPath(folder).with_name(labels).as_posix().lower()
        ]
        if found:
            return tuple(found)
    return ()


def pair_folders(tree: Tree, folders: Sequence[tuple[str, str]]) -> tuple[tuple[CaseSource, ...], tuple[str, ...]]:
    """Pair the volumes of image and label folders by the stems of their names.

    "case.nii.gz" meets "case.nii.gz" or "case.nii"; images "case_0000.nii.gz", "case_0001.nii.gz" ... are the
    channels of "case.nii.gz" (nnU-Net). Files in folders below meet by the whole path; such a folder, or the one
    that holds a pair of several, is the patient.

    Returns:
        The cases, and a sentence for each file without partner.

    Raises:
        SourceLayoutError: no folder holds a volume.
    """
    sources: list[CaseSource] = []
    problems: list[str] = []
    for images, labels in folders:
        image_files, image_problems = _by_stem(tree, images)
        label_files, label_problems = _by_stem(tree, labels)
        problems += [*image_problems, *label_problems]
        grouped = _grouped_by_case(image_files, label_files)
        for key, names in grouped.items():
            if key in label_files:
                sources.append(_case(tree, images, key, names, label_files[key], len(folders) > 1))
            else:
                expected = f"{tree.path(labels) / key}{_suffix_of(names[0])}"
                problems.append(f"{tree.path(names[0])}: image without a label; expected {expected}")
        for key, name in label_files.items():
            if key not in grouped:
                expected = f"{tree.path(images) / key}{_suffix_of(name)}"
                problems.append(f"{tree.path(name)}: label without an image; expected {expected}")
    if not sources and not problems:
        where = " and ".join(str(tree.path(folder)) for folder in folders[0])
        raise SourceLayoutError(
            f"no image/label pairs in {where}: neither holds a volume or picture ({', '.join(known_suffixes())})"
        )
    return _with_own_names(sources, tree, [images for images, _ in folders]), tuple(problems)


def label_names(tree: Tree) -> dict[str, int] | None:
    """Return the names of labels from labels.json in the root, or None.

    Raises:
        LabelError: the file is no such mapping.
    """
    if LABEL_NAMES not in tree.files:
        return None
    path = tree.path(LABEL_NAMES)
    try:
        declared = read_json(path)
    except ValueError as error:
        raise LabelError(f"{path}: not valid JSON ({error})") from error
    return parse_labels(declared, str(path))


def _find_folders(tree: Tree, request: Request) -> Study | None:
    del request  # nothing to choose
    folders = folder_pairs(tree)
    if not folders:
        return None
    sources, problems = pair_folders(tree, folders)
    return _study(tree, sources, problems, f"folders {' and '.join(f'{folder}/' for folder in folders[0])}")


def _find_names(tree: Tree, request: Request) -> Study | None:
    del request  # nothing to choose
    sources, problems = _pairs_by_name(tree)
    if not sources:
        return None
    example = next(source.label for source in sources if source.label is not None)
    return _study(tree, sources, problems, f"label maps named after their images, like {example.path.name}")


def _study(tree: Tree, sources: Sequence[CaseSource], problems: Sequence[str], reason: str) -> Study:
    return Study(
        name=tree.root.resolve().name,
        root=tree.root,
        recipe=NAME,
        sources=tuple(sources),
        labels=label_names(tree),
        problems=(*problems, *duplicate_problems(sources)),
        reason=reason,
    )


def _pairs_by_name(tree: Tree) -> tuple[tuple[CaseSource, ...], tuple[str, ...]]:
    """Pairs within the root, or within the folders of splits directly below it."""
    places = ["", *(folder for folder in tree.folders if folder.lower() in SPLITS)]
    sources: list[CaseSource] = []
    problems: list[str] = []
    for place in places:
        found, faults = match_in_folder(tree, place)
        sources += found
        problems += faults
    return tuple(sources), tuple(problems)


def _by_stem(tree: Tree, folder: str) -> tuple[dict[str, str], list[str]]:
    files: dict[str, str] = {}
    problems = []
    for name in tree.volumes:
        if not name.startswith(f"{folder}/"):
            continue
        other = files.setdefault(stem_path(name)[len(folder) + 1 :], name)
        if other != name:
            problems.append(f"{tree.path(name)}: same case name as {Path(other).name}; keep one of them")
    return files, problems


def _grouped_by_case(images: dict[str, str], labels: dict[str, str]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for stem, name in images.items():
        channel = channel_number(stem)
        case = channel[0] if channel and stem not in labels and channel[0] in labels else stem
        grouped[case] = (*grouped.get(case, ()), name)
    return grouped


def _case(tree: Tree, folder: str, key: str, images: Sequence[str], label: str, is_one_of_several: bool) -> CaseSource:
    above, below = PurePosixPath(folder).parts[:-1], PurePosixPath(key).parts[:-1]
    owners = [part for part in above if part.lower() not in SPLITS] if is_one_of_several else []
    patient = below[0] if below else "_".join(owners) or None
    return CaseSource(
        case_id=key,
        images=tuple(VolumeSource((tree.path(name),)) for name in images),
        label=VolumeSource((tree.path(label),)),
        patient=patient,
        split=split_of((*above, *below)),
    )


def _with_own_names(sources: Sequence[CaseSource], tree: Tree, folders: Sequence[str]) -> tuple[CaseSource, ...]:
    """Cases named by the stem of their file, or by the path where stems repeat: p1/001 and p2/001."""
    stems = Counter(PurePosixPath(source.case_id).name for source in sources)
    named = []
    for source in sources:
        stem = PurePosixPath(source.case_id).name
        if stems[stem] > 1:
            place = source.images[0].path.parent.relative_to(tree.root)
            parts = [part for part in place.parts if not any(part == PurePosixPath(f).name for f in folders)]
            stem = "_".join([*parts, stem])
        named.append(replace(source, case_id=stem))
    return tuple(named)


def _suffix_of(name: str) -> str:
    path = Path(name)
    return path.name[len(case_stem(path)) :]


RECIPES = (
    Recipe(
        name=NAME,
        layout="folders images/ and labels/ (imagesTr/ and labelsTr/, images/ and masks/ ...) with files of equal"
        ' names, and optionally labels.json like {"liver": 1}',
        rank=BY_FOLDERS,
        find=_find_folders,
    ),
    Recipe(
        name=NAME,
        layout="scan.nii.gz beside scan_seg.nii.gz (or _label, _mask ...)",
        rank=BY_CONTENT,
        find=_find_names,
    ),
)
