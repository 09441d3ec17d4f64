"""What a folder of pictures was made from: one line a source, written when its pictures are complete.

`conversion.jsonl` begins with a line that holds the settings and the folder of the sources. While a run goes on, a
line is appended for each source that is done; a line cut off by a crash does not count. At the end the file is
rewritten in order, so that the folder is a function of sources and settings alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imgmed.conversion.sources import Source
from imgmed.errors import ConversionError, SchemaVersionError
from r2d2_base.errors import OutputExistsError
from r2d2_base.files import is_leftover, make_folder, remove_leftovers, write_bytes, writing
from r2d2_base.folders import locked_folder

__all__ = ["MANIFEST_NAME", "Manifest", "Record", "open_manifest"]

MANIFEST_NAME = "conversion.jsonl"
SCHEMA_VERSION = 1
PATIENCE_S = 10.0  # the workers of a run that was just killed need a moment to end


@dataclass(frozen=True)
class Record:
    """One source and its pictures.

    Args:
        claim: what only this source's pictures are called; the manifest holds each claim once.
        source: path within the folder of sources, see `Source`.
        size: of the source, in bytes.
        sha256: of the source, see `Source`.
        detail: facts about the conversion, such as the intensities that became black and white.
        pictures: path of each picture within its folder, and its size in bytes.
    """

    claim: str
    source: str
    size: int
    sha256: str
    detail: Mapping[str, Any]
    pictures: Mapping[str, int]

    def is_current(self, source: Source, folder: Path) -> bool:
        """Tell whether `source` is still what was converted, and all its pictures are there."""
        return (
            source.size == self.size
            and all(_size(folder / name) == size for name, size in self.pictures.items())
            and source.sha256 == self.sha256
        )


class Manifest:
    """The open manifest of a folder; only its holder writes there."""

    def __init__(self, folder: Path, header: Mapping[str, Any], records: Mapping[str, Record], lock: int) -> None:
        self.folder = folder
        self.records = dict(records)
        self.lock = lock
        self._header = header

    def add(self, record: Record) -> None:
        """Note a source whose pictures are all in place; takes away older pictures of its claim."""
        before = self.records.get(record.claim)
        for name in set(before.pictures if before else ()) - set(record.pictures):
            (self.folder / name).unlink(missing_ok=True)
        path = self.folder / MANIFEST_NAME
        with writing(path), path.open("ab") as stream:
            stream.write(_line(asdict(record)))
        self.records[record.claim] = record

    def put_in_order(self) -> None:
        """Write the whole manifest, sorted, unless that is what stands there."""
        ordered = sorted(self.records.values(), key=lambda record: record.claim)
        content = b"".join([_line(self._header), *(_line(asdict(record)) for record in ordered)])
        path = self.folder / MANIFEST_NAME
        if not path.exists() or path.read_bytes() != content:
            write_bytes(path, content)


@contextmanager
def open_manifest(folder: Path, settings: Mapping[str, Any], sources: Path) -> Iterator[Manifest]:
    """Give the manifest of `folder`, which is made if need be; half-written files of an earlier run are removed.

    Args:
        folder: of the pictures; absent, empty, or made with the same settings from the same sources.
        settings: of the conversion, as JSON has them.
        sources: folder of the sources.

    Raises:
        OutputExistsError: the folder holds something else.
        ConversionError: it was made with other settings or from another folder.
        BusyFolderError: another run is writing it.
        SchemaVersionError: it was made by another version.
    """
    header = {"schema_version": SCHEMA_VERSION, "sources": str(sources.absolute()), "settings": dict(settings)}
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{folder} exists and is no folder; choose another name")
    make_folder(folder)
    with locked_folder(folder, folder, PATIENCE_S) as lock:
        manifest = Manifest(folder, header, _read(folder, header), lock)
        remove_leftovers(folder)
        manifest.put_in_order()  # a line that a crash cut off must not swallow the next one
        try:
            yield manifest
        finally:
            remove_leftovers(folder)
        manifest.put_in_order()


def _read(folder: Path, header: Mapping[str, Any]) -> dict[str, Record]:
    path = folder / MANIFEST_NAME
    if not path.exists():
        if any(not is_leftover(entry.name) for entry in folder.iterdir()):
            raise OutputExistsError(
                f"{folder} holds files that no conversion wrote; choose another folder, or an empty one"
            )
        return {}
    *lines, _ = path.read_bytes().split(b"\n")  # what follows the last line end was cut off by a crash
    try:
        found, *records = [json.loads(line) for line in lines]
        if not isinstance(found, dict) or "schema_version" not in found:
            raise ValueError("no header")
    except ValueError as error:
        raise ConversionError(f"{path}: damaged ({error}); remove the folder and convert again") from error
    _check_header(folder, found, header)
    return {record["claim"]: Record(**record) for record in records}


def _check_header(folder: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    if found["schema_version"] != expected["schema_version"]:
        raise SchemaVersionError(
            f"{folder} was written with version {found['schema_version']} of its manifest, this is version"
            f" {expected['schema_version']}; convert into another folder"
        )
    if found["sources"] != expected["sources"]:
        raise ConversionError(
            f"{folder} holds the pictures of {found['sources']}; choose another folder for those of"
            f" {expected['sources']}"
        )
    before, now = found["settings"], expected["settings"]
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if changed:
        listed = ", ".join(f"{key} {_say(before.get(key))}, now {_say(now.get(key))}" for key in changed)
        raise ConversionError(f"{folder} was made with other settings ({listed}); choose another folder")


def _say(value: Any) -> str:
    return "unset" if value is None else json.dumps(value)


def _line(content: Mapping[str, Any]) -> bytes:
    # ASCII, since a file name may hold bytes that are no UTF-8
    return (json.dumps(content, allow_nan=False) + "\n").encode("ascii")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
