"""What is said of files that a search looked at and that are no scans."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from imgmed.archives import is_archive
from imgmed.formats import case_stem, has_known_suffix
from imgmed.recipes.names import label_name
from imgmed.recipes.tree import is_dicom

__all__ = ["lines_about"]

FEW = 5  # of one folder are named one by one


def lines_about(files: Iterable[Path]) -> list[str]:
    """Return a line for each file that is no scan, and why; one for many of a folder for the same reason.

    >>> lines_about([Path("a/x_seg.nii"), Path("a/notes.mat")])
    ['a/x_seg.nii: named as a label map', 'a/notes.mat: no format that can be read']
    >>> lines_about(Path(f"labelsTs/{n}.nii") for n in range(200))
    ['labelsTs: 200 files (0.nii, 1.nii ...): named as a label map']
    """
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        groups.setdefault((path.parent, _reason(path)), []).append(path)
    lines = []
    for (folder, reason), paths in groups.items():
        if len(paths) <= FEW:
            lines += [f"{path}: {reason}" for path in paths]
        else:
            lines.append(f"{folder}: {len(paths)} files ({paths[0].name}, {paths[1].name} ...): {reason}")
    return lines


def _reason(path: Path) -> str:
    if is_archive(path):
        return "an archive; name it itself to have it searched"
    if is_dicom(path):
        return "DICOM, but no image series that is wanted"
    if not has_known_suffix(path):
        return "no format that can be read"
    parts = (path.parent.name.removesuffix("Tr").removesuffix("Ts"), case_stem(path))  # labelsTr
    return "named as a label map" if any(label_name(part) is not None for part in parts) else "no scan of this layout"
