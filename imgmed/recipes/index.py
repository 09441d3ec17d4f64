"""dataset.json: the index in which the Medical Segmentation Decathlon, MONAI and nnU-Net describe a study."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from imgmed.errors import SourceLayoutError
from imgmed.recipes.tree import Tree
from r2d2_base.files import read_json

__all__ = ["INDEX", "TRAINING", "Index", "channel_names", "find_index", "located"]

INDEX = "dataset.json"
TRAINING = "training"
ENTRY = {"image", "label"}
LONGEST = 20_000_000  # bytes of another JSON file that may be a list


@dataclass(frozen=True)
class Index:
    """A file that describes a study, and what it holds."""

    path: Path
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the file, for messages."""
        return self.path.name


def find_index(tree: Tree) -> Index | None:
    """Return the dataset.json in the root; without one the only other JSON file that lists training cases (MONAI).

    Raises:
        SourceLayoutError: dataset.json is no JSON object, or that of a prepared dataset.
    """
    if INDEX in tree.files:
        path = tree.path(INDEX)
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise SourceLayoutError(f"{path}: not readable as JSON ({error})") from error
        if not isinstance(content, dict):
            raise SourceLayoutError(f"{path}: expected an object with modality, labels and training; received a list")
        if "schema_version" in content:
            raise SourceLayoutError(
                f"{path.parent} is a prepared dataset already; name the folder it was prepared from"
            )
        return Index(path, content)
    names = [name for name in tree.files if "/" not in name and name.lower().endswith(".json")]
    lists = [index for name in names if (index := _as_list(tree, tree.path(name))) is not None]
    usual = [index for index in lists if index.content[TRAINING][0].keys() >= ENTRY]
    chosen = usual or lists
    return chosen[0] if len(chosen) == 1 else None


def _as_list(tree: Tree, path: Path) -> Index | None:
    """A JSON file that lists training cases, be it under other words than "image" and "label"; None for any other."""
    try:
        content = read_json(path) if path.stat().st_size <= LONGEST else None
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    entries, index = content.get(TRAINING), Index(path, content)
    first = entries[0] if isinstance(entries, list) and entries else None
    if not isinstance(first, dict):
        return None
    named = (located(tree, value, index) for value in first.values() if isinstance(value, str))
    is_list = first.keys() >= ENTRY or any(not isinstance(f, str) and f.is_file() for f in named)
    return index if is_list else None


def channel_names(index: Index) -> tuple[str, ...] | None:
    """Return the names under "modality" (MSD) or "channel_names" (nnU-Net), in order; None without them.

    Raises:
        SourceLayoutError: not numbered names.
    """
    declared = index.content.get("modality", index.content.get("channel_names"))
    if declared is None:
        return None
    if isinstance(declared, str):
        return (declared,)
    if not isinstance(declared, Mapping) or not all(str(key).isdecimal() for key in declared) or not declared:
        raise SourceLayoutError(f'{index.path}: "modality" must be like {{"0": "MRI"}}; received {declared!r}')
    return tuple(str(declared[key]) for key in sorted(declared, key=int))


def located(tree: Tree, entry: str, index: Index) -> Path | str:
    """Return the file below the root that an entry of the index means, or a sentence if it leaves the root.

    An absolute path may lead into the root. Names meet in either form of Unicode, and with Windows' backslashes. The
    file need not exist.

    >>> tree = Tree(Path("study"), ("imagesTr/a.nii.gz",))
    >>> located(tree, "./imagesTr\\\\a.nii.gz".replace("./", ""), Index(Path("study/dataset.json"), {})).as_posix()
    'study/imagesTr/a.nii.gz'
    """
    name = os.path.normpath(entry if "/" in entry else entry.replace("\\", "/"))
    if PurePosixPath(name).is_absolute():
        name = _below_root(tree.root, Path(name)) or name
    if PurePosixPath(name).is_absolute() or os.pardir in PurePosixPath(name).parts[:1]:
        return (
            f"{index.path}: {entry!r} lies outside the source folder; only files within it are read, named from"
            " there on"
        )
    return tree.path(tree.spellings.get(unicodedata.normalize("NFC", name), name))


def _below_root(root: Path, path: Path) -> str | None:
    """An absolute path from the root on; None where it leads elsewhere."""
    for start, target in ((root.absolute(), path), (root.resolve(), path), (root.resolve(), path.resolve())):
        if target.is_relative_to(start):
            return target.relative_to(start).as_posix()
    return None
