"""The files of a source folder, walked once: what every recipe is matched against."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from imgmed.formats import case_stem, dicom, dicom_file, known_suffixes

__all__ = ["Tree", "is_dicom", "natural_key", "walk"]

IGNORED_FOLDERS = frozenset({"__MACOSX", "lost+found", "System Volume Information", "$RECYCLE.BIN"})
IGNORED_FILES = frozenset({"thumbs.db", "desktop.ini", "dicomdir", "icon\r"})
SILENT_STEMS = frozenset({"readme", "license", "licence", "copying", "citation", "changelog", "notice", "authors"})
DOCUMENTS = (".cff", ".docx", ".htm", ".html", ".log", ".md", ".pdf", ".rst", ".sh", ".txt")
TABLES = (".bval", ".bvec", ".csv", ".json", ".md5", ".sha256", ".tsv", ".xls", ".xlsx", ".xml", ".yaml", ".yml")
SILENT_SUFFIXES = frozenset((*DOCUMENTS, *TABLES))
VOLUME_SUFFIXES = known_suffixes()
COMPANIONS = {".raw": (".mhd", ".nhdr"), ".zraw": (".mhd",), ".gz": (".nhdr",), ".bin": (".nhdr",)}


@dataclass(frozen=True)
class Tree:
    """A source folder and its files.

    Args:
        root: the folder.
        files: paths below it with forward slashes, in natural order; hidden and system files are left out.
        lost: links to files that are not there, likewise.
    """

    root: Path
    files: tuple[str, ...]
    lost: tuple[str, ...] = ()

    def path(self, name: str) -> Path:
        """Return where a file of the tree lies."""
        return self.root / name

    @cached_property
    def stems(self) -> dict[str, str]:
        """Every file's path without the suffix of a volume, in composed Unicode ("é" as one character), by which
        names meet wherever they were written: "case_1/imaging.nii.gz" has "case_1/imaging".
        """
        return {name: _without_suffix(name) for name in self.files}

    def relative(self, path: Path) -> str:
        """Return the path of a file from the root on, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def stem_of(self, path: Path) -> str:
        """Return what `stems` has for a file, or would have for one that is not there."""
        name = self.relative(path)
        return self.stems.get(name) or _without_suffix(name)

    @cached_property
    def spellings(self) -> dict[str, str]:
        """{path in composed Unicode: as the disk has it} of every file."""
        return {unicodedata.normalize("NFC", name): name for name in self.files}

    @cached_property
    def volumes(self) -> tuple[str, ...]:
        """The files whose names end like a volume or a picture; DICOM is not among them."""
        suffixes = tuple(end for end in VOLUME_SUFFIXES if end not in dicom.SUFFIXES)
        return tuple(name for name in self.files if name.lower().endswith(suffixes))

    @cached_property
    def lost_volumes(self) -> tuple[str, ...]:
        """The links to nothing whose names end like a volume, a picture or DICOM."""
        return tuple(name for name in self.lost if name.lower().endswith(VOLUME_SUFFIXES))

    @cached_property
    def dicom(self) -> tuple[str, ...]:
        """The DICOM files: by suffix, or, where a name has none or only digits, by the mark in the file."""
        return tuple(name for name in self.files if is_dicom(self.path(name)))

    @cached_property
    def volume_names(self) -> frozenset[str]:
        """The names in `volumes`, to look them up."""
        return frozenset(self.volumes)

    @cached_property
    def dicom_names(self) -> frozenset[str]:
        """The names in `dicom`, to look them up."""
        return frozenset(self.dicom)

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """The names of the folders that lie directly in the root and hold files."""
        return tuple(dict.fromkeys(name.partition("/")[0] for name in self.files if "/" in name))

    @cached_property
    def all_folders(self) -> dict[str, list[str]]:
        """Every folder that holds files, at any depth, with the files below it; "" is the root."""
        below: dict[str, list[str]] = {"": list(self.files)}
        for name in self.files:
            folder = name
            while "/" in folder:
                folder = folder.rpartition("/")[0]
                below.setdefault(folder, []).append(name)
        return below

    def below(self, folder: str) -> tuple[str, ...]:
        """Return the files below a folder of the tree, as paths from the root."""
        return tuple(self.all_folders.get(folder, ()))

    def within(self, folder: str) -> Tree:
        """Return the tree whose root is a folder of this one."""
        start = f"{folder}/"
        lost = tuple(name.removeprefix(start) for name in self.lost if name.startswith(start))
        return Tree(self.root / folder, tuple(name.removeprefix(start) for name in self.below(folder)), lost)

    def unused(self, used: set[Path]) -> tuple[Path, ...]:
        """Return the files that no case uses, without documents, tables and the second files of volumes."""
        stems = {path.with_name(case_stem(path)) for path in used}
        rest = (self.path(name) for name in self.files)
        return tuple(path for path in rest if path not in used and not _is_silent(path) and not _belongs(path, stems))


def walk(root: Path) -> Tree:
    """List the files of a folder; links are followed, except to a folder that the link lies in.

    >>> walk(Path("imgmed/recipes")).files[:1]
    ('__init__.py',)
    """
    listed = sorted(_files_of(Path(root), "", (Path(root).resolve(),)), key=lambda entry: natural_key(entry[0]))
    return Tree(
        Path(root),
        tuple(name for name, is_there in listed if is_there),
        tuple(name for name, is_there in listed if not is_there),
    )


def _files_of(folder: Path, prefix: str, parents: tuple[Path, ...]) -> Iterator[tuple[str, bool]]:
    """Every file below a folder, and whether it is there: False for a link to nothing."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.name.startswith(".") or entry.name in IGNORED_FOLDERS or entry.name.lower() in IGNORED_FILES:
            continue
        if entry.is_dir():
            target = Path(entry.path).resolve() if entry.is_symlink() else parents[-1] / entry.name
            if target not in parents:
                yield from _files_of(Path(entry.path), f"{prefix}{entry.name}/", (*parents, target))
        elif entry.is_file() or entry.is_symlink():
            yield f"{prefix}{entry.name}", entry.is_file()


def _without_suffix(name: str) -> str:
    stem = next((name[: -len(end)] for end in VOLUME_SUFFIXES if name.lower().endswith(end)), name)
    return unicodedata.normalize("NFC", stem)


def natural_key(text: str) -> tuple[object, ...]:
    """Return a key that sorts numbers by value and folder by folder: "a2" before "a10".

    >>> sorted(["a10/x", "a2/y", "A1/z"], key=natural_key)
    ['A1/z', 'a2/y', 'a10/x']
    """
    folders = tuple(
        tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece.casefold()) for piece in _pieces(part))
        for part in text.split("/")
    )
    return folders, text


def _pieces(part: str) -> list[str]:
    return [piece for piece in re.split(r"(\d+)", part) if piece]


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM: by ".dcm"; where its suffix tells nothing, by its content."""
    suffix = path.suffix.lower()
    if suffix in dicom.SUFFIXES:
        return True
    if suffix not in ("", ".ima", ".dicom") and not suffix[1:].isdecimal():
        return False
    try:
        return dicom_file.is_dicom(path)
    except OSError:
        return False


def _is_silent(path: Path) -> bool:
    return path.stem.lower() in SILENT_STEMS or path.suffix.lower() in SILENT_SUFFIXES


def _belongs(path: Path, stems: set[Path]) -> bool:
    """Whether a file holds the voxels of a header beside it, such as image.raw of image.mhd."""
    if path.suffix.lower() not in COMPANIONS:
        return False
    return path.with_suffix("") in stems or path.with_suffix("").with_suffix("") in stems
