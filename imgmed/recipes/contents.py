"""What a patient's folder holds: images and labels, as files, stacks of pictures and DICOM series."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from imgmed.errors import UnreadableFileError
from imgmed.formats import dicom, pictures
from imgmed.recipes.names import label_name
from imgmed.recipes.tree import Tree
from imgmed.study import VolumeSource

if TYPE_CHECKING:
    from imgmed.formats.dicom import DicomSeries

__all__ = ["Contents", "Piece", "contents_of", "dicom_pieces"]

LABEL_KINDS = ("segmentation", "structures")


@dataclass(frozen=True)
class Piece:
    """One volume or label of a patient.

    Args:
        name: stem of the file, name of the folder of a stack, or description of a series.
        place: folder that holds it, as a path from the root of the tree.
        source: its files.
        is_label: whether it holds labels.
        series: the DICOM series; None for other formats.
    """

    name: str
    place: str
    source: VolumeSource
    is_label: bool
    series: DicomSeries | None = field(default=None, repr=False)

    @property
    def uid(self) -> str:
        """SeriesInstanceUID, "" for other formats."""
        return "" if self.series is None else self.series.series_uid

    @property
    def references(self) -> tuple[str, ...]:
        """The image series that a DICOM label belongs to."""
        return () if self.series is None else self.series.referenced_series

    def is_described(self, pattern: str) -> bool:
        """Tell whether the description of the series contains the pattern, whatever the case."""
        return self.series is not None and re.search(pattern, self.series.description, re.IGNORECASE) is not None

    def __str__(self) -> str:
        if self.series is None:
            return self.source.path.name if len(self.source.files) == 1 else f"{self.name}/ ({self._files})"
        description = f" {self.series.description!r}" if self.series.description else ""
        return f"{self.series.modality or 'DICOM'}{description} ({self._files})"

    @property
    def _files(self) -> str:
        count = len(self.source.files)
        return "1 file" if count == 1 else f"{count} files"


@dataclass(frozen=True)
class Contents:
    """The pieces below one folder; `broken` are sentences about DICOM files that cannot be read."""

    pieces: tuple[Piece, ...]
    broken: tuple[str, ...] = ()

    @cached_property
    def images(self) -> tuple[Piece, ...]:
        """The pieces that are images."""
        return tuple(piece for piece in self.pieces if not piece.is_label)

    @cached_property
    def labels(self) -> tuple[Piece, ...]:
        """The pieces that are labels."""
        return tuple(piece for piece in self.pieces if piece.is_label)

    @property
    def is_complete(self) -> bool:
        """Whether there is an image and a label."""
        return bool(self.images and self.labels)

    def by_folder(self, folder: str) -> dict[str, Contents]:
        """Return the contents of each folder within `folder`; empty if pieces lie in `folder` itself."""
        start = f"{folder}/" if folder else ""
        if any(piece.place == folder for piece in self.pieces):
            return {}
        names = dict.fromkeys(piece.place.removeprefix(start).partition("/")[0] for piece in self.pieces)
        return {
            name: Contents(tuple(piece for piece in self.pieces if f"{piece.place}/".startswith(f"{start}{name}/")))
            for name in names
        }


def contents_of(tree: Tree, folder: str) -> Contents:
    """Find the images and labels below a folder of the tree ("" is the root).

    Volumes count as labels if their name, or a folder on the way to them, has a word for labels; DICOM by its kind.
    Two or more pictures in a folder are one stack.
    """
    below = tree.below(folder)
    volumes = [name for name in below if name in tree.volume_names]
    files = [tree.path(name) for name in below if name in tree.dicom_names]
    series, broken = dicom_pieces(tree, files)
    return Contents((*_volume_pieces(tree, folder, volumes), *series), broken)


def dicom_pieces(tree: Tree, files: Sequence[Path]) -> tuple[tuple[Piece, ...], tuple[str, ...]]:
    """Return the series, segmentations and structure sets among DICOM files, and sentences about broken files."""
    if not files:
        return (), ()
    try:
        series = dicom.find_series(files)
    except UnreadableFileError as error:
        return (), tuple(str(error).splitlines())
    return tuple(_series_piece(tree, member) for member in series if member.kind != "other"), ()


def _series_piece(tree: Tree, series: DicomSeries) -> Piece:
    place = series.files[0].parent.relative_to(tree.root).as_posix()
    name = series.description or series.modality or "DICOM"
    return Piece(name, "" if place == "." else place, series.source, series.kind in LABEL_KINDS, series)


def _volume_pieces(tree: Tree, folder: str, names: list[str]) -> Iterator[Piece]:
    stacks: dict[str, list[str]] = {}
    for name in names:
        place = PurePosixPath(name).parent.as_posix()
        if name.lower().endswith(pictures.SUFFIXES):
            stacks.setdefault(place, []).append(name)
        else:
            yield _piece(tree, folder, place, PurePosixPath(tree.stems[name]).name, [name])
    for place, files in stacks.items():
        if len(files) > 1 and place != (folder or "."):
            yield _piece(tree, folder, place, PurePosixPath(place).name, files)
        else:
            for name in files:
                yield _piece(tree, folder, place, PurePosixPath(tree.stems[name]).name, [name])


def _piece(tree: Tree, folder: str, place: str, name: str, files: list[str]) -> Piece:
    inner = PurePosixPath(place).parts[len(PurePosixPath(folder).parts) :]
    is_label = any(label_name(part) is not None for part in (*inner, name))
    source = VolumeSource(tuple(tree.path(file) for file in files))
    return Piece(name, "" if place == "." else place, source, is_label)
