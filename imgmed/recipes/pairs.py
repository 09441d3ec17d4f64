"""Two folders of volumes, paired by name."""

from __future__ import annotations

from pathlib import Path

from imgmed.errors import LabelError
from imgmed.labels import parse_labels
from imgmed.storage import read_json
from imgmed.study import Recipe, Study, pair_folders

__all__ = ["RECIPE", "folders_of"]

FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))
LABEL_NAMES = "labels.json"


def folders_of(source: Path) -> tuple[Path, Path] | None:
    """Return the image and label folders within `source`, or None if neither pair of names is there."""
    for images, labels in FOLDERS:
        if (source / images).is_dir() and (source / labels).is_dir():
            return source / images, source / labels
    return None


def _matches(source: Path) -> bool:
    return folders_of(source) is not None


def _read(source: Path) -> Study:
    folders = folders_of(source)
    sources, problems = pair_folders(*folders) if folders else ((), ())
    return Study(
        name=source.resolve().name,
        root=source,
        recipe=RECIPE.name,
        sources=sources,
        labels=_declared_labels(source),
        problems=problems,
    )


def _declared_labels(source: Path) -> dict[str, int] | None:
    path = source / LABEL_NAMES
    if not path.is_file():
        return None
    try:
        declared = read_json(path)
    except ValueError as error:
        raise LabelError(f"{path}: not valid JSON ({error})") from error
    return parse_labels(declared, str(path))


RECIPE = Recipe(
    name="pairs",
    layout="folders images/ and labels/ (or imagesTr/ and labelsTr/) with files of equal names,"
    ' and optionally labels.json like {"liver": 1}',
    matches=_matches,
    read=_read,
)
