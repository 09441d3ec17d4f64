"""Image and label folders: which files in them belong together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from imgmed.errors import SourceLayoutError
from imgmed.formats import case_stem
from imgmed.recipes.channels import group_channels
from imgmed.recipes.contents import dicom_pieces
from imgmed.recipes.layout import CaseList
from imgmed.recipes.names import SPLITS, distinct_names, split_of
from imgmed.recipes.partners import Partner, contrast_groups, partners_of
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, VolumeSource

__all__ = ["folder_pairs", "has_volumes", "image_folders", "only_channels", "pair_folders", "scans_in_folders"]

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
    channels: set[tuple[str, ...]] = set()
    for images, labels in folders:
        image_files, image_problems = _volumes_below(tree, images)
        label_files, label_problems = _volumes_below(tree, labels)
        grouped, gaps = group_channels(image_files, label_files)
        problems += [*image_problems, *label_problems, *gaps.values()]
        partners = partners_of([*grouped, *gaps], label_files)
        grouped, names = _with_contrasts(grouped, partners, label_files)
        channels |= {names}
        partners |= {} if not names else partners_of([key for key in grouped if key not in partners], label_files)
        used = {label for partner in partners.values() for label in partner.labels}
        for key, volumes in grouped.items():
            if key in partners:
                sources.append(_case(images, key, volumes, _label(partners[key], label_files), len(folders) > 1))
            else:
                expected = f"{tree.path(labels) / key}{_suffix_of(volumes[0])}"
                problems.append(f"{volumes[0]}: image without a label; expected {expected}")
        for key, label in label_files.items():
            if key not in used:
                expected = f"{tree.path(images) / key}{_suffix_of(label)}"
                problems.append(f"{label}: label without an image; expected {expected}")
    if not sources and not problems:
        where = " and ".join(str(tree.path(folder)) for folder in folders[0])
        raise SourceLayoutError(f"no image/label pairs in {where}: neither holds a volume or a picture")
    return CaseList(_named(sources), tuple(problems), channels=only_channels(channels))


def _with_contrasts(
    grouped: Mapping[str, tuple[VolumeSource, ...]], partners: Mapping[str, Partner], labels: Collection[str]
) -> tuple[dict[str, tuple[VolumeSource, ...]], tuple[str, ...]]:
    """The volumes with those of several contrasts of one case gathered, and the names of these contrasts."""
    alone = [key for key, volumes in grouped.items() if key not in partners and len(volumes) == 1]
    groups, names = contrast_groups(alone, labels)
    members = {image for group in groups.values() for image in group}
    gathered = {case: tuple(grouped[image][0] for image in group) for case, group in groups.items()}
    return {key: volumes for key, volumes in grouped.items() if key not in members} | gathered, names


def _label(partner: Partner, files: Volumes) -> VolumeSource:
    if not partner.structures:
        return files[partner.labels[0]]
    return VolumeSource(tuple(files[label].path for label in partner.labels), structures=partner.structures)


def only_channels(channels: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the names of channels that all folders have; None where they differ or have none."""
    names = set(channels)
    return (names.pop() or None) if len(names) == 1 else None


def scans_in_folders(tree: Tree, folders: Sequence[str]) -> CaseList:
    """Return every image in the folders as a case without a label, called as `pair_folders` would call it."""
    sources: list[CaseSource] = []
    problems: list[str] = []
    channels: set[tuple[str, ...]] = set()
    for folder in folders:
        volumes, faults = _volumes_below(tree, folder)
        problems += faults
        grouped, gaps = group_channels(volumes, ())
        problems += gaps.values()
        grouped, names = _with_contrasts(grouped, {}, ())
        channels |= {names}
        for key, files in grouped.items():
            sources.append(_case(folder, key, files, None, len(folders) > 1))
    return CaseList(_named(sources), tuple(problems), channels=only_channels(channels))


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
            parent = PurePosixPath(name).parent.as_posix()
            key = tree.stems[name] if parent == folder else parent
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
