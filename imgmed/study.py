"""A study: what a recipe finds in a source folder, before any volume is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imgmed.errors import SourceLayoutError
from imgmed.formats import case_stem, has_known_suffix, known_suffixes

__all__ = ["CaseSource", "Recipe", "Study", "VolumeSource", "duplicate_problems", "pair_folders"]

MULTI_FILE = 4  # digits of the channel number in nnU-Net's "case_0000"


@dataclass(frozen=True)
class VolumeSource:
    """The files that make one volume.

    Args:
        files: one file; or all files of one DICOM series; or the pictures of one stack, in order.
        entry: which volume within the file, such as "train_images/17" of an .npz; None: the file is the volume.

    >>> str(VolumeSource((Path("a/scan.npz"),), "images/3"))
    'a/scan.npz[images/3]'
    """

    files: tuple[Path, ...]
    entry: str | None = None

    @property
    def path(self) -> Path:
        """The file, or the first of them: what messages and names are made from."""
        return self.files[0]

    def __str__(self) -> str:
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.path}{more}" if self.entry is None else f"{self.path}[{self.entry}]"


@dataclass(frozen=True)
class CaseSource:
    """Where one case lies.

    Args:
        case_id: its name, unique in the study.
        images: one volume that holds all channels, or one volume for each channel.
        label: the label map; None in a classification study.
        patient: as the layout names the patient; None: patient_pattern decides, or each case is a patient.
        category: class name in a classification study.
        split: "train", "validation" or "test" where the source itself divides the cases.
    """

    case_id: str
    images: tuple[VolumeSource, ...]
    label: VolumeSource | None
    patient: str | None = None
    category: str | None = None
    split: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the case, each once, images first."""
        sources = (*self.images, *(() if self.label is None else (self.label,)))
        return tuple(dict.fromkeys(path for source in sources for path in source.files))


@dataclass(frozen=True)
class Study:
    """The cases of a source folder and what the folder declares about them.

    `channels` and `labels` are None where they must be found in the data. `problems` are sentences about
    files that make no case; preparation reports them together with those about unusable cases.
    """

    name: str
    root: Path
    recipe: str
    sources: tuple[CaseSource, ...]
    channels: tuple[str, ...] | None = None
    labels: dict[str, int] | None = None
    problems: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Recipe:
    """A layout of source folders: its name, how it looks, whether a folder follows it, and how it is read."""

    name: str
    layout: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], Study]


def pair_folders(images: Path, labels: Path) -> tuple[tuple[CaseSource, ...], tuple[str, ...]]:
    """Pair the volumes of two folders by the stem of their names.

    "case.nii.gz" meets "case.nii.gz" or "case.nii"; images "case_0000.nii.gz", "case_0001.nii.gz" ... are the
    channels of "case.nii.gz" (nnU-Net).

    Returns:
        The pairs, sorted by name, and a sentence for each file without partner.

    Raises:
        SourceLayoutError: neither folder holds a volume.
    """
    image_files, problems = _by_stem(images)
    label_files, label_problems = _by_stem(labels)
    problems += label_problems
    if not image_files and not label_files:
        raise SourceLayoutError(
            f"no image/label pairs in {images} and {labels}: neither holds a file ending in"
            f" {' or '.join(known_suffixes())}"
        )
    grouped = _grouped_by_case(image_files, label_files)
    sources = []
    for case_id, files in sorted(grouped.items()):
        label = label_files.get(case_id)
        if label is None:
            problems.append(f"{files[0]}: image without a label; expected {labels / case_id}{_suffix_of(files[0])}")
        else:
            volumes = tuple(VolumeSource((path,)) for path in files)
            sources.append(CaseSource(case_id, volumes, VolumeSource((label,))))
    for case_id in sorted(set(label_files) - set(grouped)):
        path = label_files[case_id]
        problems.append(f"{path}: label without an image; expected {images / path.name}")
    return tuple(sources), tuple(problems)


def _by_stem(folder: Path) -> tuple[dict[str, Path], list[str]]:
    files: dict[str, Path] = {}
    problems = []
    for path in _volumes_in(folder):
        other = files.setdefault(case_stem(path), path)
        if other is not path:
            problems.append(f"{path}: same case name as {other.name}; keep one of them")
    return files, problems


def _volumes_in(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and has_known_suffix(path))


def _grouped_by_case(images: dict[str, Path], labels: dict[str, Path]) -> dict[str, tuple[Path, ...]]:
    grouped: dict[str, tuple[Path, ...]] = {}
    for stem, path in sorted(images.items()):
        case_id = stem
        base, _, number = stem.rpartition("_")
        if stem not in labels and base in labels and len(number) == MULTI_FILE and number.isdecimal():
            case_id = base
        grouped[case_id] = (*grouped.get(case_id, ()), path)
    return grouped


def _suffix_of(path: Path) -> str:
    return path.name[len(case_stem(path)) :]


def duplicate_problems(sources: Sequence[CaseSource]) -> tuple[str, ...]:
    """Return a sentence for every case whose name occurred before."""
    seen: dict[str, CaseSource] = {}
    problems = []
    for source in sources:
        first = seen.setdefault(source.case_id, source)
        if first is not source:
            problems.append(f"{source.images[0]}: same case name as {first.images[0]}; names must differ")
    return tuple(problems)
