"""DICOM files as pydicom reads them, those that begin without the usual 128 bytes and "DICM" included."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from imgmed.errors import ImgMedError, UnreadableFileError
from imgmed.formats.header import damaged

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["FAILURES", "checked_header", "is_dicom", "read_file"]

PREAMBLE = 128
FAILURES: tuple[type[Exception], ...] = (
    OSError, ValueError, TypeError, AttributeError, KeyError, IndexError, EOFError, NotImplementedError, RuntimeError,
    AssertionError, struct.error,
)  # fmt: skip
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
FIRST_TYPES = (b"UL", b"UI", b"CS", b"OB", b"SH", b"DA", b"LO")  # of the values that a data set may begin with
TELLING = ("SOPClassUID", "SeriesInstanceUID", "Rows")  # one of them, where a file is not marked as DICOM
LONGEST_FIRST = 256  # bytes of its first value, where its type is not written


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins like a DICOM file: "DICM" after 128 bytes, or as a data set without these."""
    try:
        with path.open("rb") as stream:
            head = stream.read(PREAMBLE + 4)
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read ({error.strerror})") from error
    return head[PREAMBLE:] == b"DICM" or _begins_like_data_set(head)


def read_file(path: Path, tags: Sequence[str] | None = None, *, with_pixels: bool = True) -> Dataset:
    """Return a file's data set, with or without pixels; with `tags` these alone, without pixels.

    Where the file does not say how it is encoded, pydicom's finding is put in as its transfer syntax.

    Raises:
        UnreadableFileError: no DICOM file.
        Exception: of many kinds, where bytes are wrong: use within `checked_header`.
    """
    import pydicom
    from pydicom import uid

    with path.open("rb") as stream:
        head = stream.read(PREAMBLE + 4)
    is_marked = head[PREAMBLE:] == b"DICM"
    not_dicom = UnreadableFileError(f"{path}: not a DICOM file; was it renamed, or its copying interrupted?")
    if not is_marked and not _begins_like_data_set(head):
        raise not_dicom
    wanted = None if tags is None else list(tags)
    is_header = tags is not None or not with_pixels
    dataset = pydicom.dcmread(path, force=True, stop_before_pixels=is_header, specific_tags=wanted)
    if not is_marked and not any(tag in dataset for tag in TELLING):
        raise not_dicom
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = uid.ExplicitVRLittleEndian if is_little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


@contextmanager
def checked_header(path: Path) -> Iterator[None]:
    """Turn whatever pydicom raises on a broken header into one error; its message could name the patient."""
    try:
        yield
    except (ImgMedError, MemoryError):
        raise
    except Exception as error:  # of many kinds, as any byte of the file may be wrong
        raise damaged(path, f"its DICOM header: {type(error).__name__}") from None


def _begins_like_data_set(head: bytes) -> bool:
    """Whether the first element is of the groups that a data set begins with, and of a usual type or length."""
    if head[:2] not in FIRST_GROUPS or head[3:4] != b"\0":
        return False
    return head[4:6] in FIRST_TYPES or 0 < int.from_bytes(head[4:8], "little") <= LONGEST_FIRST
