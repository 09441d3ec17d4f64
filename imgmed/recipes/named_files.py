"""Scans among files that are named one by one, as a shell expands "scans/*.nii.gz" or "series/*.dcm"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from imgmed.errors import UnreadableFileError
from imgmed.formats import case_stem, has_known_suffix, known_suffixes
from imgmed.formats.dicom import find_series
from imgmed.recipes.channels import group_channels
from imgmed.recipes.layout import CaseList
from imgmed.recipes.matching import match_names
from imgmed.recipes.tree import is_dicom
from imgmed.study import CaseSource, VolumeSource

__all__ = ["scans_among"]


def scans_among(files: Sequence[Path]) -> CaseList:
    """List the scans that files make; of DICOM only headers are read.

    Each file is a scan, but DICOM files of one series are one, and files with nnU-Net's channel numbers ("a_0000",
    "a_0001") too. A label map whose image is among the files is none. A file that is named twice counts once.

    Args:
        files: as they were named.

    Returns:
        Cases without labels, in the order in which their first files were named, called as the file; as the folder,
        where a series has several files, with a number where the folder has several series. Names may repeat. And a
        sentence for each file that is missing, or is no scan that can be read.
    """
    unique = list({path.absolute(): path for path in files}.values())
    faults = {path: fault for path in unique if (fault := _fault_of(path)) is not None}
    sound = [path for path in unique if path not in faults]
    volumes = _volumes([path for path in sound if not is_dicom(path)])
    series = _series([path for path in sound if is_dicom(path)])
    order = {path: number for number, path in enumerate(unique)}
    cases = sorted((*volumes.sources, *series.sources), key=lambda case: min(order[path] for path in case.files))
    return CaseList(tuple(cases), (*faults.values(), *volumes.problems, *series.problems))


def _fault_of(path: Path) -> str | None:
    if not path.is_file():
        return f"{path}: {'a link to nothing' if path.is_symlink() else 'no such file or folder'}"
    if has_known_suffix(path) or is_dicom(path):
        return None
    return f"{path}: no scan that can be read; such files end in {', '.join(known_suffixes())}, or are DICOM"


def _volumes(files: Iterable[Path]) -> CaseList:
    folders: dict[Path, dict[str, Path]] = {}
    twins: list[Path] = []
    for path in files:
        first = folders.setdefault(path.parent, {}).setdefault(case_stem(path), path)
        if first is not path:
            twins.append(path)  # x.nii beside x.nii.gz
    sources: list[CaseSource] = []
    problems: list[str] = []
    for stems in folders.values():
        labels = set(match_names(list(stems))[0].values())
        images = {stem: VolumeSource((path,)) for stem, path in stems.items() if stem not in labels}
        cases, faults = group_channels(images, ())
        sources += [CaseSource(name, volumes, None) for name, volumes in cases.items()]
        problems += faults
    sources += [CaseSource(case_stem(path), (VolumeSource((path,)),), None) for path in twins]
    return CaseList(tuple(sources), tuple(problems))


def _series(files: Sequence[Path]) -> CaseList:
    if not files:
        return CaseList()
    try:
        images = [series.source for series in find_series(files) if series.kind == "image"]
    except UnreadableFileError as error:
        return CaseList((), tuple(str(error).splitlines()))
    counts = Counter(source.path.parent for source in images if len(source.files) > 1)
    numbers: Counter[Path] = Counter()
    sources = []
    for source in images:
        folder = source.path.parent
        name = case_stem(source.path)
        if len(source.files) > 1:
            numbers[folder] += 1
            own = folder.resolve().name
            name = own if counts[folder] == 1 else f"{own}_{numbers[folder]}"
        sources.append(CaseSource(name, (source,), None))
    return CaseList(tuple(sources), ())
