"""What of a run is still to be sent, read from its files a bounded piece at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dist_training.record.events import EventTail
from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.influx.ledger import Place
from r2d2.monitoring.influx.points import lines_of_event, lines_of_record
from r2d2.monitoring.influx.unsent import TAG_OF_FILES, name_of, records_after, series_files

__all__ = ["Batch", "next_batch"]


@dataclass
class Batch:
    """Points that are sent together.

    Attributes:
        lines: of line protocol.
        places: how far the run is sent when these have arrived, of the files that they are from.
        united: how many records they are of that were thinned before.
    """

    lines: list[str] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    united: int = 0

    def __bool__(self) -> bool:
        return bool(self.places)


def next_batch(folder: RunFolder, places: Mapping[str, Place], tags: Mapping[str, str], most: int) -> Batch:
    """Read what comes next; nothing where all was sent.

    Args:
        folder: of the run.
        places: how far its files were sent.
        tags: of all its points.
        most: points; a few more come, as those of one record stay together.
    """
    batch = Batch()
    _take_events(batch, folder.events, places, tags, most)
    for path in series_files(folder):
        if len(batch.lines) >= most:
            break
        name = name_of(folder, path)
        kind, _, whose = path.stem.partition("-")
        own = {**tags, TAG_OF_FILES[kind]: whose}
        for record, place in records_after(path, places.get(name)):
            batch.lines += lines_of_record(record, own)
            batch.places[name] = place
            batch.united += any(isinstance(value, list) for value in record.values())
            if len(batch.lines) >= most:
                break
    return batch


def _take_events(batch: Batch, events: Path, places: Mapping[str, Place], tags: Mapping[str, str], most: int) -> None:
    tail = EventTail(events, position=places.get(events.name, Place()).at)
    before = tail.position
    for event in tail.new():
        batch.lines += lines_of_event(event, tags)
        if len(batch.lines) >= most:
            break
    if tail.position != before:
        batch.places[events.name] = Place(at=tail.position)
