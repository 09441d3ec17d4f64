"""dataset.json: the index in which the Medical Segmentation Decathlon and nnU-Net describe a study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgmed.errors import SourceLayoutError
from imgmed.recipes.tree import Tree
from r2d2_base.files import read_json

__all__ = ["INDEX", "channel_names", "has_index", "outside_problem", "read_index", "within"]

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


def outside_problem(source: Path, entry: str) -> str | None:
    """Return a sentence if a path that an index names leaves the source folder."""
    normal = os.path.normpath(entry)
    if Path(normal).is_absolute() or os.pardir in Path(normal).parts[:1]:
        return f"{source / INDEX}: {entry!r} lies outside the source folder; only paths within it are read"
    return None


def within(source: Path, entry: str) -> Path:
    """Return the path that an entry of the index means.

    >>> within(Path("study"), "./imagesTr/a.nii.gz").as_posix()
    'study/imagesTr/a.nii.gz'
    """
    return source / os.path.normpath(entry)
