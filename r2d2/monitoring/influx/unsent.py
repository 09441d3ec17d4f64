"""What stands in a run's files behind the places up to which they were sent; loads nothing that sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.influx.ledger import Place
from r2d2.monitoring.series import Record, parsed

__all__ = ["TAG_OF_FILES", "name_of", "records_after", "series_files", "waiting"]

TAG_OF_FILES = {"host": "host", "rank": "rank"}
"""By the first word of a file's name: whose it is stands behind it."""


def name_of(folder: RunFolder, path: Path) -> str:
    """Name a file as the ledger does."""
    return path.relative_to(folder.path).as_posix()


def series_files(folder: RunFolder) -> list[Path]:
    """Give the files of hosts and workers."""
    found = sorted(path for path in folder.monitoring.glob("*.jsonl") if not path.is_symlink())
    return [path for path in found if path.stem.partition("-")[0] in TAG_OF_FILES]


def waiting(folder: RunFolder, places: Mapping[str, Place]) -> int:
    """Count the records and events that were not sent."""
    place = places.get(folder.events.name, Place())
    count = 0
    if folder.events.exists():
        with folder.events.open("rb") as file:
            file.seek(place.at)
            count = sum(line.endswith(b"\n") for line in file)
    for path in series_files(folder):
        count += sum(1 for _ in records_after(path, places.get(name_of(folder, path))))
    return count


def records_after(path: Path, place: Place | None) -> Iterator[tuple[Record, Place]]:
    """Yield the records behind a place, each with its own; a file that was thinned meanwhile is looked through."""
    try:
        with path.open("rb") as file:
            found = _lines(file, 0 if place is None else place.at)
            if place is None:
                yield from found
                return
            first = next(found, None)
            if first is not None and first[1] == place:
                yield from found
                return
            file.seek(0)
            records = list(_lines(file, 0))
            behind = next((at + 1 for at, (_, own) in enumerate(records) if own.time == place.time), None)
            if behind is None:  # united with others
                behind = next((at for at, (_, own) in enumerate(records) if own.time > place.time), len(records))
            yield from records[behind:]
    except FileNotFoundError:
        return


def _lines(file: IO[bytes], begin: int) -> Iterator[tuple[Record, Place]]:
    file.seek(begin)
    for line in file:
        if not line.endswith(b"\n"):
            return
        for record in parsed([line]):
            yield record, Place(at=begin, time=record["time"])
        begin += len(line)
