"""Pictures for classification: a folder per class, within train/, val/ and test/ or not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from imgmed.formats import case_stem, pictures
from imgmed.recipes.layout import BY_CONTENT, Recipe, Request
from imgmed.recipes.names import SPLITS, label_name, split_of
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, Study, VolumeSource

__all__ = ["RECIPE"]

FEWEST_CLASSES = 2


def _find(tree: Tree, request: Request) -> Study | None:
    if request.is_unlabelled and not request.is_named:
        return None  # folders of scans
    placed = {name: place for name in tree.volumes if (place := _place_of(name)) is not None}
    classes = sorted({category for _, category in placed.values()})
    if len(classes) < FEWEST_CLASSES or any(label_name(category) is not None for category in classes):
        return None
    if not request.is_named and not all(_is_plain_picture(name) for name in placed):
        return None
    stems = Counter(case_stem(Path(name)) for name in placed)
    sources = []
    for name, (split, category) in placed.items():
        stem = case_stem(Path(name))
        case_id = stem if stems[stem] == 1 else "_".join([*PurePosixPath(name).parts[:-1], stem])
        image = VolumeSource((tree.path(name),))
        sources.append(CaseSource(case_id, (image,), None, category=category, split=split))
    shown = ", ".join(f"{category}/" for category in classes[:4])
    return Study(
        name=tree.root.resolve().name,
        root=tree.root,
        recipe=RECIPE.name,
        sources=tuple(sources),
        task="classification",
        reason=f"a folder for each of {len(classes)} classes ({shown}{' ...' if len(classes) > 4 else ''})",
    )


def _place_of(name: str) -> tuple[str | None, str] | None:
    """Split and class of a file that lies in CLASS/ or SPLIT/CLASS/; None elsewhere."""
    folders = PurePosixPath(name).parts[:-1]
    if len(folders) == 1 and folders[0].lower() not in SPLITS:
        return None, folders[0]
    if len(folders) == 2 and folders[0].lower() in SPLITS:
        return split_of(folders[:1]), folders[1]
    return None


def _is_plain_picture(name: str) -> bool:
    """Whether a file is a picture and not named as a label map: folders of volumes may be patients."""
    path = Path(name)
    return path.suffix.lower() in pictures.SUFFIXES and label_name(case_stem(path)) is None


RECIPE = Recipe(
    name="classification",
    layout="a folder of pictures for each class, within train/, val/ and test/ or not",
    rank=BY_CONTENT,
    find=_find,
)
