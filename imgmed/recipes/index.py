"""dataset.json: the index in which the Medical Segmentation Decathlon, MONAI and nnU-Net describe a study."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from imgmed.errors import SourceLayoutError
from imgmed.recipes.tree import Tree
from r2d2_base.files import read_json

__all__ = ["INDEX", "channel_names", "has_index", "located", "read_index"]

INDEX = "dataset.json"


def has_index(tree: Tree) -> bool:
    """Tell whether a dataset.json lies in the root."""
    return INDEX in tree.files


def read_index(path: Path) -> dict[str, Any]:
    """Return the content of a dataset.json.

    Raises:
        SourceLayoutError: no JSON object, or that of a prepared dataset.
    """
    try:
        index = read_json(path)
    except (OSError, ValueError) as error:
        raise SourceLayoutError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(index, dict):
        raise SourceLayoutError(f"{path}: expected an object with modality, labels and training; received a list")
    if "schema_version" in index:
        raise SourceLayoutError(f"{path.parent} is a prepared dataset already; name the folder it was prepared from")
    return index


def channel_names(index: Mapping[str, Any], path: Path) -> tuple[str, ...] | None:
    """Return the names under "modality" (MSD) or "channel_names" (nnU-Net), in order; None without them.

    Raises:
        SourceLayoutError: not numbered names.
    """
    declared = index.get("modality", index.get("channel_names"))
    if declared is None:
        return None
    if isinstance(declared, str):
        return (declared,)
    if not isinstance(declared, Mapping) or not all(str(key).isdecimal() for key in declared) or not declared:
        raise SourceLayoutError(f'{path}: "modality" must be like {{"0": "MRI"}}; received {declared!r}')
    return tuple(str(declared[key]) for key in sorted(declared, key=int))


def located(tree: Tree, entry: str) -> Path | str:
    """Return the file below the root that an entry of the index means, or a sentence if it leaves the root.

    An absolute path may lead into the root. Names meet in either form of Unicode, and with Windows' backslashes. The
    file need not exist.

    >>> tree = Tree(Path("study"), ("imagesTr/a.nii.gz",))
    >>> located(tree, "./imagesTr/a.nii.gz").as_posix(), located(tree, "imagesTr\\\\a.nii.gz").as_posix()
    ('study/imagesTr/a.nii.gz', 'study/imagesTr/a.nii.gz')
    """
    name = os.path.normpath(entry if "/" in entry else entry.replace("\\", "/"))
    if PurePosixPath(name).is_absolute():
        name = _below_root(tree.root, Path(name)) or name
    if PurePosixPath(name).is_absolute() or os.pardir in PurePosixPath(name).parts[:1]:
        return (
            f"{tree.path(INDEX)}: {entry!r} lies outside the source folder; only files within it are read, named from"
            " there on"
        )
    return tree.path(tree.spellings.get(unicodedata.normalize("NFC", name), name))


def _below_root(root: Path, path: Path) -> str | None:
    """An absolute path from the root on; None where it leads elsewhere."""
    for start, target in ((root.absolute(), path), (root.resolve(), path), (root.resolve(), path.resolve())):
        if target.is_relative_to(start):
            return target.relative_to(start).as_posix()
    return None
