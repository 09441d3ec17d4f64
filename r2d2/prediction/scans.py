"""Finding scans to predict: among files, in folders of any layout, in archives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from imgmed.archives import is_archive, opened_source
from imgmed.errors import SourceLayoutError
from imgmed.formats import dicom, has_known_suffix
from imgmed.recipe_names import AUTO
from imgmed.recipes import read_study
from imgmed.recipes.named_files import scans_among
from imgmed.study import CaseSource, Study, VolumeSource
from r2d2.errors import PredictionError
from r2d2.prediction.passed_over import lines_about
from r2d2_base.progress import UNWATCHED, Watcher

__all__ = ["FoundScan", "FoundScans", "few", "found_scans", "is_scan_by_name", "may_be_scan"]

ARRAYS = ".npz"
DICOM_MARK, DICOM_MARK_AT = b"DICM", 128
MOST_SHOWN = 3
MOST_PARENTS = 8  # folders that names are made of, where files are called alike


@dataclass(frozen=True)
class FoundScan:
    """A scan that was found.

    Attributes:
        case_id: name of the case, and of its label map.
        images: one volume with all channels, or one for each channel.
        channels: names of the channels, as the layout knows them; None: it does not.
        shown: what stands for the scan in messages and in the manifest: its first file, within an archive too.
    """

    case_id: str
    images: tuple[VolumeSource, ...]
    channels: tuple[str, ...] | None
    shown: str

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, in the order of the channels."""
        return CaseSource(self.case_id, self.images, None).files


@dataclass(frozen=True)
class FoundScans:
    """What a search brought.

    Attributes:
        scans: with names that differ.
        passed_over: a line for each file that is no scan, and why.
        problems: a sentence for each scan that cannot be used as it lies there.
        unpacked: folder and archive of each archive.
    """

    scans: tuple[FoundScan, ...]
    passed_over: tuple[str, ...]
    problems: tuple[str, ...]
    unpacked: tuple[tuple[Path, Path], ...] = ()

    def told(self, text: object) -> str:
        """Return a text about files with the names of archives in place of the folders where these lie unpacked."""
        told = str(text)
        for folder, archive in self.unpacked:
            told = told.replace(str(folder), str(archive))
        return told

    def apart(self) -> FoundScans | None:
        """Give what is found if the files of an archive's only folder are scans each, as those of a folder would be.

        Returns:
            None: no archive holds one folder alone, in which several files are taken for the channels of a scan.
        """
        roots = [root for root, _ in self.unpacked if _holds_one_folder(root)]
        split = [scan for scan in self.scans if len(scan.images) > 1 and scan.files[0].parent.parent in roots]
        if not split:
            return None
        parts = [_named_files(scan.files) for scan in split]
        scans = [scan for scan in self.scans if scan not in split]
        scans += [replace(scan, shown=self.told(scan.shown)) for part in parts for scan in part.scans]
        return replace(self, scans=_named_apart(scans))


def few(lines: Sequence[str]) -> str:
    """Return some lines as one.

    >>> few(["a", "b", "c", "d", "e"])
    'a; b; c; and 2 more'
    """
    more = [f"and {len(lines) - MOST_SHOWN} more"] if len(lines) > MOST_SHOWN else []
    return "; ".join((*lines[:MOST_SHOWN], *more))


def is_scan_by_name(name: str) -> bool:
    """Tell whether a file is called like a scan by itself, or an archive; one of DICOM is a slice of one as a rule.

    >>> [is_scan_by_name(name) for name in ("scan.nii.gz", "scans.zip", "IM0001.dcm", "notes.txt")]
    [True, True, False, False]
    """
    path = Path(name)
    return is_archive(path) or (has_known_suffix(path) and not name.lower().endswith(dicom.SUFFIXES))


def may_be_scan(name: str, beginning: bytes) -> bool:
    """Tell whether a file may be one that scans are read from, by its name or by how it begins.

    Args:
        name: of the file.
        beginning: its first bytes, 132 at least where it has as many.
    """
    return is_scan_by_name(name) or beginning[DICOM_MARK_AT:].startswith(DICOM_MARK)


@contextmanager
def found_scans(
    inputs: Sequence[Path], recipe: str = AUTO, series: str | None = None, watcher: Watcher = UNWATCHED
) -> Iterator[FoundScans]:
    """Find the scans of files, folders and archives; archives are unpacked for as long as the context lasts.

    In folders, every layout that `prepare` reads is searched for scans, with or without labels. Files that are named
    one by one are scans each, but for slices of one DICOM series, nnU-Net's channel files, and label maps beside their
    scans.

    Args:
        inputs: as they were named.
        recipe: layout of the folders, where it is not recognised.
        series: regular expression on the description of DICOM series in folders.
        watcher: told of unpacking.

    Raises:
        PredictionError: nothing to predict.
        ImgMedError: a path is missing, a file is no scan, an archive is damaged, a layout is ambiguous.
    """
    folders = [path for path in dict.fromkeys(inputs) if path.is_dir() or _is_container(path)]
    files = [path for path in inputs if path not in set(folders)]
    with ExitStack() as stack:
        parts = [_named_files(files)] if files else []
        for path in folders:
            root, unpacked = stack.enter_context(opened_source(path, watcher.progress, watcher.stop))
            parts.append(_searched(root, None if unpacked is None else path, recipe, series))
        passed_over = tuple(line for part in parts for line in part.passed_over)
        found = FoundScans(
            _named_apart(_once([scan for part in parts for scan in part.scans])),
            passed_over,
            tuple(problem for part in parts for problem in part.problems),
            tuple(pair for part in parts for pair in part.unpacked),
        )
        if not found.scans and not found.problems:
            raise PredictionError(f"no scans among {', '.join(map(str, inputs))}: {few(passed_over)}")
        yield found


def _holds_one_folder(root: Path) -> bool:
    return [path.is_dir() for path in root.iterdir()] == [True]


def _is_container(path: Path) -> bool:
    return path.is_file() and (is_archive(path) or path.name.lower().endswith(ARRAYS))


def _named_files(files: Sequence[Path]) -> FoundScans:
    cases = scans_among(files)
    used = {path for case in cases.sources for path in case.files}
    scans = tuple(FoundScan(case.case_id, case.images, None, _first(case)) for case in cases.sources)
    others = [path for path in dict.fromkeys(files) if path not in used and path.is_file()]
    return FoundScans(scans, tuple(lines_about(_unmentioned(others, cases.problems))), cases.problems)


def _unmentioned(files: Iterable[Path], problems: Sequence[str]) -> list[Path]:
    return [path for path in files if not any(problem.startswith(f"{path}: ") for problem in problems)]


def _searched(root: Path, archive: Path | None, recipe: str, series: str | None) -> FoundScans:
    """The scans of a folder; `archive` is what was unpacked there."""
    study = _study_in(root, archive or root, recipe, series)
    found = FoundScans((), (), (), () if archive is None else ((root, archive),))
    lines = (*lines_about(_unmentioned(study.unused, study.problems)), *study.left_out)
    return replace(
        found,
        scans=tuple(
            FoundScan(case.case_id, case.images, study.channels, found.told(_first(case))) for case in study.sources
        ),
        passed_over=tuple(map(found.told, lines)),
        problems=tuple(map(found.told, study.problems)),
    )


def _study_in(root: Path, named: Path, recipe: str, series: str | None) -> Study:
    try:
        return read_study(root, recipe, series=series, labels="none")
    except SourceLayoutError as error:
        if series is None:
            raise SourceLayoutError(str(error).replace(str(root), str(named))) from error
        every = _study_in(root, named, recipe, None)  # says why, if it is not for the series
        raise PredictionError(
            f"{named}: none of the scans there ({len(every.sources)}) is of a DICOM series whose description has"
            f" {series!r}, as those of the model; --series names another part of it, or '' for any"
        ) from error


def _first(case: CaseSource) -> str:
    first = case.images[0]
    return str(first.path) if first.entry is None else f"{first.path}[{first.entry}]"


def _once(scans: Sequence[FoundScan]) -> list[FoundScan]:
    """The scans without those that were named twice, such as by a file and by its folder."""
    first: dict[object, FoundScan] = {}
    for scan in scans:
        first.setdefault((tuple(map(Path.absolute, scan.files)), scan.images[0].entry), scan)
    return list(first.values())


def _named_apart(scans: Sequence[FoundScan]) -> tuple[FoundScan, ...]:
    """Scans of one name are called as the folders that they lie in; refused where these do not differ either."""
    counts = Counter(scan.case_id for scan in scans)
    alike = [scan for scan in scans if counts[scan.case_id] > 1]
    taken = {name for name, count in counts.items() if count == 1}
    names: dict[str, str] = {}
    for name in dict.fromkeys(scan.case_id for scan in alike):
        group = [scan for scan in alike if scan.case_id == name]
        chosen = next((new for new in _names_by_folders(group) if _differ(new, taken)), None)
        if chosen is None:
            first, second = (scan.shown for scan in group[:2])
            raise PredictionError(f"{first} and {second} would both be written as {name}; predict them apart")
        taken.update(chosen)
        names |= {scan.shown: new for scan, new in zip(group, chosen, strict=True)}
    return tuple(replace(scan, case_id=names.get(scan.shown, scan.case_id)) for scan in scans)


def _names_by_folders(scans: Sequence[FoundScan]) -> Iterator[list[str]]:
    """Ever longer names for scans that are called alike: their folders', with and without their own."""
    folders = [Path(scan.shown).absolute().parent.parts[1:] for scan in scans]
    for depth in range(1, MOST_PARENTS + 1):
        above = ["_".join(parts[-depth:]) for parts in folders]
        yield above
        yield [f"{folder}_{scan.case_id}" for folder, scan in zip(above, scans, strict=True)]


def _differ(names: Sequence[str], taken: set[str]) -> bool:
    return len(set(names)) == len(names) and not taken.intersection(names) and all(names)
