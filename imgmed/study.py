"""A study: what a recipe finds in a source folder, before any volume is read."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["CaseSource", "Study", "VolumeSource", "duplicate_problems", "enumerated", "usable_name"]

LONGEST_NAME = 180  # bytes; files are called after cases, with more before and behind, and most disks end at 255
DIGITS = 8
MOST_NAMED = 20


@dataclass(frozen=True)
class VolumeSource:
    """The files that make one volume.

    Args:
        files: one file; or all files of one DICOM series; or the pictures of one stack, in order.
        entry: which volume within the file, such as "train_images/17" of an .npz; None: the file is the volume.
        structures: what each file is the mask of, where a label map is one file for each structure; else ().

    >>> str(VolumeSource((Path("a/scan.npz"),), "images/3"))
    'a/scan.npz[images/3]'
    """

    files: tuple[Path, ...]
    entry: str | None = None
    structures: tuple[str, ...] = ()

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

    Args:
        name: of the study.
        root: the folder that holds the layout; files lie below it.
        recipe: name of the layout.
        sources: the cases.
        channels: their names in order; None: to be found in the data.
        labels: {name: value}; None: to be found in the data.
        problems: sentences about files that make no case; preparation reports them with those about unusable cases.
        ignore_label: value of voxels that count nowhere, which is among no labels; None: all count.
        regions: {name: values} where labels overlap, such as {"liver": (1, 2)}; None: each label is its own region.
        task: "segmentation", or "classification", where each case has a category and no label map.
        unused: files that belong to no case (documents and tables aside).
        reason: what the layout was recognised by.
        notes: sentences worth knowing that are no problems.
        patients: what the layout takes for patients' names, also where a folder makes no case.
        left_out: sentences about labelled cases that the source itself leaves out, such as a list that lacks them.
        folds: (training, validation) cases of each fold where the source itself has folds.
        are_patients_coded: the source names its patients by codes of its own, which need not be hidden.
    """

    name: str
    root: Path
    recipe: str
    sources: tuple[CaseSource, ...]
    channels: tuple[str, ...] | None = None
    labels: dict[str, int] | None = None
    problems: tuple[str, ...] = ()
    regions: dict[str, tuple[int, ...]] | None = None
    task: Literal["segmentation", "classification"] = "segmentation"
    unused: tuple[Path, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    ignore_label: int | None = None
    left_out: tuple[str, ...] = ()
    folds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    are_patients_coded: bool = False


def duplicate_problems(sources: Sequence[CaseSource]) -> tuple[str, ...]:
    """Return a sentence for every case whose name occurred before."""
    seen: dict[str, CaseSource] = {}
    problems = []
    for source in sources:
        first = seen.setdefault(source.case_id, source)
        if first is not source:
            problems.append(f"{source.images[0]}: same case name as {first.images[0]}; names must differ")
    return tuple(problems)


def enumerated(names: Iterable[str]) -> str:
    """Return names as a sentence has them, the first 20 of many.

    >>> enumerated(["a", "b"]), enumerated("abcdefghijklmnopqrstuvw").endswith("s, t and 3 more")
    ('a, b', True)
    """
    names = list(names)
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def usable_name(name: str) -> str:
    """Return a case's name in composed Unicode and, where it is too long for files to be called so, cut.

    >>> usable_name("e\u0301") == "\u00e9", usable_name("x" * 200)[168:], usable_name("x" * 199)[168:]
    (True, 'xxx-aa20c23e', 'xxx-f18029ae')
    """
    name = unicodedata.normalize("NFC", name)
    encoded = name.encode(errors="surrogateescape")
    if len(encoded) <= LONGEST_NAME:
        return name
    start = encoded[: LONGEST_NAME - DIGITS - 1].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(encoded).hexdigest()[:DIGITS]}"
