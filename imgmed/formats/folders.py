"""A folder as one volume: exactly one DICOM series, or one stack of pictures."""

from __future__ import annotations

import re
from pathlib import Path

from imgmed.errors import SourceLayoutError
from imgmed.formats import dicom, pictures

__all__ = ["files_of_one_volume", "natural_order"]

MOST_LISTED = 6


def files_of_one_volume(folder: Path) -> tuple[Path, ...]:
    """Return the files of the one DICOM series, or of the one stack of pictures, that a folder holds.

    Raises:
        SourceLayoutError: it holds none, several series, or both kinds.
    """
    visible = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    stack = sorted((path for path in visible if path.name.lower().endswith(pictures.SUFFIXES)), key=natural_order)
    series = [found for found in dicom.find_series(folder) if found.kind == "image"]
    if len(series) == 1 and not stack:
        return series[0].files
    if not series and stack:
        return tuple(stack)
    listed = [f"{one.modality} series of {len(one.files)} files beginning at {one.files[0].name}" for one in series]
    listed += [f"{len(stack)} pictures beginning at {stack[0].name}"] if stack else []
    more = f" and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
    raise SourceLayoutError(
        f"{folder}: a folder is one volume if it holds exactly one DICOM series or one stack of pictures; found "
        + ("; ".join(listed[:MOST_LISTED]) + more or "neither")
    )


def natural_order(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Key that sorts names with numbers as people count.

    >>> [path.name for path in sorted(map(Path, ["s10.png", "s9.png"]), key=natural_order)]
    ['s9.png', 's10.png']
    """
    parts = re.split(r"(\d+)", Path(path).name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in parts)
