"""The layout of the Medical Segmentation Decathlon and of MONAI: a dataset.json that lists the pairs."""

from __future__ import annotations

from imgmed.errors import SourceLayoutError
from imgmed.labels import parse_labels
from imgmed.recipes.index import INDEX, Index, channel_names, find_index
from imgmed.recipes.layout import BY_INDEX, CaseList, Recipe, Request
from imgmed.recipes.listed import TRAINING, listed_cases
from imgmed.recipes.nnunet import is_nnunet
from imgmed.recipes.pairing import folder_pairs, image_folders, pair_folders, scans_in_folders
from imgmed.recipes.tree import Tree
from imgmed.study import Study

__all__ = ["RECIPE"]


def _find(tree: Tree, request: Request) -> Study | None:
    index = find_index(tree)
    if index is None or is_nnunet(tree, index):
        return None
    declared, path = index.content, index.path
    is_listed = TRAINING in declared
    cases = listed_cases(tree, index, request) if is_listed else _cases_in_folders(tree, index, request)
    if not cases.sources and not cases.problems:
        raise SourceLayoutError(f'no image/label pairs: "{TRAINING}" in {path} lists no case')
    channels = channel_names(index)
    if isinstance(declared.get("modality"), str) and any(len(source.images) > 1 for source in cases.sources):
        channels = None  # one word for all images names none of them
    return Study(
        name=str(declared.get("name") or tree.root.resolve().name),
        root=tree.root,
        recipe=RECIPE.name,
        sources=cases.sources,
        channels=channels,
        labels=None if declared.get("labels") is None else parse_labels(declared["labels"], str(path)),
        problems=cases.problems,
        reason=f'{index.name} with a "{TRAINING}" list' if is_listed else f"{index.name} and folders of pairs",
        notes=cases.notes,
        left_out=cases.left_out,
        folds=cases.folds,
    )


def _cases_in_folders(tree: Tree, index: Index, request: Request) -> CaseList:
    folders, images = folder_pairs(tree), image_folders(tree)
    if request.is_unlabelled and images:
        return scans_in_folders(tree, images)
    if request.is_unlabelled or not folders:
        raise SourceLayoutError(
            f'no image/label pairs in {tree.root}: {index.name} has no "{TRAINING}" list, and there are no folders'
            " imagesTr/ and labelsTr/"
        )
    return pair_folders(tree, folders)


RECIPE = Recipe(
    name="msd",
    layout=f'a {INDEX}, or another JSON file, with a list "training" (and "validation", "test") of'
    ' {"image": ..., "label": ...} (Medical Segmentation Decathlon, MONAI)',
    rank=BY_INDEX,
    find=_find,
)
