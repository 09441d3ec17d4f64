"""Series of a run on disk: a line a record, appended; of a long run older records are thinned out.

A record is a mapping of keys (`r2d2.monitoring.schema`) to numbers, with ``time``, its end in seconds since 1970, and
``seconds``, how long it stands for. Of records that were united, a value is ``[least, mean, largest]``. Loads no NumPy:
the sampler writes with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from r2d2_base.files import write_bytes

__all__ = ["MOST_RECORDS", "Record", "SeriesFile", "parsed", "read_newest", "read_series", "thinned", "united"]

MOST_RECORDS = 3000
"""That a file holds; the newest quarter stays as it was recorded."""
_DIGITS = 5
_NEWEST_BYTES = 2**22

Record = dict[str, Any]


class SeriesFile:
    """Appends records to a file, which goes on where it was left, also by a crash.

    Each record is handed to the system at once: a process that is killed loses none that it wrote.

    Args:
        path: the file; it may be missing, its folder is there.
        most: records that it holds at most.
    """

    def __init__(self, path: Path, most: int = MOST_RECORDS) -> None:
        self._path, self._most = path, most
        self._count: int | None = None
        self._is_torn = True  # whether the last line may lack its end

    def append(self, record: Record) -> None:
        """Add a record.

        Raises:
            OSError: it cannot be written; the next one may.
            R2D2Error: likewise.
        """
        if self._count is None:
            self._count = len(read_series(self._path))
        line = _line(_rounded(record))
        is_torn, self._is_torn = self._is_torn, True
        with self._path.open("ab+", buffering=0) as file:
            if is_torn and file.tell():
                file.seek(-1, 2)
                line = line if file.read(1) == b"\n" else b"\n" + line
            self._is_torn = file.write(line) != len(line)
        self._count += 1
        if self._count > self._most:
            records = thinned(read_series(self._path), self._most)
            write_bytes(self._path, b"".join(_line(one) for one in records))
            self._count = len(records)


def _line(record: Record) -> bytes:
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def read_series(path: Path) -> list[Record]:
    """Read every whole record; one that a crash cut short is not.

    Args:
        path: the file; it may be missing.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return list(parsed(lines))


def read_newest(path: Path, seconds: float, most_bytes: int = _NEWEST_BYTES) -> list[Record]:
    """Read the newest records, from the end: of any file in the time that these take.

    Args:
        path: the file; it may be missing.
        seconds: before its last record.
        most_bytes: that are looked at, at most.

    Returns:
        In order of time; whole ones alone.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - most_bytes, 0))
            lines = file.read(most_bytes).splitlines()
    except FileNotFoundError:
        return []
    found: list[Record] = []
    for record in parsed(reversed(lines)):
        if found and record["time"] < found[0]["time"] - seconds:
            break
        found.append(record)
    return found[::-1]


def parsed(lines: Iterable[bytes]) -> Iterable[Record]:
    """Give the records of lines that are whole."""
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and all(isinstance(record.get(key), int | float) for key in ("time", "seconds")):
            yield {key: value for key, value in record.items() if _is_value(value)}


def _is_value(value: Any) -> bool:
    """Whether it is a number, or the three that stand for many."""
    if isinstance(value, list):
        return len(value) == 3 and all(isinstance(one, int | float) for one in value)
    return isinstance(value, int | float)


def thinned(records: Sequence[Record], most: int) -> list[Record]:
    """Unite the older records, of equal stretches of time: three quarters as many as may be are left, at most.

    Args:
        records: in order of time.
        most: records that there may be.
    """
    newest = most // 4
    older, kept = records[: len(records) - newest], records[len(records) - newest :]
    width = 1.0
    while len({one["time"] // width for one in older}) > most // 2:
        width *= 2
    # a clock that was set back, or another part of the run, begins stretches of its own
    coarse = [united(list(group)) for _, group in groupby(older, key=lambda one: one["time"] // width)]
    return [*coarse[-(most // 2) :], *kept]


def united(records: Sequence[Record]) -> Record:
    """Unite records of one file into one, which stands for all of their time.

    Args:
        records: one at least, in order of time.
    """
    if len(records) == 1:
        return records[0]
    whole: Record = {"time": records[-1]["time"], "seconds": sum(one["seconds"] for one in records)}
    for key in dict.fromkeys(key for one in records for key in one if key not in whole):
        values = [(one["seconds"], _least_mean_largest(one[key])) for one in records if key in one]
        weight = sum(seconds for seconds, _ in values)
        mean = (
            sum(seconds * value[1] for seconds, value in values) / weight
            if weight > 0
            else sum(value[1] for _, value in values) / len(values)
        )
        whole[key] = [min(value[0] for _, value in values), mean, max(value[2] for _, value in values)]
    return _rounded(whole)


def _least_mean_largest(value: Any) -> tuple[float, float, float]:
    return cast(tuple[float, float, float], tuple(value)) if isinstance(value, list) else (value, value, value)


def _rounded(record: Record) -> Record:
    """Keep as many digits as matter: of times milliseconds, of whole numbers and steps all."""
    return {
        key: round(value, 3)
        if key in ("time", "seconds")
        else [_short(one) for one in value]
        if isinstance(value, list)
        else _short(value)
        for key, value in record.items()
    }


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.{_DIGITS}g}")
