"""Arrays in one .npz file: MedMNIST's for classification, images with masks for segmentation."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgmed.errors import SourceLayoutError, UnreadableFileError
from imgmed.formats.archive import DAMAGED_NPZ
from imgmed.recipes.layout import BY_INDEX, Recipe, Request
from imgmed.recipes.names import SPLITS
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, Study, VolumeSource

__all__ = ["RECIPE"]

SUFFIX = ".npz"
IMAGES = ("images", "image", "x")
MASKS = ("masks", "mask", "segmentations", "label_maps", "labels", "y")
CLASSES = ("labels", "label", "y")
HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0}


@dataclass(frozen=True)
class _Part:
    """The arrays of one split: names within the file."""

    split: str | None
    count: int
    images: str
    masks: str | None
    classes: str | None


def _find(tree: Tree, request: Request) -> Study | None:
    files = [name for name in tree.files if "/" not in name and name.lower().endswith(SUFFIX)]
    parts_of = {name: parts for name in files if (parts := _parts_of(tree.path(name), request))}
    if not parts_of:
        return None
    if len(parts_of) > 1:
        raise SourceLayoutError(
            f"{tree.root}: {len(parts_of)} .npz files with images ({', '.join(parts_of)}); name one of them as the"
            " source"
        )
    name, parts = next(iter(parts_of.items()))
    path = tree.path(name)
    return Study(
        name=path.stem,
        root=tree.root,
        recipe=RECIPE.name,
        sources=tuple(case for part in parts for case in _cases(path, part)),
        task="segmentation" if parts[0].classes is None else "classification",
        reason=f"{name} with arrays {' and '.join(part.images for part in parts)}",
    )


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays in the file, from their headers."""
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith(".npy"):
                    with archive.open(member) as stream:
                        version = np.lib.format.read_magic(stream)
                        read = HEADER_READERS.get(version, np.lib.format.read_array_header_2_0)
                        shapes[member.removesuffix(".npy")] = read(stream)[0]
    except DAMAGED_NPZ as error:
        raise UnreadableFileError(f"{path}: no .npz that can be read ({error}); copy or download it again") from error
    return shapes


def _parts_of(path: Path, request: Request) -> list[_Part]:
    """The parts that the names and shapes of the arrays make; images are (samples, rows, columns, ...)."""
    shapes = _shapes(path)
    parts = []
    for name, shape in shapes.items():
        prefix, _, noun = name.rpartition("_")
        split = SPLITS.get(prefix.lower())
        if noun.lower() not in IMAGES or len(shape) < 3 or (prefix and split is None):
            continue
        if request.is_unlabelled:
            parts.append(_Part(split, shape[0], name, None, None))
            continue
        start = f"{prefix}_" if prefix else ""
        beside = {word: found for word in (*MASKS, *CLASSES) if (found := shapes.get(start + word)) is not None}
        masks = [word for word in MASKS if beside.get(word, ())[:3] == shape[:3]]
        classes = [word for word in CLASSES if word in beside and word not in masks]
        if not masks and not classes:
            continue
        array = (masks or classes)[0]
        _check_samples(path, name, shape, start + array, beside[array], bool(masks))
        labels = (start + masks[0], None) if masks else (None, start + classes[0])
        parts.append(_Part(split, shape[0], name, *labels))
    return parts


def _check_samples(
    path: Path, images: str, shape: tuple[int, ...], name: str, found: tuple[int, ...], is_map: bool
) -> None:
    if not found or found[0] != shape[0]:
        raise SourceLayoutError(
            f"{path}: {images} has shape {shape}, but {name} {found}; both need a row for each picture"
        )
    if not is_map and (len(found) > 2 or found[1:] not in ((), (1,))):
        raise SourceLayoutError(
            f"{path}: {name} has shape {found}: several labels for one picture; classification needs one class each"
        )


def _cases(path: Path, part: _Part) -> Iterator[CaseSource]:
    categories = None if part.classes is None else _categories(path, part.classes)
    digits = len(str(max(0, part.count - 1)))
    for number in range(part.count):
        yield CaseSource(
            case_id=f"{part.split or path.stem}_{number:0{digits}d}",
            images=(VolumeSource((path,), f"{part.images}/{number}"),),
            label=None if part.masks is None else VolumeSource((path,), f"{part.masks}/{number}"),
            category=None if categories is None else categories[number],
            split=part.split,
        )


def _categories(path: Path, name: str) -> list[str]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            classes = arrays[name].reshape(-1)
    except DAMAGED_NPZ as error:
        raise UnreadableFileError(f"{path}: array {name} cannot be read ({error})") from error
    return [str(value) for value in classes.tolist()]


RECIPE = Recipe(
    name="npz",
    layout="one .npz with train_images and train_labels, val_images ... (MedMNIST), or images and masks",
    rank=BY_INDEX,
    find=_find,
)
