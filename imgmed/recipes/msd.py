"""The layout of the Medical Segmentation Decathlon: a dataset.json that lists the pairs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgmed.errors import SourceLayoutError
from imgmed.formats import case_stem
from imgmed.labels import parse_labels
from imgmed.recipes.pairs import folders_of
from imgmed.storage import read_json
from imgmed.study import CaseSource, Recipe, Study, VolumeSource, duplicate_problems, pair_folders

__all__ = ["RECIPE"]

INDEX = "dataset.json"


def _matches(source: Path) -> bool:
    return (source / INDEX).is_file()


def _read(source: Path) -> Study:
    path = source / INDEX
    index = _read_index(path)
    if "training" in index:
        sources, problems = _listed_cases(source, index["training"])
    else:
        sources, problems = _cases_in_folders(source)
    if not sources and not problems:
        raise SourceLayoutError(f'no image/label pairs: "training" in {path} lists no case')
    return Study(
        name=str(index.get("name") or source.resolve().name),
        root=source,
        recipe=RECIPE.name,
        sources=sources,
        channels=_channels(index, path),
        labels=parse_labels(index.get("labels"), str(path)),
        problems=problems,
    )


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = read_json(path)
    except (OSError, ValueError) as error:
        raise SourceLayoutError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(index, dict):
        raise SourceLayoutError(f"{path}: expected an object with modality, labels and training; received a list")
    if "schema_version" in index:
        raise SourceLayoutError(f"{path.parent} is a prepared dataset already; name the folder it was prepared from")
    return index


def _listed_cases(source: Path, entries: Any) -> tuple[tuple[CaseSource, ...], tuple[str, ...]]:
    if not isinstance(entries, list):
        raise SourceLayoutError(f'{source / INDEX}: "training" must be a list of {{"image": ..., "label": ...}}')
    cases, problems = [], []
    for entry in entries:
        if not isinstance(entry, Mapping) or not all(isinstance(entry.get(key), str) for key in ("image", "label")):
            problems.append(f'{source / INDEX}: a training case needs "image" and "label"; received {entry!r}')
            continue
        problem = _entry_problem(source, entry["image"], entry["label"])
        if problem:
            problems.append(problem)
            continue
        image = source / os.path.normpath(entry["image"])
        label = source / os.path.normpath(entry["label"])
        cases.append(CaseSource(case_stem(image), (VolumeSource((image,)),), VolumeSource((label,))))
    return tuple(cases), (*problems, *duplicate_problems(cases))


def _entry_problem(source: Path, image: str, label: str) -> str | None:
    for entry in (image, label):
        normal = os.path.normpath(entry)
        if Path(normal).is_absolute() or os.pardir in Path(normal).parts[:1]:
            return f"{source / INDEX}: {entry!r} lies outside the source folder; only paths within it are read"
    image_path, label_path = (source / os.path.normpath(entry) for entry in (image, label))
    if image_path.is_file() and label_path.is_file():
        return None
    if image_path.is_file():
        return f"{image_path}: image without a label; {INDEX} names {label!r}, which is missing"
    if label_path.is_file():
        return f"{label_path}: label without an image; {INDEX} names {image!r}, which is missing"
    return f"{source / INDEX}: names {image!r} and {label!r}, which are both missing"


def _cases_in_folders(source: Path) -> tuple[tuple[CaseSource, ...], tuple[str, ...]]:
    folders = folders_of(source)
    if folders is None:
        raise SourceLayoutError(
            f'no image/label pairs in {source}: {INDEX} has no "training" list, and there are no folders'
            " imagesTr/ and labelsTr/"
        )
    return pair_folders(*folders)


def _channels(index: Mapping[str, Any], path: Path) -> tuple[str, ...] | None:
    declared = index.get("modality", index.get("channel_names"))
    if declared is None:
        return None
    if isinstance(declared, str):
        return (declared,)
    if not isinstance(declared, Mapping) or not all(str(key).isdecimal() for key in declared) or not declared:
        raise SourceLayoutError(f'{path}: "modality" must be like {{"0": "MRI"}}; received {declared!r}')
    return tuple(str(declared[key]) for key in sorted(declared, key=int))


RECIPE = Recipe(
    name="msd",
    layout=f'a {INDEX} with "modality", "labels" and "training": a list of {{"image": ..., "label": ...}}'
    " (Medical Segmentation Decathlon)",
    matches=_matches,
    read=_read,
)
