"""Pairs: two folders whose files have equal names, or one folder whose names differ by a word."""

from __future__ import annotations

from collections.abc import Sequence

from imgmed.errors import LabelError
from imgmed.labels import parse_labels
from imgmed.recipes.layout import BY_CONTENT, BY_FOLDERS, CaseList, Recipe, Request
from imgmed.recipes.matching import flat_folders, match_in_folder, scans_in_folder
from imgmed.recipes.pairing import (
    folder_pairs,
    has_volumes,
    image_folders,
    only_channels,
    pair_folders,
    scans_in_folders,
)
from imgmed.recipes.scans import has_scans_in_folders
from imgmed.recipes.tree import Tree
from imgmed.study import Study, duplicate_problems
from r2d2_base.files import read_json

__all__ = ["RECIPES", "label_names"]

NAME = "pairs"
LABEL_NAMES = "labels.json"


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
    if request.is_unlabelled:
        return _find_image_folders(tree)
    folders = folder_pairs(tree)
    if not folders:
        return None
    may_be_patients = any("/" in images for images, _ in folders) or bool(tree.dicom)
    if may_be_patients and not any(has_volumes(tree, pair) for pair in folders):
        return None
    cases = pair_folders(tree, folders)
    if may_be_patients and not cases.sources:
        return None  # such as p1/ct/ and p1/seg/: folders of a patient
    return _study(tree, cases, f"folders {' and '.join(f'{folder}/' for folder in folders[0])}")


def _find_image_folders(tree: Tree) -> Study | None:
    folders = [folder for folder in image_folders(tree) if has_volumes(tree, (folder,))]
    cases = scans_in_folders(tree, folders)
    if cases == CaseList() or (len(cases.sources) == len(folders) and any("/" in folder for folder in folders)):
        return None  # such as p1/image/mr.nii: folders of a patient
    return _study(tree, cases, f"folder {folders[0]}/ with images")


def _find_names(tree: Tree, request: Request) -> Study | None:
    folders = flat_folders(tree)
    if request.is_unlabelled:
        cases = _joined([scans_in_folder(tree, folder) for folder in folders])
        if cases == CaseList() or has_scans_in_folders(tree):
            return None
        return _study(tree, cases, "images side by side")
    cases = _joined([match_in_folder(tree, folder) for folder in folders])
    if not cases.sources:
        return None
    example = next(source.label for source in cases.sources if source.label is not None)
    return _study(tree, cases, f"label maps named after their images, like {example.path.name}")


def _joined(lists: Sequence[CaseList]) -> CaseList:
    return CaseList(
        tuple(source for cases in lists for source in cases.sources),
        tuple(problem for cases in lists for problem in cases.problems),
        channels=only_channels([cases.channels or () for cases in lists if cases.sources]),
    )


def _study(tree: Tree, cases: CaseList, reason: str) -> Study:
    return Study(
        name=tree.root.resolve().name,
        root=tree.root,
        recipe=NAME,
        sources=cases.sources,
        channels=cases.channels,
        labels=label_names(tree),
        problems=(*cases.problems, *duplicate_problems(cases.sources)),
        reason=reason,
    )


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
