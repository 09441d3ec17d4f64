"""The layout of the Medical Segmentation Decathlon: a dataset.json that lists the pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgmed.errors import SourceLayoutError
from imgmed.formats import case_stem
from imgmed.labels import parse_labels
from imgmed.recipes.index import INDEX, channel_names, has_index, outside_problem, read_index, within
from imgmed.recipes.layout import BY_INDEX, Recipe, Request
from imgmed.recipes.nnunet import is_nnunet
from imgmed.recipes.pairs import folder_pairs, pair_folders
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, Study, VolumeSource, duplicate_problems

__all__ = ["RECIPE"]


def _find(tree: Tree, request: Request) -> Study | None:
    del request  # nothing to choose
    if not has_index(tree):
        return None
    path = tree.path(INDEX)
    index = read_index(path)
    if is_nnunet(tree, index):
        return None
    if "training" in index:
        sources, problems = _listed_cases(tree.root, index["training"])
    else:
        sources, problems = _cases_in_folders(tree)
    if not sources and not problems:
        raise SourceLayoutError(f'no image/label pairs: "training" in {path} lists no case')
    return Study(
        name=str(index.get("name") or tree.root.resolve().name),
        root=tree.root,
        recipe=RECIPE.name,
        sources=sources,
        channels=channel_names(index, path),
        labels=parse_labels(index.get("labels"), str(path)),
        problems=problems,
        reason=f'{INDEX} with a "training" list' if "training" in index else f"{INDEX} and folders of pairs",
    )


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
        image, label = within(source, entry["image"]), within(source, entry["label"])
        cases.append(CaseSource(case_stem(image), (VolumeSource((image,)),), VolumeSource((label,))))
    return tuple(cases), (*problems, *duplicate_problems(cases))


def _entry_problem(source: Path, image: str, label: str) -> str | None:
    for entry in (image, label):
        problem = outside_problem(source, entry)
        if problem:
            return problem
    image_path, label_path = within(source, image), within(source, label)
    if image_path.is_file() and label_path.is_file():
        return None
    if image_path.is_file():
        return f"{image_path}: image without a label; {INDEX} names {label!r}, which is missing"
    if label_path.is_file():
        return f"{label_path}: label without an image; {INDEX} names {image!r}, which is missing"
    return f"{source / INDEX}: names {image!r} and {label!r}, which are both missing"


def _cases_in_folders(tree: Tree) -> tuple[tuple[CaseSource, ...], tuple[str, ...]]:
    folders = folder_pairs(tree)
    if not folders:
        raise SourceLayoutError(
            f'no image/label pairs in {tree.root}: {INDEX} has no "training" list, and there are no folders'
            " imagesTr/ and labelsTr/"
        )
    return pair_folders(tree, folders)


RECIPE = Recipe(
    name="msd",
    layout=f'a {INDEX} with "modality", "labels" and "training": a list of {{"image": ..., "label": ...}}'
    " (Medical Segmentation Decathlon)",
    rank=BY_INDEX,
    find=_find,
)
