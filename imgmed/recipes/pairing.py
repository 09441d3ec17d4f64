"""Image and label folders: which files in them belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from imgmed.errors import SourceLayoutError
from imgmed.formats import case_stem
from imgmed.recipes.channels import group_channels
from imgmed.recipes.contents import dicom_pieces
from imgmed.recipes.layout import CaseList
from imgmed.recipes.names import (
    SPLITS,
    distinct_names,
    label_name,
    plain_name,
    split_of,
    without_image_word,
)
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, VolumeSource

__all__ = ["folder_pairs", "has_volumes", "image_folders", "pair_folders", "scans_in_folders"]

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
TEST_IMAGES = "imagests"  # nnU-Net and the Decathlon
Volumes = dict[str, VolumeSource]


def folder_pairs(tree: Tree) -> tuple[tuple[str, str], ...]:
    """Return the image and label folders of a tree; only the first kind of names that occurs is taken."""
    actual = {folder.lower(): folder for folder in tree.all_folders}
    for images, labels in FOLDERS:
        pairs = []
        for folder in tree.all_folders:
            above, _, name = folder.rpartition("/")
            partner = f"{above}/{labels}" if above else labels
            if name.lower() == images.lower() and partner.lower() in actual:
                pairs.append((folder, actual[partner.lower()]))
        if pairs:
            return tuple(pairs)
    return ()


def image_folders(tree: Tree) -> tuple[str, ...]:
    """Return the folders that hold images by their names, with or without label folders beside them."""
    names = {images.lower() for images, _ in FOLDERS[:-3]} | {TEST_IMAGES, "volumes"}
    folders = [folder for folder in tree.all_folders if folder.rpartition("/")[2].lower() in names]
    return tuple(folder for folder in folders if not any(folder.startswith(f"{other}/") for other in folders))


def has_volumes(tree: Tree, folders: Sequence[str]) -> bool:
    """Tell whether anything that can be read lies below one of the folders."""
    readable = tree.volume_names | tree.dicom_names
    return any(name in readable for folder in folders for name in tree.below(folder))


def pair_folders(tree: Tree, folders: Sequence[tuple[str, str]]) -> CaseList:
    """Pair the volumes of image and label folders by the stems of their names.

    "case.nii.gz" meets "case.nii.gz" or "case.nii"; images "case_0000.nii.gz", "case_0001.nii.gz" ... are the
    channels of "case.nii.gz" (nnU-Net). What has no partner of its name meets the one that is called so but for the
    word for a label or an image ("x" and "x_seg", "x_image" and "x_label"). Files in folders below meet by the whole
    path; such a folder, or the one that holds a pair of several, is the patient. A folder of DICOM files is a volume
    named by the folder.

    Raises:
        SourceLayoutError: no folder holds a volume.
    """
    sources: list[CaseSource] = []
    problems: list[str] = []
    for images, labels in folders:
        image_files, image_problems = _volumes_below(tree, images)
        label_files, label_problems = _volumes_below(tree, labels)
        problems += [*image_problems, *label_problems]
        grouped, gaps = group_channels(image_files, label_files)
        problems += gaps
        partners = _partners(grouped, label_files)
        for key, volumes in grouped.items():
            if key in partners:
                sources.append(_case(images, key, volumes, label_files[partners[key]], len(folders) > 1))
            else:
                expected = f"{tree.path(labels) / key}{_suffix_of(volumes[0])}"
                problems.append(f"{volumes[0]}: image without a label; expected {expected}")
        for key, label in label_files.items():
            if key not in partners.values():
                expected = f"{tree.path(images) / key}{_suffix_of(label)}"
                problems.append(f"{label}: label without an image; expected {expected}")
    if not sources and not problems:
        where = " and ".join(str(tree.path(folder)) for folder in folders[0])
        raise SourceLayoutError(f"no image/label pairs in {where}: neither holds a volume or a picture")
    return CaseList(_named(sources), tuple(problems))


def scans_in_folders(tree: Tree, folders: Sequence[str]) -> CaseList:
    """Return every image in the folders as a case without a label, called as `pair_folders` would call it."""
    sources: list[CaseSource] = []
    problems: list[str] = []
    for folder in folders:
        volumes, faults = _volumes_below(tree, folder)
        problems += faults
        grouped, gaps = group_channels(volumes, {})
        problems += gaps
        for key, files in grouped.items():
            sources.append(_case(folder, key, files, None, len(folders) > 1))
    return CaseList(_named(sources), tuple(problems))


def _volumes_below(tree: Tree, folder: str) -> tuple[Volumes, list[str]]:
    """The volumes below a folder by their paths without suffix, and what is wrong with some."""
    volumes: Volumes = {}
    problems = []
    start = f"{folder}/"
    for name in tree.below(folder):
        if name in tree.volume_names:
            key = tree.stems[name].removeprefix(start)
            other = volumes.setdefault(key, VolumeSource((tree.path(name),)))
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
            volumes.setdefault(key, pieces[0].source)
        elif pieces:
            listed = ", ".join(map(str, pieces))
            problems.append(f"{files[0].parent}: {len(pieces)} DICOM series: {listed}; keep one of them there")
    return volumes, problems


def _partners(images: Iterable[str], labels: Iterable[str]) -> dict[str, str]:
    """{image: label} by their names: equal ones first, then those that differ by a word, each meeting one other."""
    images, labels = list(images), list(labels)
    partners = {image: image for image in images if image in set(labels)}
    for name_of_image, name_of_label in RULES:
        taken = set(partners.values())
        by_image = _unique({image: name_of_image(image) for image in images if image not in partners})
        by_label = _unique({label: name_of_label(label) for label in labels if label not in taken})
        partners |= {image: by_label[name] for name, image in by_image.items() if name in by_label}
    return partners


def _unique(names: Mapping[str, str]) -> dict[str, str]:
    """{name: what is called so} of the names that only one has; nothing meets by no name."""
    counts = Counter(names.values())
    return {name: key for key, name in names.items() if name and counts[name] == 1}


def _as_it_is(key: str) -> str:
    return key


def _without_label_word(key: str) -> str:
    folder, _, stem = key.rpartition("/")
    label = label_name(stem)
    return key if label is None else f"{folder}/{label.base}{label.rest}".strip("/")


def _without_image_word(key: str) -> str:
    folder, _, stem = key.rpartition("/")
    return f"{folder}/{without_image_word(stem)}".strip("/")


def _plain(key: str) -> str:
    folder, _, stem = key.rpartition("/")
    return f"{folder}/{plain_name(stem)}".strip("/").lower()


def _folder_or_name(key: str) -> str:
    return key.rpartition("/")[0] or key


RULES = (
    (_as_it_is, _without_label_word),
    (_without_image_word, _as_it_is),
    (_without_image_word, _without_label_word),
    (_plain, _plain),
    (_folder_or_name, _folder_or_name),
)


def _case(
    folder: str, key: str, images: tuple[VolumeSource, ...], label: VolumeSource | None, is_one_of_several: bool
) -> CaseSource:
    above, below = PurePosixPath(folder).parts[:-1], PurePosixPath(key).parts[:-1]
    owners = [part for part in above if part.lower() not in SPLITS] if is_one_of_several else []
    inner = [part for part in below if part.lower() not in SPLITS]
    return CaseSource(
        case_id="/".join((*above, key)),
        images=images,
        label=label,
        patient=inner[0] if inner else "_".join(owners) or None,
        split=split_of((*above, *below)),
    )


def _named(sources: Sequence[CaseSource]) -> tuple[CaseSource, ...]:
    """Cases named by the last part of their path, or by all of it where that repeats: p1/001 and p2/001."""
    names = distinct_names([source.case_id for source in sources])
    return tuple(replace(source, case_id=name) for source, name in zip(sources, names, strict=True))


def _suffix_of(source: VolumeSource) -> str:
    return "" if len(source.files) > 1 else source.path.name[len(case_stem(source.path)) :]
