"""Pairs: two folders whose files have equal names, or one folder whose names differ by a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from imgmed.errors import LabelError, SourceLayoutError
from imgmed.formats import case_stem, known_suffixes
from imgmed.labels import parse_labels
from imgmed.recipes.contents import dicom_pieces
from imgmed.recipes.layout import BY_CONTENT, BY_FOLDERS, Recipe, Request
from imgmed.recipes.matching import match_in_folder
from imgmed.recipes.names import SPLITS, channel_number, split_of
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, Study, VolumeSource, duplicate_problems
from r2d2_base.files import read_json

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
    actual = {folder.lower(): folder for folder in tree.all_folders}
    for images, labels in FOLDERS:
        found = []
        for folder in tree.all_folders:
            above, _, name = folder.rpartition("/")
            wanted = f"{above}/{labels}" if above else labels
            if name.lower() == images.lower() and wanted.lower() in actual:
                found.append((folder, actual[wanted.lower()]))
        if found:
            return tuple(found)
    return ()


def pair_folders(tree: Tree, folders: Sequence[tuple[str, str]]) -> tuple[tuple[CaseSource, ...], tuple[str, ...]]:
    """Pair the volumes of image and label folders by the stems of their names.

    "case.nii.gz" meets "case.nii.gz" or "case.nii"; images "case_0000.nii.gz", "case_0001.nii.gz" ... are the
    channels of "case.nii.gz" (nnU-Net). Files in folders below meet by the whole path; such a folder, or the one
    that holds a pair of several, is the patient. A folder of DICOM files is a volume named by the folder.

    Returns:
        The cases, and a sentence for each file without partner.

    Raises:
        SourceLayoutError: no folder holds a volume.
    """
    sources: list[CaseSource] = []
    problems: list[str] = []
    for images, labels in folders:
        image_files, image_problems = _volumes_below(tree, images)
        label_files, label_problems = _volumes_below(tree, labels)
        problems += [*image_problems, *label_problems]
        grouped = _grouped_by_case(image_files, label_files)
        for key, volumes in grouped.items():
            if key in label_files:
                sources.append(_case(images, key, volumes, label_files[key], len(folders) > 1))
            else:
                expected = f"{tree.path(labels) / key}{_suffix_of(volumes[0])}"
                problems.append(f"{volumes[0]}: image without a label; expected {expected}")
        for key, label in label_files.items():
            if key not in grouped:
                problems.append(
                    f"{label}: label without an image; expected {tree.path(images) / key}{_suffix_of(label)}"
                )
    if not sources and not problems:
        where = " and ".join(str(tree.path(folder)) for folder in folders[0])
        raise SourceLayoutError(
            f"no image/label pairs in {where}: neither holds a volume or picture ({', '.join(known_suffixes())})"
        )
    return _with_short_names(sources), tuple(problems)


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
    may_be_patients = any("/" in images for images, _ in folders) or bool(tree.dicom)
    if may_be_patients and not any(_has_volumes(tree, pair) for pair in folders):
        return None
    sources, problems = pair_folders(tree, folders)
    if may_be_patients and not sources:
        return None  # such as p1/ct/ and p1/seg/: folders of a patient
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


def _has_volumes(tree: Tree, pair: tuple[str, str]) -> bool:
    readable = tree.volume_names | tree.dicom_names
    return any(name in readable for folder in pair for name in tree.below(folder))


def _volumes_below(tree: Tree, folder: str) -> tuple[dict[str, VolumeSource], list[str]]:
    """The volumes below a folder by their paths without suffix, and what is wrong with some."""
    found: dict[str, VolumeSource] = {}
    problems = []
    start = f"{folder}/"
    for name in tree.below(folder):
        if name in tree.volume_names:
            key = tree.stems[name].removeprefix(start)
            other = found.setdefault(key, VolumeSource((tree.path(name),)))
            if other.path != tree.path(name):
                problems.append(f"{tree.path(name)}: same case name as {other.path.name}; keep one of them")
    series: dict[str, list[Path]] = {}
    for name in tree.below(folder):
        if name in tree.dicom_names:
            place = PurePosixPath(name).parent.as_posix()
            key = tree.stems[name] if place == folder else place
            series.setdefault(key.removeprefix(start), []).append(tree.path(name))
    for key, files in series.items():
        pieces, broken = dicom_pieces(tree, files)
        problems += broken
        if len(pieces) == 1:
            found.setdefault(key, pieces[0].source)
        elif pieces:
            listed = ", ".join(map(str, pieces))
            problems.append(f"{files[0].parent}: {len(pieces)} DICOM series: {listed}; keep one of them there")
    return found, problems


def _grouped_by_case(
    images: dict[str, VolumeSource], labels: dict[str, VolumeSource]
) -> dict[str, tuple[VolumeSource, ...]]:
    grouped: dict[str, tuple[VolumeSource, ...]] = {}
    for stem, volume in images.items():
        channel = channel_number(stem)
        case = channel[0] if channel and stem not in labels and channel[0] in labels else stem
        grouped[case] = (*grouped.get(case, ()), volume)
    return grouped


def _case(
    folder: str, key: str, images: tuple[VolumeSource, ...], label: VolumeSource, is_one_of_several: bool
) -> CaseSource:
    above, below = PurePosixPath(folder).parts[:-1], PurePosixPath(key).parts[:-1]
    owners = [part for part in above if part.lower() not in SPLITS] if is_one_of_several else []
    return CaseSource(
        case_id="/".join((*above, key)),
        images=images,
        label=label,
        patient=below[0] if below else "_".join(owners) or None,
        split=split_of((*above, *below)),
    )


def _with_short_names(sources: Sequence[CaseSource]) -> tuple[CaseSource, ...]:
    """Cases named by the last part of their path, or by all of it where that repeats: p1/001 and p2/001."""
    last = Counter(PurePosixPath(source.case_id).name for source in sources)
    return tuple(
        replace(source, case_id=name if last[name] == 1 else source.case_id.replace("/", "_"))
        for source in sources
        for name in (PurePosixPath(source.case_id).name,)
    )


def _suffix_of(source: VolumeSource) -> str:
    return "" if len(source.files) > 1 else source.path.name[len(case_stem(source.path)) :]


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
