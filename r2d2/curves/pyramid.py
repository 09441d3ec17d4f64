"""Long series on disk, with the least, largest and mean value of every 16, 256, 4096 ... points.

Level 0 is the points themselves; a row of level N sums up 16 rows of the level below. Only whole rows are kept: what is
left over at the end of a level is summed up where it is looked at. Files are read in parts, never mapped into memory:
one that is cut short meanwhile gives a shorter answer and no harm.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAN", "Pyramid", "Summary"]

FAN = 16
"""Rows of a level that one row of the next sums up."""

Numbers = NDArray[np.float64]


class Summary:
    """What stands for stretches of points.

    Attributes:
        last: position of the last point of each stretch, shape (n,).
        least, largest, mean: of each value, shape (n, values); NaN where a stretch has no number at all.
    """

    def __init__(self, rows: Numbers) -> None:
        values = (rows.shape[1] - 1) // 3
        self.last = rows[:, 0]
        self.least, self.largest, self.mean = (rows[:, 1 + at * values : 1 + (at + 1) * values] for at in range(3))


class Pyramid:
    """Points of ever larger positions, each with the same number of values.

    Args:
        folder: where the files are; it exists.
        values: numbers of a point besides its position.
        count: points that count; what lies behind them in the files, left by a crash, does not.
    """

    def __init__(self, folder: Path, values: int, count: int = 0) -> None:
        self._folder, self._values = folder, values
        self.count = count

    def append(self, points: Numbers) -> None:
        """Add points, whose positions are larger than those there are.

        Args:
            points: shape (n, 1 + values): position, then the values.
        """
        self._write(0, self.count, np.ascontiguousarray(points, np.float64))
        self.count += len(points)
        self._complete(self.count - len(points))

    def truncate(self, last: float) -> None:
        """Forget all points behind a position."""
        self.count = self._find(last, after=True)

    def points(self, at_once: int = 8192) -> Iterator[Numbers]:
        """Yield all points, some at a time: of each its position, then its values."""
        for begin in range(0, self.count, at_once):
            yield self._read(0, begin, min(begin + at_once, self.count))

    def last(self) -> Numbers | None:
        """Give the last point: its position, then its values; None: there is none."""
        rows = self._read(0, max(self.count - 1, 0), self.count)
        return rows[0] if len(rows) else None

    def view(self, first: float, last: float, most: int) -> Summary:
        """Give the points of a range of positions, or stretches that stand for them.

        Args:
            first, last: positions, both included.
            most: stretches at most, or points.
        """
        begin, end = self._find(first), self._find(last, after=True)
        total = end - begin
        if total <= most:
            return Summary(self._summaries(0, begin, end))
        level, width = 0, 1
        while total // (width * FAN) >= most:
            level, width = level + 1, width * FAN
        inner_begin, inner_end = -(-begin // width), end // width
        rows = np.concatenate(
            [
                _united(self._summaries(0, begin, inner_begin * width), 1),
                self._summaries(level, inner_begin, inner_end),
                _united(self._summaries(0, inner_end * width, end), 1),
            ]
        )
        return Summary(_united(rows, most))

    def _complete(self, before: int) -> None:
        """Sum up what became whole rows of the levels above."""
        level, width = 1, FAN
        while self.count // width:
            begin, end = before // width, self.count // width
            if begin < end:
                below = self._summaries(level - 1, begin * FAN, end * FAN)
                self._write(level, begin, _united(below, end - begin))
            level, width = level + 1, width * FAN

    def _find(self, position: float, *, after: bool = False) -> int:
        """Give the index of the first point at a position or behind it; `after`: behind it."""
        low, high = 0, self.count
        if not high or not self._path(0).exists():
            return 0
        with self._path(0).open("rb", buffering=0) as file:
            while low < high:
                middle = (low + high) // 2
                file.seek(middle * self._columns(0) * 8)
                found = file.read(8)
                at = struct.unpack("=d", found)[0] if len(found) == 8 else np.inf
                if at < position or (after and at == position):
                    low = middle + 1
                else:
                    high = middle
        return low

    def _summaries(self, level: int, begin: int, end: int) -> Numbers:
        rows = self._read(level, begin, end)
        return rows if level else np.hstack([rows, rows[:, 1:], rows[:, 1:]])

    def _columns(self, level: int) -> int:
        return 1 + self._values * (3 if level else 1)

    def _path(self, level: int) -> Path:
        return self._folder / f"level-{level}.f64"

    def _read(self, level: int, begin: int, end: int) -> Numbers:
        columns = self._columns(level)
        if end <= begin or not self._path(level).exists():
            return np.empty((0, columns))
        found = np.fromfile(self._path(level), np.float64, (end - begin) * columns, offset=begin * columns * 8)
        return found[: len(found) // columns * columns].reshape(-1, columns)

    def _write(self, level: int, at: int, rows: Numbers) -> None:
        path = self._path(level)
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(at * self._columns(level) * 8)
            file.seek(0, 2)
            file.write(np.ascontiguousarray(rows).tobytes())


def _united(rows: Numbers, most: int) -> Numbers:
    """Sum up neighbouring rows to `most` at most, each for as many, give or take one."""
    if len(rows) <= most:
        return rows
    values = (rows.shape[1] - 1) // 3
    edges = np.linspace(0, len(rows), most + 1).astype(np.intp)
    begins = edges[:-1]
    least = np.fmin.reduceat(rows[:, 1 : 1 + values], begins)
    largest = np.fmax.reduceat(rows[:, 1 + values : 1 + 2 * values], begins)
    means = rows[:, 1 + 2 * values :]
    numbers = np.isfinite(means)
    counts = np.add.reduceat(numbers, begins, dtype=np.float64)
    sums = np.add.reduceat(np.where(numbers, means, 0.0), begins)
    mean = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return np.column_stack([rows[edges[1:] - 1, 0], least, largest, mean])
