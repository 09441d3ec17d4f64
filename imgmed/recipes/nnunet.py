"""nnU-Net's raw data: imagesTr/case_0000.nii.gz (a file a channel), labelsTr/case.nii.gz and dataset.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from imgmed.errors import LabelError
from imgmed.formats import case_stem
from imgmed.labels import BACKGROUND, parse_labels
from imgmed.recipes.index import INDEX, channel_names, has_index, outside_problem, read_index, within
from imgmed.recipes.layout import BY_INDEX, Recipe, Request
from imgmed.recipes.names import channel_number
from imgmed.recipes.pairs import pair_folders
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, Study, VolumeSource, duplicate_problems

__all__ = ["RECIPE", "is_nnunet", "parse_regions"]

IMAGES, LABELS = "imagesTr", "labelsTr"
IGNORE = "ignore"


def is_nnunet(tree: Tree, index: Mapping[str, Any]) -> bool:
    """Tell whether a dataset.json is nnU-Net's: by its own keys, or (version 1) by the channel numbers of the files."""
    if any(key in index for key in ("channel_names", "file_ending", "dataset")):
        return "dataset" in index or any(name.startswith(f"{IMAGES}/") for name in tree.files)
    listed = index.get("training")
    first = listed[0] if isinstance(listed, list) and listed else None
    image = first.get("image") if isinstance(first, Mapping) else None
    if not isinstance(image, str) or outside_problem(tree.root, image) or within(tree.root, image).exists():
        return False
    wanted = case_stem(Path(image))
    return any(channel_number(case_stem(Path(name))) == (wanted, 0) for name in tree.volumes)


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
    del request  # nothing to choose
    if not has_index(tree):
        return None
    path = tree.path(INDEX)
    index = read_index(path)
    if not is_nnunet(tree, index):
        return None
    if isinstance(index.get("dataset"), Mapping):
        sources, problems = _listed_cases(tree.root, index["dataset"])
    else:
        sources, problems = pair_folders(tree, [(IMAGES, LABELS)])
    labels, regions = parse_regions(index.get("labels"), str(path))
    labels, ignored = _without_ignored(labels, path)
    if regions is not None:
        regions = {name: values for name, values in regions.items() if name != IGNORE}
    channels = channel_names(index, path)
    problems += _channel_problems(sources, channels)
    return Study(
        name=str(index.get("name") or tree.root.resolve().name),
        root=tree.root,
        recipe=RECIPE.name,
        sources=sources,
        channels=channels,
        labels=labels,
        problems=problems,
        regions=regions,
        reason=f"{INDEX} of nnU-Net",
        notes=_notes(ignored),
        ignore_label=ignored,
    )


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


def _listed_cases(source: Path, entries: Mapping[str, Any]) -> tuple[tuple[CaseSource, ...], tuple[str, ...]]:
    """Cases of the key "dataset" (nnU-Net 2.1): {case: {"images": [...], "label": ...}}."""
    cases, problems = [], []
    for case_id, entry in entries.items():
        names = _names_in(entry)
        if names is None:
            problems.append(f'{source / INDEX}: case {case_id!r} needs "images" (a list) and "label"')
            continue
        faults = [fault for name in names if (fault := outside_problem(source, name)) is not None]
        missing = [name for name in names if not faults and not within(source, name).is_file()]
        problems += faults
        problems += [f"{source / INDEX}: case {case_id!r} names {name!r}, which is missing" for name in missing]
        if not faults and not missing:
            *images, label = (VolumeSource((within(source, name),)) for name in names)
            cases.append(CaseSource(PurePosixPath(case_id).name, tuple(images), label))
    return tuple(cases), (*problems, *duplicate_problems(cases))


def _names_in(entry: Any) -> list[str] | None:
    """The images and, last, the label of an entry; None if it is no such entry."""
    images = entry.get("images") if isinstance(entry, Mapping) else None
    if not isinstance(images, list) or not images:
        return None
    names = [*images, entry.get("label")]
    return names if all(isinstance(name, str) for name in names) else None


def _channel_problems(sources: tuple[CaseSource, ...], channels: tuple[str, ...] | None) -> tuple[str, ...]:
    """A sentence for each case with another number of files than there are channels."""
    if channels is None:
        return ()
    return tuple(
        f"{source.images[0]}: {len(source.images)} files, but {INDEX} declares {len(channels)} channels"
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
