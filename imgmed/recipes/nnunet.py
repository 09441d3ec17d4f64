"""nnU-Net's raw data: imagesTr/case_0000.nii.gz (a file a channel), labelsTr/case.nii.gz and dataset.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from imgmed.errors import LabelError
from imgmed.labels import BACKGROUND, parse_labels
from imgmed.recipes.index import INDEX, TRAINING, Index, channel_names, find_index, located
from imgmed.recipes.layout import BY_INDEX, CaseList, Recipe, Request
from imgmed.recipes.listed import listed_cases
from imgmed.recipes.names import channel_number
from imgmed.recipes.pairing import pair_folders, scans_in_folders
from imgmed.recipes.tree import Tree
from imgmed.recipes.unlisted import count_notes, test_cases
from imgmed.study import CaseSource, Study, VolumeSource, duplicate_problems

__all__ = ["RECIPE", "is_nnunet", "parse_regions"]

IMAGES, LABELS, TEST_IMAGES = "imagesTr", "labelsTr", "imagesTs"
IGNORE = "ignore"


def is_nnunet(tree: Tree, index: Index) -> bool:
    """Tell whether a dataset.json is nnU-Net's: by its own keys, or (version 1) by the channel numbers of the files."""
    declared = index.content
    if any(key in declared for key in ("channel_names", "file_ending", "dataset")):
        return "dataset" in declared or any(name.startswith(f"{IMAGES}/") for name in tree.files)
    listed = declared.get(TRAINING)
    first = listed[0] if isinstance(listed, list) and listed else None
    image = first.get("image") if isinstance(first, Mapping) else None
    path = located(tree, image, index) if isinstance(image, str) else ""
    if isinstance(path, str) or path.exists():
        return False
    return any(channel_number(stem) == (tree.stem_of(path), 0) for stem in tree.stems.values())


def parse_regions(declared: Any, origin: str) -> tuple[dict[str, int], dict[str, tuple[int, ...]] | None]:
    """Return labels and regions of a dataset.json whose labels may be lists of values.

    Args:
        declared: such as {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}.
        origin: the file, for messages.

    Returns:
        {name: value}, values that only occur in lists named "label_N"; and {name: values} of every name but the
        background, or None where no list occurs.

    Raises:
        LabelError: neither numbers nor lists of numbers.

    >>> parse_regions({"background": 0, "whole": [1, 2], "core": 2}, "dataset.json")
    ({'background': 0, 'label_1': 1, 'core': 2}, {'whole': (1, 2), 'core': (2,)})
    """
    if not isinstance(declared, Mapping) or not any(isinstance(entry, list) for entry in declared.values()):
        return parse_labels(declared, origin), None
    for name, entry in declared.items():
        values = entry if isinstance(entry, list) else [entry]
        if not values or not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            raise LabelError(f"{origin}: region {name!r} needs whole numbers like [1, 2]; received {entry!r}")
    regions = {
        str(name): tuple(sorted(set(entry))) if isinstance(entry, list) else (entry,)
        for name, entry in declared.items()
        if entry not in (0, [0])
    }
    names = {values[0]: name for name, values in regions.items() if len(values) == 1}
    values = sorted({value for values in regions.values() for value in values})
    labels = {BACKGROUND: 0} | {names.get(value, f"label_{value}"): value for value in values}
    return parse_labels(labels, origin), regions


def _find(tree: Tree, request: Request) -> Study | None:
    index = find_index(tree)
    if index is None or not is_nnunet(tree, index):
        return None
    declared = index.content
    cases = _cases(tree, index, request)
    labels, regions = parse_regions(declared.get("labels"), str(index.path))
    labels, ignored = _without_ignored(labels, index.path)
    if regions is not None:
        regions = {name: values for name, values in regions.items() if name != IGNORE}
    channels = channel_names(index)
    return Study(
        name=str(declared.get("name") or tree.root.resolve().name),
        root=tree.root,
        recipe=RECIPE.name,
        sources=cases.sources,
        channels=channels,
        labels=labels,
        problems=(*cases.problems, *_channel_problems(cases.sources, channels, index)),
        regions=regions,
        reason=f"{index.name} of nnU-Net",
        notes=(*cases.notes, *_notes(ignored)),
        left_out=cases.left_out,
        folds=cases.folds,
        ignore_label=ignored,
    )


def _cases(tree: Tree, index: Index, request: Request) -> CaseList:
    if isinstance(index.content.get("dataset"), Mapping):
        return _named_cases(tree, index, request)
    if request.is_unlabelled:
        return scans_in_folders(tree, [folder for folder in tree.folders if folder in (IMAGES, TEST_IMAGES)])
    if TRAINING in index.content:
        return listed_cases(tree, index, request)
    cases = pair_folders(tree, [(IMAGES, LABELS)])
    return replace(cases, notes=count_notes(index, cases.sources), left_out=test_cases(tree))


def _without_ignored(labels: Mapping[str, int], path: Path) -> tuple[dict[str, int], int | None]:
    """Take nnU-Net's label "ignore" out of the labels: what it marks counts nowhere."""
    ignored = labels.get(IGNORE)
    if ignored is not None and ignored <= max((value for name, value in labels.items() if name != IGNORE), default=0):
        raise LabelError(
            f"{path}: label {IGNORE!r} must have the highest number; received {ignored}; renumber the labels"
        )
    return {name: value for name, value in labels.items() if name != IGNORE}, ignored


def _notes(ignored: int | None) -> tuple[str, ...]:
    if ignored is None:
        return ()
    return (
        f"label {IGNORE!r} ({ignored}) marks voxels that count nowhere: not in the loss, the statistics, the scores",
    )


def _named_cases(tree: Tree, index: Index, request: Request) -> CaseList:
    """Cases of the key "dataset" (nnU-Net 2.1): {case: {"images": [...], "label": ...}}."""
    cases, problems = [], []
    for case_id, entry in index.content["dataset"].items():
        files = _files_of(entry, request)
        if files is None:
            problems.append(f'{index.path}: case {case_id!r} needs "images" (a list) and "label"')
            continue
        targets = [located(tree, name, index) for name in files]
        faults = [target for target in targets if isinstance(target, str)]
        paths = [target for target in targets if not isinstance(target, str)]
        faults += [
            f"{index.path}: case {case_id!r} names {tree.relative(path)!r}, which is missing"
            for path in paths
            if not path.is_file()
        ]
        problems += faults
        if not faults:
            volumes = [VolumeSource((path,)) for path in paths]
            images, label = (volumes, None) if request.is_unlabelled else (volumes[:-1], volumes[-1])
            cases.append(CaseSource(PurePosixPath(case_id).name, tuple(images), label))
    return CaseList(tuple(cases), (*problems, *duplicate_problems(cases)))


def _files_of(entry: Any, request: Request) -> list[str] | None:
    """The images and, last, the label of an entry where it is wanted; None if it is no such entry."""
    images = entry.get("images") if isinstance(entry, Mapping) else None
    if not isinstance(images, list) or not images:
        return None
    names = images if request.is_unlabelled else [*images, entry.get("label")]
    return names if all(isinstance(name, str) for name in names) else None


def _channel_problems(
    sources: tuple[CaseSource, ...], channels: tuple[str, ...] | None, index: Index
) -> tuple[str, ...]:
    """A sentence for each case with another number of files than there are channels."""
    if channels is None:
        return ()
    return tuple(
        f"{source.images[0]}: {len(source.images)} files, but {index.name} declares {len(channels)} channels"
        f" ({', '.join(channels)})"
        for source in sources
        if len(source.images) not in (1, len(channels))
    )


RECIPE = Recipe(
    name="nnunet",
    layout=f"{IMAGES}/case_0000.nii.gz (a file a channel), {LABELS}/case.nii.gz and {INDEX} (nnU-Net raw data)",
    rank=BY_INDEX,
    find=_find,
)
